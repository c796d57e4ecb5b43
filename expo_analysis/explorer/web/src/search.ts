/** Newton's method in logits (or scores): damped for convex objectives, regularised for others. */

import { maxAbs, solvePositive } from "./linear";
import type { Objective } from "./objective";

export interface Found {
  x: number[];
  value: number;
  steps: number;
  converged: boolean;
}

const MAX_STEPS = 120;

/** Newton's step, one coordinate held: the one with the largest curvature, whose elimination loses the fewest digits. */
function newtonStep(objective: Objective, shift: number): number[] | null {
  const { n, gradient: g, hessian: h } = objective;
  let held = 0;
  for (let i = 1; i < n; i++) if (h[i]![i]! > h[held]![held]!) held = i;
  const kept: number[] = [];
  for (let i = 0; i < n; i++) if (i !== held) kept.push(i);
  const matrix = kept.map((i) => kept.map((j) => h[i]![j]! + (i === j ? shift : 0)));
  const step = solvePositive(matrix, kept.map((i) => -g[i]!));
  if (!step || !step.every(Number.isFinite)) return null;
  const full = new Array<number>(n).fill(0);
  kept.forEach((i, k) => (full[i] = step[k]!));
  const mean = full.reduce((s, v) => s + v, 0) / n;
  return full.map((v) => v - mean);
}

/** Descend from x until Newton's own step is negligible. */
export function descend(objective: Objective, start: readonly number[], maxSteps = MAX_STEPS): Found {
  let x = start.slice();
  let value = objective.at(x);
  let converged = false, steps = 0, last = Infinity, shift = 0;
  for (; steps < maxSteps; steps++) {
    const size = 1 + maxAbs(x);
    let step = newtonStep(objective, shift);
    let positive = step !== null && shift === 0;
    if (!step) {
      const scale = objective.hessian.reduce((top, row) => Math.max(top, maxAbs(row)), 1e-300);
      let raised = Math.max(shift, 1e-4 * scale);
      for (let k = 0; k < 40 && !step; k++, raised *= 4) step = newtonStep(objective, raised);
      if (!step) break;
      positive = false;
    }
    const slope = dot(objective.gradient, step);
    const length = maxAbs(step);
    if (positive && length <= 1e-15 * size) {
      converged = true;
      break;
    }
    // in the last steps values no longer tell which is lower: Newton's steps themselves must shrink
    if (positive && -slope <= 1e-13 * (1 + Math.abs(value)) && length < 1e-5 * size) {
      const next = x.map((v, i) => v + step[i]!);
      const lower = objective.at(next);
      if (length >= 0.5 * last) {
        converged = true;
        objective.at(x);
        break;
      }
      last = length;
      x = next;
      value = lower;
      if (length <= 1e-13 * size) {
        converged = true;
        break;
      }
      continue;
    }
    let factor = Math.min(1, 1e6 / length), next = x, lower = Infinity;
    for (let k = 0; k < 60; k++, factor *= 0.5) {
      next = x.map((v, i) => v + factor * step[i]!);
      lower = objective.at(next);
      if (lower <= value + 1e-4 * factor * slope) break;
    }
    if (!(lower < value)) {
      objective.at(x);
      converged = positive && length < 1e-6 * size;
      break;
    }
    x = next;
    value = lower;
  }
  return { x, value, steps, converged };
}

export function dot(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
