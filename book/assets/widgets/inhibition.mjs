/** A layer whose neurons inhibit their neighbours: how many are left, and where? */
import { onSliders, place, row, set, showBar, showValue, slider } from "./look.mjs";
import { N, START, active, compete, felt, penalty, randomStart, weights } from "./inhibition-model.mjs";

const PARTS = [48, 24, 12, 6, 3, 0]; // of which σ is one; 0 is for all pairs alike
const INITIAL = { position: 3, start: START };
const FRAMES = 45;

const [LEFT, PITCH] = [8, 16];
const FLOOR = 186; // where the bars of activations stand; those of inhibition hang from it
const [UP, DOWN] = [6.5, 3]; // of an activation, or an inhibition, of 1

const STYLE = `
.inhibition .active { fill: var(--a); }
.inhibition .felt { fill: var(--b); }
.inhibition .floor, .inhibition .began { stroke: currentColor; stroke-opacity: .6; }
.inhibition .began { stroke-dasharray: 2 3; }
.inhibition .iw-row { --name: 8.2em; grid-template-columns: var(--name) 1fr 4em; }
`;

const MARKUP = `<div class="iw-plot"><svg class="iw-inks" viewBox="0 0 400 276" role="img"><g></g>
  <line class="floor" x1="${LEFT}" x2="${LEFT + N * PITCH}" y1="${FLOOR}" y2="${FLOOR}"/>
  <line class="began" x1="${LEFT}" x2="${LEFT + N * PITCH}" y1="${FLOOR - UP}" y2="${FLOOR - UP}"/>
  <text x="${LEFT}" y="15">up: activations of ${N} neurons that compete</text>
  <text x="${LEFT}" y="272">down: how strongly the others inhibit it</text>
</svg></div>
<div class="iw-panel">
  <div class="iw-readout">${row("a", "Active neurons")}${row("b", "Inhibition R")}
    <div class="iw-verdict"></div></div>
  ${slider("position", [0, PARTS.length - 1, 1], "σ", "share of the layer")}
  <div class="iw-buttons"><button type="button" class="iw-reset">Other start</button>
    <button type="button" class="iw-reset">Reset</button></div>
</div>
<div class="iw-note"><p><b>What to look for.</b> All ${N} begin nearly alike (dotted). The less a neuron is
  inhibited, the more it grows, and the more it inhibits those around it. Drag σ: a short reach leaves
  several, far apart; a long one, or all pairs alike, leaves one. Other start: among all pairs the one
  that begins highest wins; with a reach it also matters where a neuron stands, and those at the ends
  have the fewest neighbours.</p>
  <p>Gradient descent on R in one sample. All that holds against it here is that the sum of the
  activations is kept; in training it is the loss of the task. (Strictly, one would be left at every σ;
  but those far apart hardly inhibit each other.)</p></div>`;

export function mount(element) {
  const label = "neurons that inhibit their neighbours";
  connect(place(element, { name: "inhibition", label, style: STYLE, markup: MARKUP }));
}

function connect(root) {
  let [state, timer] = [INITIAL];
  const [slider, svg, verdict] = ["input", "svg", ".iw-verdict"].map((of) => root.querySelector(of));
  const show = (next) => {
    state = next;
    clearInterval(timer);
    showValue(slider, state.position, reachAt(state.position));
    timer = play(root, state);
  };
  const asked = (next) => {
    verdict.setAttribute("aria-live", "polite"); // nobody asked for what is played at first
    show(next);
  };
  onSliders(root, (moved) => asked({ ...state, ...moved }));
  const [other, reset] = root.querySelectorAll("button");
  other.addEventListener("click", () => asked({ ...state, start: randomStart() }));
  reset.addEventListener("click", () => asked(INITIAL));
  show(INITIAL);
  clearInterval(timer); // until the drawing is seen
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    show(state);
  }, { threshold: 0.5 }).observe(svg);
}

const sigmaAt = (position) => N / PARTS[position]; // of all pairs it is infinite
const reachAt = (position) => (PARTS[position] ? `1/${PARTS[position]}` : "all pairs");

/** Draw the descent, quickly at first; its end alone where motion is unwelcome. */
function play(root, { position, start }) {
  const w = weights(sigmaAt(position));
  const states = compete(start, w);
  const before = penalty(w, states[0]);
  let frame = matchMedia("(prefers-reduced-motion: reduce)").matches ? FRAMES : 0;
  const timer = setInterval(step, 40);
  renderVerdict(root, position, "They compete.");
  step();
  return timer;
  function step() {
    draw(root, w, states[Math.floor(states.length ** (frame / FRAMES)) - 1], before);
    if (frame++ < FRAMES) return;
    clearInterval(timer);
    renderVerdict(root, position, verdictOn(active(states.at(-1))));
  }
}

function draw(root, w, h, before) {
  const [inhibition, left, now] = [felt(w, h), active(h), penalty(w, h)];
  showBar(root, "a", left.length / N, `${left.length} of ${N}`);
  showBar(root, "b", now / before, now.toFixed(now < 10 ? 1 : 0));
  const bar = (kind, i, top, height) => `<rect class="${kind}" x="${LEFT + PITCH * i + 2}"
    y="${top.toFixed(2)}" width="${PITCH - 4}" height="${height.toFixed(2)}"/>`;
  root.querySelector("svg g").innerHTML = h.map((value, i) => bar("active", i, FLOOR - UP * value, UP * value)
    + bar("felt", i, FLOOR, DOWN * inhibition[i])).join("");
}

function renderVerdict(root, position, verdict) {
  root.querySelector(".iw-verdict").textContent = verdict;
  const about = `${N} neurons, nearly equal at first, that inhibit each other`;
  set(root, "svg", { "aria-label": `${about}; reach ${reachAt(position)}. ${verdict}` });
}

/** Neurons are counted from 1. */
function verdictOn(left) {
  const names = left.map((i) => i + 1);
  if (left.length === 1) return `One neuron is left, number ${names[0]}.`;
  return `${left.length} are left, numbers ${names.slice(0, -1).join(", ")} and ${names.at(-1)}.`;
}
