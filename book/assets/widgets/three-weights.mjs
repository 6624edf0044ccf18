/** The three-weight world as an interactive figure: where does learning B after A end? */
import { onSliders, place, set, showBar, showValue } from "./look.mjs";
import { curvature, endLimits, endPoint, losses, path } from "./three-weights-model.mjs";
import { STYLE, UNIT, markup, x, y } from "./three-weights-picture.mjs";

const WORST = 32; // no end point has a larger loss on either task
const FLATTEST = 1e-4; // a flatter bowl looks like a straight valley anyway
const SOLVED = 0.01;

/** Position 0 of the slider is λ = 0; positions 1 to 81 go from 0.01 to 100, twenty a decade. */
export const strengthAt = (position) => (position === 0 ? 0 : 10 ** ((position - 1) / 20 - 2));

const ONE = 41; // the slider's position for λ = 1
const INITIAL = { position: 0, f2: 1, f3: 1 };
const PRESETS = {
  plain: { label: "Plain", detail: "λ = 0", apply: (s) => ({ ...s, position: 0 }) },
  l2: { label: "L2", detail: "all weights alike (1,1,1)", apply: (s) => protect(s, 1) },
  ewc: { label: "EWC", detail: "Fisher (1,1,0)", apply: (s) => protect(s, 0) },
};

const protect = (state, f3) => ({ position: state.position || ONE, f2: 1, f3 });

export function mount(element) {
  const label = "learning task B after task A";
  connect(place(element, { name: "three-weights", label, style: STYLE, markup: markup(PRESETS) }));
}

function connect(root) {
  let state = INITIAL;
  const show = (next, replay) => {
    state = next;
    render(root, state);
    if (replay) drawSlowly(root.querySelector(".path"));
  };
  onSliders(root, (moved) => show({ ...state, ...moved }));
  for (const button of root.querySelectorAll("[data-preset]")) {
    const preset = PRESETS[button.dataset.preset];
    button.addEventListener("click", () => show(preset.apply(state), true));
  }
  root.querySelector(".iw-reset").addEventListener("click", () => show(INITIAL, true));
  show(INITIAL);
}

function drawSlowly(line) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const from = { strokeDasharray: "1", strokeDashoffset: 1 };
  line.animate([from, { ...from, strokeDashoffset: 0 }], { duration: 900, easing: "ease-in-out" });
}

function render(root, state) {
  const setting = { lambda: strengthAt(state.position), F: [1, state.f2, state.f3] };
  const end = endPoint(setting);
  renderControls(root, state, setting.lambda);
  renderBowl(root.querySelector(".bowl"), setting, end);
  renderPath(root, setting, end);
  renderReadout(root, setting, end);
}

function renderControls(root, state, lambda) {
  for (const input of root.querySelectorAll("input")) {
    const value = state[input.name];
    showValue(input, value, input.name === "position" ? lambda.toPrecision(3) : value.toFixed(2));
  }
  for (const button of root.querySelectorAll("[data-preset]")) {
    button.setAttribute("aria-pressed", button.dataset.preset === presetOf(state));
  }
}

function presetOf({ position, f2, f3 }) {
  if (position === 0) return "plain";
  return f2 === 1 ? { 0: "ewc", 1: "l2" }[f3] : undefined;
}

/** Contours at J − min J = ½k², so that a bowl of curvature 1 shows circles one unit apart. */
function renderBowl(bowl, setting, [, cx, cy]) {
  const { steep, flat, angle } = curvature(setting);
  const place = `translate(${x(cx)} ${y(cy)}) rotate(${(-angle * 180) / Math.PI})`;
  const radius = (k, curve) => (k * UNIT) / Math.sqrt(Math.max(curve, FLATTEST));
  bowl.innerHTML = [8, 7, 6, 5, 4, 3, 2, 1].map((k) =>
    `<ellipse transform="${place}" rx="${radius(k, steep)}" ry="${radius(k, flat)}"/>`).join("");
}

function renderPath(root, setting, end) {
  const points = path(setting).map(([, p, q]) => `${x(p).toFixed(1)} ${y(q).toFixed(1)}`);
  set(root, ".path", { d: `M${points.join("L")}` });
  const [[, gx, gy], [, fx, fy]] = endLimits(setting);
  set(root, ".locus", { x1: x(fx), y1: y(fy), x2: x(gx), y2: y(gy) });
  set(root, ".end", { cx: x(end[1]), cy: y(end[2]) });
  // Beyond (5, 4) the place above the end point belongs to B's label.
  const [dx, dy, anchor] = end[1] > 5.5 ? [-9, 20, "end"] : [13, -8, "start"];
  set(root, ".end-label", { x: x(end[1]) + dx, y: y(end[2]) + dy, "text-anchor": anchor });
}

function renderReadout(root, setting, end) {
  const loss = losses(end);
  for (const task of ["A", "B"]) {
    showBar(root, task.toLowerCase(), loss[task] / WORST, rounded(loss[task]));
  }
  const verdict = verdictOn(loss);
  const where = `(${end.map((v) => Number(v.toFixed(2))).join(", ")})`;
  root.querySelector(".iw-where").lastElementChild.textContent = where;
  root.querySelector(".iw-verdict").textContent = verdict;
  const story = `Learning B after A starts at (1, 1, 0) and ends at ${where}. ${verdict}`;
  set(root, ".iw-plot > svg", { "aria-label": `Plane of θ₂ and θ₃. ${story}` });
}

const rounded = (loss) => (loss > 1e-9 && loss < 0.005 ? "< 0.01" : loss.toFixed(2));

function verdictOn({ A, B }) {
  if (A < SOLVED && B < SOLVED) return "Both tasks are solved.";
  if (B < SOLVED) return "B is solved, A no longer.";
  if (A < SOLVED) return "A is kept, but B is not learned.";
  return "Neither is solved: one loss is traded for the other.";
}
