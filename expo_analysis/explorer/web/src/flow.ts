/** Gradient flow on the logits from pi_ref: what training in small steps on all data does. */

import { dot, logSoftmax, maxAbs, solvePositive } from "./linear";
import { withoutKinks } from "./kinked";
import { Objective } from "./objective";
import type { Loss, World } from "./types";

export interface Moment {
  time: number;
  policy: number[];
  logp: number[];
}

/** Losses whose pair formula can be differentiated in the logits: all but expected rewards have one. */
function inLogits(loss: Loss, world: World, lam: number): Objective {
  const own: Loss = loss.reward ? { ...loss, pair: noPair } : loss;
  return new Objective(own, world).setLambda(lam);
}

const noPair = (): void => undefined;

/** -dJ/dlogits turned into the motion of the policy: pi_i (v_i - sum_j pi_j v_j). */
export function motion(objective: Objective, policy: ArrayLike<number>): Float64Array {
  const n = policy.length, x = Float64Array.from(policy, Math.log);
  objective.at(x);
  const v = objective.gradient.map((g) => -g);
  const mean = dot(policy, v);
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) out[i] = policy[i]! * (v[i]! - mean);
  return out;
}

export function fieldOf(loss: Loss, world: World, lam: number, points: number[][]): Float64Array[] {
  const objective = inLogits(loss, world, lam);
  return points.map((policy) => motion(objective, policy));
}

const GAMMA = 1 - Math.SQRT1_2;
export const FIRST = 1e-2;
export const LAST = 1e5;

/** By how much a step may err in the logits. */
const TOLERANCE = 0.02;

/**
 * Rosenbrock's method of order two with its embedded estimate of the error, which stays stable where curvatures are far
 * apart; steps grow with time. Kinks are rounded off, as finite steps do on average.
 */
export function train(loss: Loss, world: World, lam: number): Moment[] {
  const objective = inLogits(loss.rounded ? withoutKinks(loss, { now: 0.01 }) : loss, world, lam);
  let x: Float64Array = Float64Array.from(objective.logReference);
  let time = 0;
  const found: Moment[] = [moment(x, 0)];
  let h = FIRST / 2, next = FIRST;
  for (let k = 0; k < 600 && time < LAST; k++) {
    h = Math.min(h, 0.4 * (time + FIRST));
    const step = rosenbrock(objective, x, h);
    if (!step || step.error > TOLERANCE) {
      h *= step ? Math.max(0.2, 0.8 * Math.sqrt(TOLERANCE / step.error)) : 0.25;
      if (h < 1e-12) break;
      continue;
    }
    x = step.end;
    time += h;
    if (time >= next) {
      found.push(moment(x, time));
      next = Math.max(next, time) * 1.12;
    }
    h *= Math.min(3, 0.8 * Math.sqrt(TOLERANCE / Math.max(step.error, 1e-9)));
    if (maxAbs(x) > 300) break;
  }
  if (found[found.length - 1]!.time < time) found.push(moment(x, time));
  return found;
}

function moment(x: Float64Array, time: number): Moment {
  const logp = new Float64Array(x.length);
  logSoftmax(x, logp);
  return { time, logp: [...logp], policy: [...logp].map(Math.exp) };
}

/** One step of x' = -g(x): (1 + gamma h H) k1 = -g(x), (1 + gamma h H) k2 = -g(x + h k1) - 2 k1. */
function rosenbrock(objective: Objective, x: Float64Array, h: number): { end: Float64Array; error: number } | null {
  const n = objective.n;
  objective.at(x);
  const hessian = objective.hessian.map((v) => GAMMA * h * v), first = objective.gradient.map((g) => -g);
  for (let i = 0; i < n; i++) hessian[i * n + i]! += 1;
  if (!solvePositive(hessian.slice(), first)) return null;
  const middle = x.map((v, i) => v + h * first[i]!);
  objective.at(middle);
  const second = objective.gradient.map((g, i) => -g - 2 * first[i]!);
  if (!solvePositive(hessian, second)) return null;
  const end = x.map((v, i) => v + h * (1.5 * first[i]! + 0.5 * second[i]!));
  let error = 0;
  for (let i = 0; i < n; i++) error = Math.max(error, (h / 2) * Math.abs(first[i]! + second[i]!));
  return Number.isFinite(error) ? { end, error } : null;
}

/** The mean log-probability of winners, and of losers, over the data. */
export function chosenAndRejected(world: World, logp: readonly number[]): [number, number] {
  let chosen = 0, rejected = 0, total = 0;
  world.wins.forEach((row, i) =>
    row.forEach((w, j) => {
      if (!(w > 0)) return;
      chosen += w * logp[i]!;
      rejected += w * logp[j]!;
      total += w;
    }),
  );
  return [chosen / total, rejected / total];
}
