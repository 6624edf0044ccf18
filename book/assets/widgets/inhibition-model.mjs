/**
 * Neurons of one layer that inhibit each other, as pure functions (no DOM).
 *
 *   R = Σ_{i≠j} w_ij h_i h_j,   w_ij = exp(−(i−j)²/2σ²), or 1 for all pairs (σ = ∞)
 *
 * The task holds against it: it needs a fixed sum of activations, however they are shared. R is
 * brought down by gradient descent, projected to h ≥ 0 with that sum.
 */

export const N = 24;
const MOST = 2000; // states; at 2 % longer each, descent ends long before

/** Nearly equal activations, as a share of the mean: fixed, or from any source of random numbers. */
const UNEVEN = [3.5, -2.5, 0.5, -4.5, 1.5, 4.5, -0.5, -3.5, 2.5, -1.5, -5.5, 3,
  -4, 1, 5, -3, -1, 2, -5, 4, 0, -2, 5.5, -0.25];
export const START = Object.freeze(UNEVEN.map((percent) => 1 + percent / 100));
export const randomStart = () => withSum(START.map(() => 0.95 + 0.1 * Math.random()));

const sum = (values) => values.reduce((total, value) => total + value, 0);
const withSum = (h) => h.map((value) => (value * N) / sum(h));

export function weights(sigma) {
  if (!(sigma > 0)) throw new RangeError(`sigma is ${sigma}; expected a number above 0, or Infinity`);
  const weight = (i, j) => (i === j ? 0 : Math.exp(-((i - j) ** 2) / (2 * sigma ** 2)));
  return START.map((_, i) => START.map((_, j) => weight(i, j)));
}

/** How strongly each neuron is inhibited by the others: half the gradient of R. */
export const felt = (w, h) => w.map((row) => row.reduce((total, value, j) => total + value * h[j], 0));

export const penalty = (w, h) => sum(felt(w, h).map((value, i) => value * h[i]));

/** The nearest point with h ≥ 0 and sum N (Duchi et al., 2008). */
export function projected(h) {
  const falling = [...h].sort((a, b) => b - a);
  let [total, shift] = [0, 0];
  falling.forEach((value, k) => {
    total += value;
    const candidate = (total - N) / (k + 1);
    if (value > candidate) shift = candidate;
  });
  return h.map((value) => Math.max(value - shift, 0));
}

/** All states from a start to where descent ends; its steps grow, as the slopes that are left are slight. */
export function compete(start, w) {
  let rate = 0.4 / Math.max(...w.map(sum));
  const states = [projected(start)];
  while (states.length < MOST) {
    const h = states.at(-1);
    const next = projected(felt(w, h).map((value, i) => h[i] - rate * value));
    states.push(next);
    if (next.every((value, i) => Math.abs(value - h[i]) < 1e-7)) break;
    rate *= 1.02;
  }
  return states;
}

export const active = (h) => [...h.keys()].filter((i) => h[i] > 1e-3);
