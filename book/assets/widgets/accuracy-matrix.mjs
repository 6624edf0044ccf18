/** An accuracy matrix to change, and the numbers that are read off it. */
import { place } from "./look.mjs";
import { MEASURES, START, value, written } from "./accuracy-matrix-model.mjs";

const STYLE = `
.accuracy-matrix table { border-collapse: separate; border-spacing: .3rem; margin: 0; width: 100%; }
.accuracy-matrix th { font-weight: 400; text-align: right; padding: 0 .3rem; border: 0; white-space: nowrap; }
.accuracy-matrix thead th { text-align: center; }
.accuracy-matrix td { border: 0; padding: 0; border-radius: .3rem; background: var(--soft); }
.accuracy-matrix td span { display: flex; align-items: center; padding-left: .4rem; }
.accuracy-matrix td span::before { content: attr(data-sign); width: .7em; font-weight: 700; }
.accuracy-matrix td input { flex: 1; min-width: 2.6em; height: 2.6rem; font: inherit; color: inherit;
  background: none; border: 0; text-align: center; }
.accuracy-matrix .plus { box-shadow: inset 0 0 0 3px var(--a); }
.accuracy-matrix .minus { box-shadow: inset 0 0 0 3px var(--b); }
.iw-measures { display: grid; gap: .4rem; }
.iw-measures button { display: flex; justify-content: space-between; align-items: center;
  padding: 0 .6rem; min-height: 2.4rem; }
.iw .iw-measures span { font-size: 1em; }
@media (forced-colors: active) {
  .accuracy-matrix .plus { outline: 3px solid CanvasText; }
  .accuracy-matrix .minus { outline: 3px dashed CanvasText; } }
@media print { .iw-measures { display: none; } }
`;

const NAMES = Object.keys(MEASURES);
const FIRST = "forgetting";
const when = (row) => (row ? `after task ${row}` : "before any");
const label = (row, task) => `accuracy on task ${task + 1} ${row ? when(row) : "before any training"}`;

const cell = (row) => (_, task) => `<td><span data-sign="">
  <input type="number" min="0" max="1" step="0.05" aria-label="${label(row, task)}"></span></td>`;

const MARKUP = `<div class="iw-plot"><table>
  <thead><tr><th scope="col"></th>${START[0].map((_, t) => `<th scope="col">task ${t + 1}</th>`).join("")}</tr></thead>
  <tbody>${START.map((cells, row) => `<tr><th scope="row">${when(row)}</th>${cells.map(cell(row)).join("")}</tr>`).join("")}</tbody>
</table></div>
<div class="iw-panel">
  <div class="iw-measures" role="group" aria-label="Numbers">${NAMES.map((name) => `
    <button type="button" data-measure="${name}"><span>${name}</span><b class="iw-value"></b></button>`).join("")}</div>
  <div class="iw-readout iw-verdict" aria-live="polite" aria-atomic="true"></div>
  <button type="button" class="iw-reset">Reset</button>
</div>
<div class="iw-note"><p><b>What to look for.</b> Choose a number: the cells that it adds are framed
  in blue with a plus, those that it takes away in orange with a minus. Then change a cell. Raise task 1
  after task 2 to 0.95: forgetting grows, since its best moment moved; backward transfer does not.</p></div>`;

export function mount(element) {
  const about = "the numbers of an accuracy matrix";
  connect(place(element, { name: "accuracy-matrix", label: about, style: STYLE, markup: MARKUP }));
}

function connect(root) {
  let state;
  const inputs = [...root.querySelectorAll("input")];
  const show = (next) => render(root, (state = next));
  const reset = () => {
    show({ name: FIRST, rows: START });
    inputs.forEach((input, k) => (input.value = START.flat()[k]));
  };
  inputs.forEach((input, k) => {
    const [row, task] = [Math.floor(k / START[0].length), k % START[0].length];
    input.addEventListener("input", () => {
      if (input.validity.rangeOverflow || input.validity.rangeUnderflow || input.value === "") return;
      show({ ...state, rows: changed(state.rows, row, task, input.valueAsNumber) });
    });
    input.addEventListener("change", () => (input.value = state.rows[row][task]));
  });
  for (const button of root.querySelectorAll("[data-measure]")) {
    button.addEventListener("click", () => show({ ...state, name: button.dataset.measure }));
  }
  root.querySelector(".iw-reset").addEventListener("click", reset);
  reset();
}

const changed = (rows, row, task, accuracy) =>
  rows.map((cells, i) => cells.map((old, j) => (i === row && j === task ? accuracy : old)));

function render(root, { name, rows }) {
  for (const button of root.querySelectorAll("[data-measure]")) {
    const own = button.dataset.measure;
    button.setAttribute("aria-pressed", own === name);
    button.lastElementChild.textContent = rounded(value(own, rows));
  }
  const cells = [...root.querySelectorAll("td")];
  for (const td of cells) frame(td, "", "");
  for (const [plus, minus] of MEASURES[name](rows)) {
    frame(cells[plus[0] * rows[0].length + plus[1]], "plus", "+");
    if (minus) frame(cells[minus[0] * rows[0].length + minus[1]], "minus", "−");
  }
  const sum = `${written(name, rows)} = ${rounded(value(name, rows))}`;
  root.querySelector(".iw-readout").textContent = `${name[0].toUpperCase()}${name.slice(1)}: ${sum}`;
}

function frame(td, kind, sign) {
  td.className = kind;
  td.firstElementChild.dataset.sign = sign;
}

const rounded = (number) => number.toFixed(3).replace("-", "−").replace("−0.000", "0.000");
