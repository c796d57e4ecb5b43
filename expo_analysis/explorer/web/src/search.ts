/** Newton's method in logits (or scores): damped for convex objectives, regularised for others. */

import { dot, maxAbs, solvePositive } from "./linear";
import type { Objective } from "./objective";

export interface Found {
  x: Float64Array;
  value: number;
  steps: number;
  converged: boolean;
}

const MAX_STEPS = 120;

/** Newton's step, one coordinate held: the one with the largest curvature, whose elimination loses the fewest digits. */
function newtonStep(objective: Objective, shift: number, step: Float64Array): boolean {
  const { n, gradient: g, hessian: h } = objective;
  let held = 0;
  for (let i = 1; i < n; i++) if (h[i * n + i]! > h[held * n + held]!) held = i;
  if (n === 3) {
    const i = held === 0 ? 1 : 0, j = held === 2 ? 1 : 2;
    const a = h[i * 3 + i]! + shift, b = h[i * 3 + j]!, d = h[j * 3 + j]! + shift;
    if (!(a > 0)) return false;
    const l = b / a, s = d - b * l;
    if (!(s > 0)) return false;
    const y = (-g[j]! + l * g[i]!) / s, z = (-g[i]! - b * y) / a;
    const mean = (y + z) / 3;
    step[i] = z - mean;
    step[j] = y - mean;
    step[held] = -mean;
    return Number.isFinite(mean);
  }
  const m = n - 1, matrix = new Float64Array(m * m), right = new Float64Array(m);
  for (let i = 0, k = 0; i < n; i++) {
    if (i === held) continue;
    for (let j = 0, c = 0; j < n; j++) if (j !== held) matrix[k * m + c++] = h[i * n + j]! + (i === j ? shift : 0);
    right[k++] = -g[i]!;
  }
  if (!solvePositive(matrix, right)) return false;
  const mean = right.reduce((s, v) => s + v, 0) / n;
  for (let i = 0, k = 0; i < n; i++) step[i] = (i === held ? 0 : right[k++]!) - mean;
  return Number.isFinite(mean);
}

/** Descend from x until Newton's own step is negligible. */
export function descend(objective: Objective, start: ArrayLike<number>, maxSteps = MAX_STEPS, halvings = 50): Found {
  const n = objective.n, convex = objective.loss.convex || objective.inScores;
  let x = Float64Array.from(start), next = new Float64Array(n);
  const step = new Float64Array(n);
  let value = objective.at(x);
  let converged = false, steps = 0, last = Infinity;
  for (; steps < maxSteps; steps++) {
    const size = 1 + maxAbs(x);
    let positive = newtonStep(objective, 0, step);
    if (!positive) {
      const scale = Math.max(maxAbs(objective.hessian), 1e-300);
      let raised = 1e-4 * scale, found = false;
      for (let k = 0; k < 40 && !found; k++, raised *= 4) found = newtonStep(objective, raised, step);
      if (!found) break;
    }
    const slope = dot(objective.gradient, step), length = maxAbs(step);
    if (positive && length <= 1e-15 * size) {
      converged = true;
      break;
    }
    // where values no longer tell which point is lower, Newton's steps themselves must shrink
    if (positive && -slope <= 1e-13 * (1 + Math.abs(value)) && length < 1e-5 * size) {
      if (length >= 0.5 * last) {
        converged = true;
        break;
      }
      last = length;
      for (let i = 0; i < n; i++) x[i]! += step[i]!;
      value = objective.at(x);
      if (length <= 1e-13 * size) {
        converged = true;
        break;
      }
      continue;
    }
    // a loss that only falls as a probability vanishes has nothing more to gain
    if (!convex && -slope <= 1e-14 && length > 1e-3 && lowestOf(objective.logp) < -25) break;
    let factor = Math.min(1, 1e6 / length), lower = Infinity;
    for (let k = 0; k < halvings; k++, factor *= k < 4 ? 0.5 : 0.2) {
      for (let i = 0; i < n; i++) next[i] = x[i]! + factor * step[i]!;
      lower = objective.at(next);
      if (lower <= value + 1e-4 * factor * slope) break;
      if (factor * length < 1e-14 * size) break;
    }
    if (!(lower < value)) {
      objective.at(x);
      converged = positive && length < 1e-6 * size;
      break;
    }
    [x, next] = [next, x];
    value = lower;
  }
  return { x, value, steps, converged };
}

function lowestOf(x: Float64Array): number {
  let least = x[0]!;
  for (let i = 1; i < x.length; i++) if (x[i]! < least) least = x[i]!;
  return least;
}
