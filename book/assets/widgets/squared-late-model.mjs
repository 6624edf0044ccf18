/**
 * The gradients of eight samples in one weight, as pure functions (no DOM).
 *
 *   right           1/N Σ gₙ²              each squared, then averaged: an empirical Fisher
 *   squared late    B/N Σ (mean of a batch of B)²
 *
 * The first does not know of batches; the second is it less the spread within the batches.
 */

/** Gradients whose mean is zero, as at an optimum. */
export const AT_OPTIMUM = Object.freeze([1.6, 0.5, 0.8, -1.2, -0.9, 1.1, -0.6, -1.3]);

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

export const gradients = (order, shift) => order.map((n) => AT_OPTIMUM[n] + shift);

/** For each sample the mean gradient of its batch; batches are `size` samples in a row. */
export function batchMeans(g, size) {
  if (!(Number.isInteger(size) && size > 0 && g.length % size === 0)) {
    throw new RangeError(`size is ${size}; expected a whole number that divides ${g.length}`);
  }
  return g.map((_, n) => {
    const first = n - (n % size);
    return mean(g.slice(first, first + size));
  });
}

export const squaredEach = (g) => mean(g.map((value) => value ** 2));

export const squaredLate = (g, size) => squaredEach(batchMeans(g, size));
