/** The look of the three-weight world: the drawing that never changes, the controls, the style. */
import { START } from "./three-weights-model.mjs";

// The plotted window in (θ₂, θ₃) and its place in the drawing; three-weights.html uses the same.
export const UNIT = 34;
const [LEFT, TOP, SIDE] = [44, 8, 374];
const [X_MIN, Y_MAX] = [-0.6, 10.1];

export const x = (theta2) => LEFT + (theta2 - X_MIN) * UNIT;
export const y = (theta3) => TOP + (Y_MAX - theta3) * UNIT;

export const STYLE = `
.tw { --a: #0072b2; --b: #d55e00; --both: #009e73; --knob: #5b6470;
  --paper: var(--pst-color-background, #fff);
  --soft: color-mix(in srgb, currentColor 14%, transparent);
  --rule: color-mix(in srgb, currentColor 50%, transparent);
  display: flex; flex-wrap: wrap; gap: .75rem 1.5rem; margin: 1.5rem 0; font-size: .9rem;
  line-height: 1.4; }
html[data-theme="dark"] .tw { --a: #56b4e9; --b: #f0803c; --both: #2cc295; --knob: #b9c1c9; }
.tw-plot { flex: 2 1 20rem; min-width: 0; max-width: 30rem; margin: 0 auto; }
.tw-panel { flex: 1 1 14.5rem; min-width: 0; display: grid; gap: .75rem; align-content: center; }
.tw svg { stroke-linejoin: round; display: block; width: 100%; height: auto; overflow: visible; }
.tw text { fill: currentColor; font-size: 14px; }
.tw .mid { text-anchor: middle; }
.tw .halo { stroke: var(--paper); stroke-width: 4; paint-order: stroke; }
.tw .ink { fill: none; stroke: currentColor; stroke-width: 2.5; }
.tw .valley { stroke-width: 2.5; }
.tw .bowl { fill: currentColor; fill-opacity: .035; stroke: currentColor; stroke-opacity: .3; }
.tw .frame { fill: none; stroke: currentColor; stroke-opacity: .5; }
.tw .locus { stroke-width: 2; stroke-dasharray: 1 5; stroke-linecap: round; }
.tw .start { fill: var(--paper); stroke-width: 2; }
.tw .both { fill: none; stroke: var(--both); stroke-width: 4; }
.tw .end { fill: currentColor; stroke: var(--paper); stroke-width: 1.5; }
.tw-presets { display: grid; grid-template-columns: .8fr 1.2fr 1fr; gap: .4rem; }
.tw button { font: inherit; color: inherit; background: none; border: 1px solid var(--rule);
  border-radius: .3rem; padding: .3rem .35rem; min-height: 2.75rem; cursor: pointer; }
.tw button b, .tw button span { display: block; }
.tw button span { font-size: .85em; line-height: 1.25; }
.tw button:hover { border-color: currentColor; }
.tw [aria-pressed="true"] { background: var(--soft); box-shadow: inset 0 -.2rem currentColor; }
.tw .tw-reset { justify-self: end; padding: 0 1.25rem; min-height: 2.25rem; }
.tw :focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
.tw label { display: grid; grid-template-columns: 1fr auto; margin: 0; }
.tw small { font-size: .9em; padding-left: .3em; }
.tw input { grid-column: 1 / -1; width: 100%; height: 1.75rem; margin: 0; accent-color: var(--knob);
  touch-action: pan-y; }
.tw-value, .tw-readout { font-variant-numeric: tabular-nums; }
.tw-value, .tw-verdict { font-weight: 600; }
.tw-row { display: grid; grid-template-columns: 5.2em 1fr 3.4em; gap: .5rem; align-items: center; }
.tw-row > :last-child { text-align: right; white-space: nowrap; }
.tw-bar { height: .75rem; background: var(--soft); }
.tw-bar i { display: block; height: 100%; background: var(--a); }
.tw-b .tw-bar i { background: repeating-linear-gradient(-45deg, var(--b) 0 5px,
  var(--paper) 5px 7px); }
.tw-where { display: flex; justify-content: space-between; }
.tw-verdict { min-height: 2.8em; padding-top: .3rem; }
.tw-note { flex: 1 0 100%; }
.tw-note span { white-space: nowrap; }
.tw-note p { margin: 0 0 .4rem; }
@media (forced-colors: active) {
  .tw { --paper: Canvas; }
  .tw-bar { border: 1px solid; }
  .tw .tw-bar i { forced-color-adjust: none; background: CanvasText; }
  .tw-b .tw-bar i { background: repeating-linear-gradient(-45deg, CanvasText 0 5px, Canvas 5px 7px); }
  .tw [aria-pressed="true"] { outline: 3px solid Highlight; } }
@media screen { .tw ~ * { display: none !important; } }
@media print { .tw:not(:last-child), .tw-presets, .tw input, .tw .tw-reset { display: none; } }
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

const slider = (name, last, step, symbol, about) => `<label>
  <span><b>${symbol}</b> <small>${about}</small></span>
  <span class="tw-value" aria-hidden="true"></span>
  <input type="range" name="${name}" min="0" max="${last}" step="${step}"></label>`;

const button = ([key, { label, detail }]) =>
  `<button type="button" data-preset="${key}"><b>${label}</b> <span>${detail}</span></button>`;

const loss = (task) => `<div class="tw-row tw-${task.toLowerCase()}">
  <span>Loss on ${task}</span><span class="tw-bar"><i></i></span><span></span></div>`;

export const markup = (presets) => `<div class="tw-plot">${PLOT}</div>
<div class="tw-panel">
  <div class="tw-readout" aria-live="polite" aria-atomic="true">
    ${loss("A")}${loss("B")}
    <div class="tw-where"><span>End point θ</span> <span></span></div>
    <div class="tw-verdict"></div></div>
  <div class="tw-presets" role="group" aria-label="Presets">
    ${Object.entries(presets).map(button).join("")}</div>
  ${slider("position", 81, 1, "λ", "strength of the penalty")}
  ${slider("f2", 1, 0.05, "F₂", "importance of θ₂")}
  ${slider("f3", 1, 0.05, "F₃", "importance of θ₃")}
  <button type="button" class="tw-reset">Reset</button>
</div>
<div class="tw-note"><p><b>What to look for.</b> Choose L2 and drag λ: the end point slides along
  the dotted line, from “B solved” back to the start, and misses the green ring at every λ. Choose
  EWC: it meets the ring at every λ above 0, because θ₃, which A never used, is free to move.</p>
  <p>Thick line: gradient descent on
  <span><i>L</i><sub>B</sub> + ½ λ Σ <i>F</i>ᵢ (θᵢ − θ*ᵢ)²</span>. Ellipses: contours of that sum.
  Dotted line: the end points for all λ above 0. θ₁ stays at 1 and is not drawn
  <span>(<i>F</i>₁ = 1)</span>.</p></div>`;
