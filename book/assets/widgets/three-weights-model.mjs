/**
 * The three-weight world, as pure functions (no DOM).
 *
 *   L_A = ½[(θ₁−1)² + (θ₂−1)²]           A is learned first and ends at θ* = (1, 1, 0)
 *   L_B = ½[(θ₁−1)² + (θ₂+θ₃−9)²]        B is learned next, on
 *   J   = L_B + ½ λ Σ Fᵢ (θᵢ − θ*ᵢ)²     by gradient descent from θ*
 *
 * B and the penalty both want θ₁ = 1, where it starts, so θ₁ never moves and the
 * dynamics are those of (θ₂, θ₃). A setting is {lambda, F: [F₁, F₂, F₃]}.
 */

export const START = Object.freeze([1, 1, 0]);

export function losses([t1, t2, t3]) {
  const shared = (t1 - 1) ** 2;
  return { A: (shared + (t2 - 1) ** 2) / 2, B: (shared + (t2 + t3 - 9) ** 2) / 2 };
}

export function objective(theta, setting) {
  const { lambda, F } = checked(setting);
  const penalty = F.reduce((sum, f, i) => sum + f * (theta[i] - START[i]) ** 2, 0);
  return losses(theta).B + (lambda * penalty) / 2;
}

/** Where gradient descent on J, started at θ*, ends. */
export function endPoint(setting) {
  const [a, b] = pulls(setting);
  // Without any pull J has a whole valley of minima; descent keeps to the shortest way there.
  if (a + b === 0) return [1, 5, 4];
  const scale = 8 / (a * b + a + b);
  return [1, 1 + scale * b, scale * a];
}

/** The limits of the end point for λ → 0 and λ → ∞; in between it lies on their straight line. */
export function endLimits({ F }) {
  const [, f2, f3] = checked({ lambda: 0, F }).F;
  if (f2 + f3 === 0) return [[1, 5, 4], [1, 5, 4]];
  const gentle = [1, 1 + (8 * f3) / (f2 + f3), (8 * f2) / (f2 + f3)];
  return [gentle, f2 * f3 > 0 ? [...START] : gentle];
}

/** Eigenvalues of J's Hessian in (θ₂, θ₃), and the angle of the steeper eigenvector. */
export function curvature(setting) {
  const [a, b] = pulls(setting);
  const steep = 1 + (a + b) / 2 + Math.hypot((a - b) / 2, 1);
  const flat = (a * b + a + b) / steep; // determinant / steep: no cancellation when tiny
  return { steep, flat, angle: Math.atan2(2, a - b) / 2 };
}

/** Gradient descent with small steps (the gradient flow) from θ* to its end: [[θ₁, θ₂, θ₃], …]. */
export function path(setting, points = 240) {
  const { steep, flat, angle } = curvature(setting);
  const [, x, y] = endPoint(setting);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const [dx, dy] = [START[1] - x, START[2] - y];
  const [along, across] = [dx * c + dy * s, dy * c - dx * s];
  const [first, last] = [0.01 / steep, 12 / (flat || steep)];
  const at = (i) => {
    const time = first * (last / first) ** (i / (points - 1));
    const [p, q] = [along * Math.exp(-steep * time), across * Math.exp(-flat * time)];
    return [1, x + p * c - q * s, y + p * s + q * c];
  };
  return [[...START], ...Array.from({ length: points }, (_, i) => at(i)), [1, x, y]];
}

/** λF₂ and λF₃: how strongly the penalty pulls θ₂ and θ₃ back. */
function pulls(setting) {
  const { lambda, F } = checked(setting);
  return [lambda * F[1], lambda * F[2]];
}

function checked({ lambda, F }) {
  if (!(lambda >= 0 && lambda < Infinity)) {
    throw new RangeError(`lambda is ${lambda}; expected a finite number, 0 or more`);
  }
  if (!(Array.isArray(F) && F.length === 3 && F.every((f) => f >= 0 && f < Infinity))) {
    throw new RangeError(`F is ${JSON.stringify(F)}; expected three finite numbers, 0 or more`);
  }
  return { lambda, F };
}
