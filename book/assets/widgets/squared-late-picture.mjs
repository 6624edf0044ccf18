/** How the eight gradients are drawn: bars above, their squares and the squares of the means below. */
import { row, slider } from "./look.mjs";

const [LEFT, PITCH] = [8, 48];
const UNIT = 19; // of a gradient of 1: the height of a bar, the side of a square
const [ZERO, EACH, LATE] = [74, 186, 270]; // where bars begin, and where the two rows of squares stand

export const STYLE = `
.squared-late .batch { fill: currentColor; fill-opacity: .07; }
.squared-late .zero { stroke: currentColor; stroke-opacity: .5; }
.squared-late .bar, .squared-late .each { fill: var(--a); }
.squared-late .late { fill: var(--b); }
.squared-late .mean { stroke: var(--b); stroke-width: 4; }
.squared-late .iw-row { --name: 8.2em; }
`;

const centre = (n) => LEFT + PITCH * (n + 0.5);

const square = (kind, n, side, foot) => `<rect class="${kind}" x="${centre(n) - (side * UNIT) / 2}"
  y="${foot - side * UNIT}" width="${side * UNIT}" height="${side * UNIT}"/>`;

/** Draw gradients and the means of their batches. */
export function draw(svg, g, means, size) {
  const band = (n) => `<rect class="batch" x="${LEFT + PITCH * n + 2}" y="22"
    width="${PITCH * size - 4}" height="${LATE - 18}" rx="4"/>`;
  const bar = (n) => `<rect class="bar" x="${centre(n) - 8}" y="${ZERO - Math.max(g[n], 0) * UNIT}"
    width="16" height="${Math.abs(g[n]) * UNIT}"/>`;
  const level = (n) => `<line class="mean" x1="${LEFT + PITCH * n + 5}" x2="${LEFT + PITCH * (n + size) - 5}"
    y1="${ZERO - means[n] * UNIT}" y2="${ZERO - means[n] * UNIT}"/>`;
  const samples = [...g.keys()];
  const firsts = samples.filter((n) => n % size === 0);
  svg.querySelector("g").innerHTML = [
    ...firsts.map(band),
    ...samples.map(bar),
    ...firsts.map(level),
    ...samples.map((n) => square("each", n, Math.abs(g[n]), EACH)),
    ...samples.map((n) => square("late", n, Math.abs(means[n]), LATE)),
  ].join("");
}

const line = (height) => `<line class="zero" x1="${LEFT}" x2="${LEFT + 8 * PITCH}" y1="${height}" y2="${height}"/>`;
const title = (height, text) => `<text x="${LEFT + 4}" y="${height}">${text}</text>`;

const PLOT = `<svg class="iw-inks" viewBox="0 0 400 276" role="img"><g></g>
  ${[ZERO, EACH, LATE].map(line).join("")}
  ${title(15, "gradients, and the mean of each batch")}
  ${title(134, "each gradient squared")}
  ${title(218, "the mean of its batch, squared")}
</svg>`;

export const markup = `<div class="iw-plot">${PLOT}</div>
<div class="iw-panel">
  <div class="iw-readout" aria-live="polite" aria-atomic="true">
    ${row("a", "Squared each")}${row("b", "Squared late")}
    <div class="iw-verdict"></div></div>
  ${slider("position", [0, 3, 1], "B", "samples in a batch")}
  ${slider("shift", [0, 0.8, 0.1], "ḡ", "mean gradient")}
  <div class="iw-buttons"><button type="button" class="iw-reset">Shuffle</button>
    <button type="button" class="iw-reset">Reset</button></div>
</div>
<div class="iw-note"><p><b>What to look for.</b> Raise B: the blue squares stay; the orange ones get
  smaller on average, since opposite signs cancel in a mean. Shuffle, at B = 2 or 4: the blue mean stays,
  the orange one moves. Raise ḡ, as far from an optimum: both grow by ḡ², so the factor (above
  B = 1) falls. The two numbers are the mean areas of the rows of squares.</p></div>`;
