/** Eight gradients in one weight: what becomes of their squares when batches are averaged first? */
import { onSliders, place, set, showBar, showValue } from "./look.mjs";
import { AT_OPTIMUM, batchMeans, gradients, squaredEach, squaredLate } from "./squared-late-model.mjs";
import { STYLE, draw, markup } from "./squared-late-picture.mjs";

const SIZES = [1, 2, 4, 8];
const LARGEST = 1.77; // the mean of squares at the right end of the slider
const INITIAL = { position: 2, shift: 0, order: [...AT_OPTIMUM.keys()] };

export function mount(element) {
  const label = "squared before or after the mean over a batch";
  connect(place(element, { name: "squared-late", label, style: STYLE, markup }));
}

function connect(root) {
  let state = INITIAL;
  const show = (next) => render(root, (state = next));
  onSliders(root, (moved) => show({ ...state, ...moved }));
  const [shuffle, reset] = root.querySelectorAll("button");
  shuffle.addEventListener("click", () => show({ ...state, order: shuffled(state.order) }));
  reset.addEventListener("click", () => show(INITIAL));
  show(INITIAL);
}

/** Another order, by drawing the next of those that are left. */
function shuffled(order) {
  const left = [...order];
  return order.map(() => left.splice(Math.floor(Math.random() * left.length), 1)[0]);
}

function render(root, { position, shift, order }) {
  const size = SIZES[position];
  const g = gradients(order, shift);
  const [right, late] = [squaredEach(g), squaredLate(g, size)];
  const [batch, distance] = root.querySelectorAll("input");
  showValue(batch, position, String(size));
  showValue(distance, shift, shift.toFixed(2)); // the mean of all, as without it they sum to zero
  draw(root.querySelector("svg"), g, batchMeans(g, size), size);
  showBar(root, "a", right / LARGEST, right.toFixed(2));
  showBar(root, "b", late / LARGEST, late.toFixed(2));
  const verdict = verdictOn(right, late, size);
  root.querySelector(".iw-verdict").textContent = verdict;
  const numbers = `Each squared, the mean is ${right.toFixed(2)}; squared late, ${late.toFixed(2)}.`;
  set(root, "svg", { "aria-label": `Gradients of eight samples in batches of ${size}. ${numbers} ${verdict}` });
}

function verdictOn(right, late, size) {
  if (size === 1) return "Batches of one: nothing cancels, both are the same.";
  if (late < 0.005) return `${late < 1e-9 ? "All" : "Nearly all"} gradients cancel: the weight looks free.`;
  const factor = right / late;
  if (factor < 1.05) return "They hardly cancel: nearly the same.";
  return `Squared late, it is ${factor.toFixed(factor < 9.95 ? 1 : 0)} times too small.`;
}
