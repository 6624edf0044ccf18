/** The figure's numbers against closed forms and a plain loop of gradient descent. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const widgets = new URL("../../book/assets/widgets/", import.meta.url);
const model = await import(new URL("three-weights-model.mjs", widgets));
const { x, y } = await import(new URL("three-weights-picture.mjs", widgets));
const { strengthAt } = await import(new URL("three-weights.mjs", widgets));
const { START, curvature, endLimits, endPoint, losses, objective, path } = model;

const PLAIN = { lambda: 0, F: [1, 1, 1] };
const EWC = [1, 1, 0];
const L2 = [1, 1, 1];
const STRENGTHS = [0.01, 0.1, 1, 7, 100];
const SETTINGS = [PLAIN, ...STRENGTHS.flatMap((lambda) =>
  [EWC, L2, [1, 0, 1], [1, 0, 0], [1, 0.3, 0.9], [0, 1, 0.05]].map((F) => ({ lambda, F })))];

function close(actual, expected, tolerance = 1e-9) {
  const [found, wanted] = [[actual].flat(), [expected].flat()];
  assert.equal(found.length, wanted.length, `${actual} is not ${expected}`);
  found.forEach((a, i) => assert.ok(Math.abs(a - wanted[i]) <= tolerance, `${actual} is not ${expected}`));
}

function gradient([t1, t2, t3], { lambda, F }) {
  const shared = t2 + t3 - 9;
  const pull = [t1, t2, t3].map((value, i) => lambda * F[i] * (value - START[i]));
  return [t1 - 1 + pull[0], shared + pull[1], shared + pull[2]];
}

function descend(setting, rate, steps) {
  let theta = [...START];
  for (let step = 0; step < steps; step++) {
    const g = gradient(theta, setting);
    theta = theta.map((value, i) => value - rate * g[i]);
  }
  return theta;
}

test("numbers are close only where none is missing", () => {
  close([1, 2], [1, 2 + 1e-12]);
  for (const wrong of [[], [1], [1, 2, 3], [1, 2.1]]) assert.throws(() => close(wrong, [1, 2]));
});

test("A's solution leaves B its whole loss", () => {
  assert.deepEqual(losses(START), { A: 0, B: 32 });
});

test("the losses are the chapter's in all three weights", () => {
  assert.deepEqual(losses([3, 2, 4]), { A: 2.5, B: 6.5 });
});

test("plain training solves B at (1, 5, 4) and loses A", () => {
  close(endPoint(PLAIN), [1, 5, 4]);
  assert.deepEqual(losses(endPoint(PLAIN)), { A: 8, B: 0 });
});

test("an importance of zero for all weights is plain training", () => {
  close(endPoint({ lambda: 3, F: [0, 0, 0] }), [1, 5, 4]);
});

test("EWC solves both tasks at every strength", () => {
  for (const lambda of STRENGTHS) {
    const end = endPoint({ lambda, F: EWC });
    close(end, [1, 1, 8]);
    close(Object.values(losses(end)), [0, 0]);
  }
});

test("L2 trades one loss for the other", () => {
  for (const lambda of STRENGTHS) {
    const { A, B } = losses(endPoint({ lambda, F: L2 }));
    close([A, B], [32 / (lambda + 2) ** 2, (32 * lambda ** 2) / (lambda + 2) ** 2]);
  }
});

test("no end point loses more than 32 on either task", () => {
  for (const setting of SETTINGS) {
    const { A, B } = losses(endPoint(setting));
    assert.ok(A <= 32 + 1e-9 && B <= 32 + 1e-9);
  }
});

test("a loop of gradient descent ends at the end point", () => {
  for (const setting of SETTINGS) {
    const { steep, flat } = curvature(setting);
    const rate = 1 / steep;
    close(descend(setting, rate, Math.ceil(25 * (steep / (flat || steep)))), endPoint(setting), 1e-6);
  }
});

test("the path starts at A's solution, ends at the end point and only goes down", () => {
  for (const setting of SETTINGS) {
    const points = path(setting);
    assert.deepEqual(points[0], [...START]);
    assert.deepEqual(points.at(-1), endPoint(setting));
    close(points.at(-2), points.at(-1), 1e-3);
    const heights = points.map((theta) => objective(theta, setting));
    heights.slice(1).forEach((height, i) => assert.ok(height <= heights[i] + 1e-9));
  }
});

test("the path is that of gradient descent with small steps", () => {
  const setting = { lambda: 1, F: [1, 1, 0] };
  const points = path(setting);
  for (const time of [0.2, 1, 4]) {
    const theta = descend(setting, 1e-4, time / 1e-4);
    const gap = Math.min(...points.map((p) => Math.hypot(p[1] - theta[1], p[2] - theta[2])));
    assert.ok(gap < 0.1, `no point of the path near ${theta}`);
  }
});

test("a weak penalty lets the path fall to (5, 4) before it slides along B's valley", () => {
  const gaps = path({ lambda: 0.01, F: EWC }).map(([, p, q]) => Math.hypot(p - 5, q - 4));
  assert.ok(Math.min(...gaps) < 0.2);
});

test("curvature is the Hessian's: trace, determinant and steep direction", () => {
  for (const setting of SETTINGS) {
    const [a, b] = [setting.lambda * setting.F[1], setting.lambda * setting.F[2]];
    const { steep, flat, angle } = curvature(setting);
    close([steep + flat, steep * flat], [2 + a + b, a + b + a * b], 1e-6);
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    close([(1 + a) * c + s, c + (1 + b) * s], [steep * c, steep * s], 1e-9 * steep);
  }
});

test("the limits enclose the end points of every strength on one straight line", () => {
  for (const { lambda, F } of SETTINGS.slice(1)) {
    const [[, gx, gy], [, fx, fy]] = endLimits({ F });
    const [, p, q] = endPoint({ lambda, F });
    close((p - fx) * (gy - fy) - (q - fy) * (gx - fx), 0);
    close(endPoint({ lambda: 1e-9, F }), [1, gx, gy], 1e-6);
    close(endPoint({ lambda: 1e9, F }), [1, fx, fy], 1e-6);
  }
  assert.deepEqual(endLimits({ F: [1, 0, 0] }), [[1, 5, 4], [1, 5, 4]]);
});

test("a wrong strength is refused", () => {
  for (const lambda of [-1, NaN, Infinity, undefined]) {
    assert.throws(() => endPoint({ lambda, F: L2 }), {
      name: "RangeError",
      message: `lambda is ${lambda}; expected a finite number, 0 or more`,
    });
  }
});

test("wrong importances are refused", () => {
  for (const F of [[1, 1], [1, 1, -1], [1, NaN, 1], "111"]) {
    assert.throws(() => path({ lambda: 1, F }), {
      name: "RangeError",
      message: `F is ${JSON.stringify(F)}; expected three finite numbers, 0 or more`,
    });
  }
});

test("the slider runs from 0 over 0.01 and 1 to 100", () => {
  close([0, 1, 41, 81].map(strengthAt), [0, 0.01, 1, 100]);
});

test("the static figure shows the model's numbers", () => {
  const still = readFileSync(new URL("three-weights.html", widgets), "utf8");
  const ends = { plain: PLAIN, ewc: { lambda: 1, F: EWC } };
  for (const [name, setting] of Object.entries(ends)) {
    const [, px, py] = endPoint(setting);
    const line = still.match(new RegExp(`data-path="${name}"[^>]* d="M([^"]+)"`))[1];
    const numbers = line.split(/[ L]/).map(Number);
    close(numbers.slice(0, 2), [x(1), y(0)], 0.06);
    close(numbers.slice(-2), [x(px), y(py)], 0.06);
    const dot = still.match(new RegExp(`data-end="${name}" cx="([^"]+)" cy="([^"]+)"`));
    close(dot.slice(1).map(Number), [x(px), y(py)], 0.06);
  }
  const [, px, py] = endPoint({ lambda: 1, F: L2 });
  const triangle = still.match(/data-end="l2" d="M([\d.]+) ([\d.]+)h14l-7-12z"/).slice(1);
  close(triangle.map(Number), [x(px) - 7, y(py) + 5], 0.06);
  assert.ok(still.includes(`(${px.toFixed(2)}, ${py.toFixed(2)})`));
});
