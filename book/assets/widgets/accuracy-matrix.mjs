/** An accuracy matrix to change, and the numbers that are read off it. */
import { place } from "./look.mjs";
import { MEASURES, START, value, written } from "./accuracy-matrix-model.mjs";

const STYLE = `
.accuracy-matrix table { border-collapse: separate; border-spacing: .3rem; margin: 0; width: 100%; }
.accuracy-matrix caption { text-align: left; color: inherit; padding: 0 .3rem; caption-side: top; }
.accuracy-matrix th { font-weight: 400; text-align: right; padding: 0 .3rem; border: 0; white-space: nowrap; }
.accuracy-matrix thead th { text-align: center; }
.accuracy-matrix td { border: 0; padding: 0; }
.accuracy-matrix tbody td { border: 1px solid var(--rule); border-radius: .3rem; background: var(--soft); }
.accuracy-matrix td span { display: flex; align-items: center; padding-left: .4rem; }
.accuracy-matrix td span::before { content: attr(data-sign); width: .7em; font-weight: 700; }
.accuracy-matrix td input { flex: 1; min-width: 2.6em; height: 2.6rem; padding: 0; font: inherit;
  color: inherit; background: none; border: 0; text-align: center; appearance: textfield; }
.accuracy-matrix td input::-webkit-inner-spin-button { appearance: none; }
.accuracy-matrix td input:focus { outline: 0; }
.accuracy-matrix tbody td:focus-within { outline: 3px solid currentColor; outline-offset: 2px; }
.accuracy-matrix .plus { box-shadow: inset 0 0 0 3px var(--a); }
.accuracy-matrix .minus { box-shadow: inset 0 0 0 3px var(--b); }
.iw-measures { display: grid; gap: .4rem; }
.iw-measures button { display: flex; justify-content: space-between; align-items: center;
  padding: 0 .6rem; min-height: 2.4rem; }
.iw .iw-measures span { font-size: 1em; }
@media (forced-colors: active) {
  .accuracy-matrix .plus { border: 4px solid CanvasText; }
  .accuracy-matrix .minus { border: 4px dashed CanvasText; } }
@media print { .iw-measures { display: none; } }
`;

const NAMES = Object.keys(MEASURES);
const FIRST = "forgetting";
const COLUMNS = START[0].length;

const label = (row, task) => `accuracy on task ${task + 1} ${row ? `after task ${row}` : "before any training"}`;

const cell = (row) => (_, task) => `<td><span data-sign="">
  <input type="number" min="0" max="1" step="0.05" aria-invalid="false" aria-label="${label(row, task)}"></span></td>`;

const line = (cells, row) => `<tr><th scope="row">${row ? `after task ${row}` : "b, untrained"}</th>
  ${cells.map(cell(row)).join("")}</tr>`;

const columns = START[0].map((_, task) => `<th scope="col">task ${task + 1}</th>`).join("");

const button = (name) => `<button type="button" data-measure="${name}"><span>${name}</span>
  <b class="iw-value"></b></button>`;

const MARKUP = `<div class="iw-plot"><table>
  <caption>Accuracies: each can be changed, from 0 to 1</caption>
  <thead><tr><td></td>${columns}</tr></thead>
  <tbody>${START.map(line).join("")}</tbody>
</table></div>
<div class="iw-panel">
  <div class="iw-measures" role="group" aria-label="Numbers">${NAMES.map(button).join("")}</div>
  <div class="iw-readout iw-verdict" aria-live="polite" aria-atomic="true"></div>
  <button type="button" class="iw-reset">Reset</button>
</div>
<div class="iw-note"><p><b>What to look for.</b> Choose a number: the cells that it adds are framed
  in blue with a plus, those that it takes away in orange with a minus. As they stand, forgetting is minus
  the backward transfer. Now raise task 1 after task 2 to 0.95: that is task 1’s best moment, so forgetting
  grows; backward transfer stays.</p></div>`;

export function mount(element) {
  const about = "the numbers of an accuracy matrix";
  connect(place(element, { name: "accuracy-matrix", label: about, style: STYLE, markup: MARKUP }));
}

function connect(root) {
  let state;
  const inputs = [...root.querySelectorAll("input")];
  const show = (next) => {
    state = next;
    const accuracies = state.rows.flat();
    inputs.forEach((input, k) => (input.value = accuracies[k]));
    render(root, state);
  };
  const reset = () => show({ name: FIRST, rows: START });
  inputs.forEach((input, k) => input.addEventListener("change", () => {
    const found = Number(input.valueAsNumber.toFixed(3));
    const rows = found >= 0 && found <= 1 ? changed(state.rows, k, found) : state.rows; // NaN is neither
    show({ ...state, rows });
  }));
  for (const button of root.querySelectorAll("[data-measure]")) {
    button.addEventListener("click", () => show({ ...state, name: button.dataset.measure }));
  }
  root.querySelector(".iw-reset").addEventListener("click", reset);
  reset();
}

const changed = (rows, k, accuracy) =>
  rows.map((cells, i) => cells.map((old, j) => (i * COLUMNS + j === k ? accuracy : old)));

function render(root, { name, rows }) {
  for (const button of root.querySelectorAll("[data-measure]")) {
    const own = button.dataset.measure;
    button.setAttribute("aria-pressed", own === name);
    button.lastElementChild.textContent = rounded(value(own, rows));
  }
  const cells = [...root.querySelectorAll("tbody td")];
  for (const td of cells) frame(td, "", "", "");
  for (const [plus, minus] of MEASURES[name](rows)) {
    frame(cells[plus[0] * COLUMNS + plus[1]], "plus", "+", "added");
    if (minus) frame(cells[minus[0] * COLUMNS + minus[1]], "minus", "−", "taken away");
  }
  const sum = `${written(name, rows)} = ${rounded(value(name, rows))}`;
  root.querySelector(".iw-readout").textContent = `${name[0].toUpperCase()}${name.slice(1)}: ${sum}`;
}

function frame(td, kind, sign, said) {
  td.className = kind;
  td.firstElementChild.dataset.sign = sign;
  td.querySelector("input").setAttribute("aria-description", said);
}

const rounded = (number) => number.toFixed(3).replace("-", "−").replace("−0.000", "0.000");
