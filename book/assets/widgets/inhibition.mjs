/** A layer whose neurons inhibit their neighbours: how many are left, and where? */
import { place, set, showBar, showValue, slider, row } from "./look.mjs";
import { N, START, active, compete, felt, penalty, randomStart, weights } from "./inhibition-model.mjs";

const REACHES = [["1/48", 48], ["1/24", 24], ["1/12", 12], ["1/6", 6], ["1/3", 3], ["all pairs", 0]];
const INITIAL = { position: 3, start: START };
const FRAMES = 45;

const [LEFT, PITCH] = [8, 16];
const FLOOR = 186; // where the bars of activations stand; those of inhibition hang from it
const [UP, DOWN] = [7, 3]; // of an activation, or an inhibition, of 1

const STYLE = `
.inhibition .active { fill: var(--a); }
.inhibition .felt { fill: var(--b); fill-opacity: .75; }
.inhibition .floor, .inhibition .began { stroke: currentColor; stroke-opacity: .6; }
.inhibition .began { stroke-dasharray: 2 3; }
.inhibition .iw-row { --name: 8.2em; }
.inhibition .iw-buttons { display: flex; justify-content: end; gap: .4rem; }
@media (forced-colors: active) { .inhibition svg { forced-color-adjust: none; } }
`;

const MARKUP = `<div class="iw-plot"><svg viewBox="0 0 400 276" role="img"><g></g>
  <line class="floor" x1="${LEFT}" x2="${LEFT + N * PITCH}" y1="${FLOOR}" y2="${FLOOR}"/>
  <line class="began" x1="${LEFT}" x2="${LEFT + N * PITCH}" y1="${FLOOR - UP}" y2="${FLOOR - UP}"/>
  <text x="${LEFT}" y="15">up: activation of each of ${N} neurons</text>
  <text x="${LEFT}" y="272">down: how strongly the others inhibit it</text>
</svg></div>
<div class="iw-panel">
  <div class="iw-readout" aria-live="polite" aria-atomic="true">
    ${row("a", "Active neurons")}${row("b", "Inhibition R")}
    <div class="iw-verdict"></div></div>
  ${slider("position", [0, REACHES.length - 1, 1], "σ", "share of the layer")}
  <div class="iw-buttons"><button type="button" class="iw-reset">Other start</button>
    <button type="button" class="iw-reset">Reset</button></div>
</div>
<div class="iw-note"><p><b>What to look for.</b> All ${N} begin nearly alike (dotted). The less a neuron is
  inhibited, the more it grows, and the more it inhibits those around it. Drag σ: a short reach leaves
  several, far apart; a long one, or all pairs alike, leaves one. Those at the ends have the fewest
  neighbours.</p>
  <p>Gradient descent on R in one sample. The only thing that holds against it here is that the sum of
  all activations is kept, as if the task needed just that.</p></div>`;

export function mount(element) {
  const label = "neurons that inhibit their neighbours";
  connect(place(element, { name: "inhibition", label, style: STYLE, markup: MARKUP }));
}

function connect(root) {
  let [state, timer] = [INITIAL];
  const show = (next) => {
    state = next;
    clearInterval(timer);
    const sigma = sigmaAt(state.position);
    const states = compete(state.start, sigma);
    renderOutcome(root, state.position, weights(sigma), states);
    timer = play(root, weights(sigma), states);
  };
  root.querySelector("input").addEventListener("input", (event) =>
    show({ ...state, position: event.target.valueAsNumber }));
  const [other, reset] = root.querySelectorAll("button");
  other.addEventListener("click", () => show({ ...state, start: randomStart() }));
  reset.addEventListener("click", () => show(INITIAL));
  show(INITIAL);
}

const sigmaAt = (position) => N / REACHES[position][1]; // of all pairs it is infinite

/** Draw the descent, quickly at first; its end alone where motion is unwelcome. */
function play(root, w, states) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let frame = still ? FRAMES : 0;
  const timer = setInterval(step, 40);
  step();
  return timer;
  function step() {
    draw(root.querySelector("svg g"), states[Math.floor(states.length ** (frame / FRAMES)) - 1], w);
    if (frame++ >= FRAMES) clearInterval(timer);
  }
}

function draw(group, h, w) {
  const inhibition = felt(w, h);
  const bar = (kind, i, top, height) => `<rect class="${kind}" x="${LEFT + PITCH * i + 2}"
    y="${top.toFixed(2)}" width="${PITCH - 4}" height="${height.toFixed(2)}"/>`;
  group.innerHTML = h.map((value, i) => bar("active", i, FLOOR - UP * value, UP * value)
    + bar("felt", i, FLOOR, DOWN * inhibition[i])).join("");
}

function renderOutcome(root, position, w, states) {
  const [reach] = REACHES[position];
  const left = active(states.at(-1));
  const [before, after] = [states[0], states.at(-1)].map((h) => penalty(w, h));
  showValue(root.querySelector("input"), position, reach);
  showBar(root, "a", left.length / N, `${left.length} of ${N}`);
  showBar(root, "b", after / before, after.toFixed(after < 10 ? 1 : 0));
  const verdict = left.length === 1 ? "One neuron is left." : `${left.length} are left, ${spaced(left)} apart.`;
  root.querySelector(".iw-verdict").textContent = verdict;
  const said = `Descent on inhibition with a reach of ${reach}, from ${N} nearly equal neurons. ${verdict}`;
  set(root, "svg", { "aria-label": said });
}

/** The distance between two neighbours of those that are left, or the range of distances. */
function spaced(left) {
  const gaps = left.slice(1).map((i, k) => i - left[k]);
  const [least, most] = [Math.min(...gaps), Math.max(...gaps)];
  return least === most ? String(least) : `${least} to ${most}`;
}
