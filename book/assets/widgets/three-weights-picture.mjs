/** The look of the three-weight world: the drawing that never changes, the controls, the style. */
import { row, slider } from "./look.mjs";
import { START } from "./three-weights-model.mjs";

// The plotted window in (θ₂, θ₃) and its place in the drawing; three-weights.html uses the same.
export const UNIT = 34;
const [LEFT, TOP, SIDE] = [44, 8, 374];
const [X_MIN, Y_MAX] = [-0.6, 10.1];

export const x = (theta2) => LEFT + (theta2 - X_MIN) * UNIT;
export const y = (theta3) => TOP + (Y_MAX - theta3) * UNIT;

export const STYLE = `
.three-weights .halo { stroke: var(--paper); stroke-width: 4; paint-order: stroke; }
.three-weights .ink { fill: none; stroke: currentColor; stroke-width: 2.5; }
.three-weights .valley { stroke-width: 2.5; }
.three-weights .bowl { fill: currentColor; fill-opacity: .035; stroke: currentColor; stroke-opacity: .3; }
.three-weights .frame { fill: none; stroke: currentColor; stroke-opacity: .5; }
.three-weights .locus { stroke-width: 2; stroke-dasharray: 1 5; stroke-linecap: round; }
.three-weights .start { fill: var(--paper); stroke-width: 2; }
.three-weights .both { fill: none; stroke: var(--both); stroke-width: 4; }
.three-weights .end { fill: currentColor; stroke: var(--paper); stroke-width: 1.5; }
.iw-presets { display: grid; grid-template-columns: .8fr 1.2fr 1fr; gap: .4rem; }
.iw-where { display: flex; justify-content: space-between; }
.three-weights .iw-note span { white-space: nowrap; }
`;

const box = `x="${LEFT}" y="${TOP}" width="${SIDE}" height="${SIDE}"`;

const ticks = [0, 2, 4, 6, 8, 10].map((n) => `
  <text x="${x(n)}" y="${TOP + SIDE + 17}" class="mid">${n}</text>
  <text x="${LEFT - 7}" y="${y(n) + 5}" text-anchor="end">${n}</text>`).join("");

const valley = (task, dashes, x1, y1, x2, y2) => `<line class="valley" style="stroke:var(--${task})"
  stroke-dasharray="${dashes}" x1="${x(x1)}" y1="${y(y1)}" x2="${x(x2)}" y2="${y(y2)}"/>`;

const turned = (px, py, angle, text) =>
  `<text class="mid halo" transform="translate(${px} ${py}) rotate(${angle})">${text}</text>`;

// The inner <svg> clips what leaves the window, so that no id is needed for a clip path.
const PLOT = `<svg viewBox="0 0 426 426" role="img">
  <svg ${box} viewBox="${LEFT} ${TOP} ${SIDE} ${SIDE}" style="overflow:hidden">
    <g class="bowl"></g>
    ${valley("a", "9 5", 1, -2, 1, 11)}
    ${valley("b", "2 4", -2, 11, 11, -2)}
  </svg>
  <rect ${box} class="frame"/>
  ${ticks}
  <text x="${LEFT + SIDE / 2}" y="422" class="mid">θ₂, used by A and B</text>
  ${turned(13, TOP + SIDE / 2, -90, "θ₃, used by B only")}
  ${turned(x(0.75), y(4), -90, "A solved: θ₂ = 1")}
  ${turned(x(7.57), y(1.77), 45, "B solved: θ₂ + θ₃ = 9")}
  <line class="ink locus"/>
  <path class="ink path" pathLength="1"/>
  <circle class="ink start" cx="${x(START[1])}" cy="${y(START[2])}" r="5.5"/>
  <text class="halo" x="${x(1.3)}" y="${y(-0.62)}">start: A’s solution (1, 0)</text>
  <circle class="both" cx="${x(1)}" cy="${y(8)}" r="11"/>
  <text class="halo" x="${x(1.4)}" y="${y(8.8)}">solves both (1, 8)</text>
  <circle class="end" r="6"/>
  <text class="halo end-label">end</text>
</svg>`;

const button = ([key, { label, detail }]) =>
  `<button type="button" data-preset="${key}"><b>${label}</b> <span>${detail}</span></button>`;

export const markup = (presets) => `<div class="iw-plot">${PLOT}</div>
<div class="iw-panel">
  <div class="iw-readout" aria-live="polite" aria-atomic="true">
    ${row("a", "Loss on A")}${row("b", "Loss on B")}
    <div class="iw-where"><span>End point θ</span> <span></span></div>
    <div class="iw-verdict"></div></div>
  <div class="iw-presets" role="group" aria-label="Presets">
    ${Object.entries(presets).map(button).join("")}</div>
  ${slider("position", [0, 81, 1], "λ", "strength of the penalty")}
  ${slider("f2", [0, 1, 0.05], "F₂", "importance of θ₂")}
  ${slider("f3", [0, 1, 0.05], "F₃", "importance of θ₃")}
  <button type="button" class="iw-reset">Reset</button>
</div>
<div class="iw-note"><p><b>What to look for.</b> Choose L2 and drag λ: the end point slides along
  the dotted line, from “B solved” back to the start, and misses the green ring at every λ. Choose
  EWC: it meets the ring at every λ above 0, because θ₃, which A never used, is free to move.</p>
  <p>Thick line: gradient descent on
  <span><i>L</i><sub>B</sub> + ½ λ Σ <i>F</i>ᵢ (θᵢ − θ*ᵢ)²</span>. Ellipses: contours of that sum.
  Dotted line: the end points for all λ above 0. θ₁ stays at 1 and is not drawn
  <span>(<i>F</i>₁ = 1)</span>.</p></div>`;
