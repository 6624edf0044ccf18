/**
 * The numbers that the field reads off an accuracy matrix, as pure functions (no DOM).
 *
 * rows[0] is b, the accuracy on each task before any training, and rows[i] that after task i;
 * tasks are columns, counted from 0. Each number is a mean of differences: `plus` less `minus`.
 */

export const START = Object.freeze([[0.1, 0.1, 0.1], [0.9, 0.1, 0.2], [0.6, 0.8, 0.1], [0.5, 0.7, 0.9]]);

const tasks = (rows) => rows[0].map((_, task) => task);
const earlier = (rows) => tasks(rows).slice(0, -1);
const last = (rows) => rows.length - 1;

/** Which row holds the best moment of a task, from when it was learned to before the last task. */
function best(rows, task) {
  let found = task + 1;
  for (let row = found; row < last(rows); row++) if (rows[row][task] > rows[found][task]) found = row;
  return found;
}

/** For each number the pairs of cells [row, task] of which it is the mean difference. */
export const MEASURES = {
  "average accuracy": (rows) => tasks(rows).map((task) => [[last(rows), task]]),
  "learning accuracy": (rows) => tasks(rows).map((task) => [[task + 1, task]]),
  forgetting: (rows) => earlier(rows).map((task) => [[best(rows, task), task], [last(rows), task]]),
  "backward transfer": (rows) => earlier(rows).map((task) => [[last(rows), task], [task + 1, task]]),
  "forward transfer": (rows) => earlier(rows).map((task) => [[task + 1, task + 1], [0, task + 1]]),
};

export function value(name, rows) {
  const terms = MEASURES[name](rows).map((cells) => {
    const [plus, minus = 0] = cells.map(([row, task]) => rows[row][task]);
    return plus - minus;
  });
  return terms.reduce((sum, term) => sum + term, 0) / terms.length;
}

/** The sum as one would write it, such as [(0.9 − 0.5) + (0.8 − 0.7)] / 2. */
export function written(name, rows) {
  const terms = MEASURES[name](rows).map((cells) => cells.map(([row, task]) => rows[row][task]).join("\u00a0−\u00a0"));
  const differences = terms[0].includes("−");
  const sum = terms.map((term) => (differences ? `(${term})` : term)).join(" + ");
  return `${differences ? `[${sum}]` : `(${sum})`} / ${terms.length}`;
}
