/** What all interactive figures share: colours, controls, readout, and how they print. */
const STYLE = `
.iw { --a: #0072b2; --b: #d55e00; --both: #009e73; --knob: #5b6470;
  --paper: var(--pst-color-background, #fff);
  --soft: color-mix(in srgb, currentColor 14%, transparent);
  --rule: color-mix(in srgb, currentColor 50%, transparent);
  display: flex; flex-wrap: wrap; gap: .75rem 1.5rem; margin: 1.5rem 0; font-size: .9rem;
  line-height: 1.4; }
html[data-theme="dark"] .iw { --a: #56b4e9; --b: #f0803c; --both: #2cc295; --knob: #b9c1c9; }
.iw-plot { flex: 2 1 20rem; min-width: 0; max-width: 30rem; margin: 0 auto; }
.iw-panel { flex: 1 1 14.5rem; min-width: 0; display: grid; gap: .75rem; align-content: center; }
.iw svg { stroke-linejoin: round; display: block; width: 100%; height: auto; overflow: visible; }
.iw text { fill: currentColor; font-size: 14px; }
.iw .mid { text-anchor: middle; }
.iw button { font: inherit; color: inherit; background: none; border: 1px solid var(--rule);
  border-radius: .3rem; padding: .3rem .35rem; min-height: 2.75rem; cursor: pointer; }
.iw button b, .iw button span { display: block; }
.iw button span { font-size: .85em; line-height: 1.25; }
.iw button:hover { border-color: currentColor; }
.iw [aria-pressed="true"] { background: var(--soft); box-shadow: inset 0 -.2rem currentColor; }
.iw .iw-reset { justify-self: end; padding: 0 1.25rem; min-height: 2.25rem; }
.iw-buttons { display: flex; justify-content: end; gap: .4rem; }
.iw :focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
.iw input:focus-visible { outline-offset: 0; }
.iw label { display: grid; grid-template-columns: 1fr auto; margin: 0; }
.iw small { font-size: .9em; padding-left: .3em; }
.iw input { grid-column: 1 / -1; width: 100%; height: 1.75rem; margin: 0; accent-color: var(--knob);
  touch-action: pan-y; }
.iw-value, .iw-readout { font-variant-numeric: tabular-nums; }
.iw-value, .iw-verdict { font-weight: 600; }
.iw-row { display: grid; grid-template-columns: var(--name, 5.2em) 1fr 3.4em; gap: .5rem;
  align-items: center; }
.iw-row > :last-child { text-align: right; white-space: nowrap; }
.iw-bar { height: .75rem; background: var(--soft); }
.iw-bar i { display: block; height: 100%; background: var(--a); }
.iw-b .iw-bar i { background: repeating-linear-gradient(-45deg, var(--b) 0 5px,
  var(--paper) 5px 7px); }
.iw-verdict { min-height: 3.2em; padding-top: .3rem; }
.iw-note { flex: 1 0 100%; }
.iw-note p { margin: 0 0 .4rem; }
@media (forced-colors: active) {
  .iw { --paper: Canvas; }
  .iw-inks { forced-color-adjust: none; color: CanvasText; }
  .iw-bar { border: 1px solid; }
  .iw .iw-bar i { forced-color-adjust: none; background: CanvasText; }
  .iw-b .iw-bar i { background: repeating-linear-gradient(-45deg, CanvasText 0 5px, Canvas 5px 7px); }
  .iw [aria-pressed="true"] { outline: 3px solid Highlight; } }
@media screen { .iw ~ * { display: none !important; } }
@media print { .iw:not(:last-child), .iw-presets, .iw input, .iw .iw-reset { display: none; } }
`;

/** A slider that shows its value: `name` is what its events are told by. */
export const slider = (name, [first, last, step], symbol, about) => `<label>
  <span><b>${symbol}</b> <small>${about}</small></span>
  <span class="iw-value" aria-hidden="true"></span>
  <input type="range" name="${name}" min="${first}" max="${last}" step="${step}"></label>`;

/** A named bar with its number, of kind "a" (plain) or "b" (hatched). */
export const row = (kind, name) => `<div class="iw-row iw-${kind}">
  <span>${name}</span><span class="iw-bar"><i></i></span><span></span></div>`;

/** Put a figure in front of the static one, which stays for print. */
export function place(element, { name, label, style, markup }) {
  addStyle("iw-style", STYLE);
  addStyle(`${name}-style`, style);
  const root = document.createElement("div");
  root.className = `iw ${name}`;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Interactive figure: ${label}`);
  root.innerHTML = markup;
  element.prepend(root);
  return root;
}

function addStyle(id, text) {
  if (document.getElementById(id)) return;
  const style = document.createElement("style");
  style.id = id;
  style.textContent = text;
  document.head.append(style);
}

export function set(root, selector, attributes) {
  const node = root.querySelector(selector);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

/** Tell of every move of a slider: `change` gets its name and value as an object. */
export function onSliders(root, change) {
  for (const input of root.querySelectorAll("input")) {
    input.addEventListener("input", () => change({ [input.name]: input.valueAsNumber }));
  }
}

export function showValue(input, value, text) {
  input.value = value;
  input.setAttribute("aria-valuetext", text);
  input.previousElementSibling.textContent = text;
}

export function showBar(root, kind, share, text) {
  const line = root.querySelector(`.iw-${kind}`);
  line.querySelector("i").style.width = `${100 * share}%`;
  line.lastElementChild.textContent = text;
}
