/** Gradient flow on the logits from pi_ref: what training in small steps on all data does. */

import { dot, maxAbs, solvePositive } from "./linear";
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

/**
 * Rosenbrock's method of order two, which stays stable where curvatures are far apart; steps grow with time, and are
 * halved where two half steps do not agree with one.
 */
export function train(loss: Loss, world: World, lam: number): Moment[] {
  const objective = inLogits(loss, world, lam), n = world.n;
  let x: Float64Array = Float64Array.from(objective.logReference);
  let time = 0;
  const found: Moment[] = [moment(objective, x, 0)];
  let h = FIRST / 4, next = FIRST;
  for (let k = 0; k < 1500 && time < LAST; k++) {
    h = Math.min(h, 0.35 * (time + FIRST));
    const whole = rosenbrock(objective, x, h);
    const first = whole && rosenbrock(objective, x, h / 2);
    const halves = first && rosenbrock(objective, first, h / 2);
    if (!whole || !halves) {
      h /= 4;
      if (h < 1e-12) break;
      continue;
    }
    let error = 0;
    for (let i = 0; i < n; i++) error = Math.max(error, Math.abs(whole[i]! - halves[i]!));
    if (error > 0.03 && h > 1e-9) {
      h /= 2;
      continue;
    }
    x = halves;
    time += h;
    if (time >= next) {
      found.push(moment(objective, x, time));
      next = Math.max(next, time) * 1.12;
    }
    if (error < 0.004) h *= 1.7;
    if (maxAbs(x) > 300) break;
  }
  if (found[found.length - 1]!.time < time) found.push(moment(objective, x, time));
  return found;
}

function moment(objective: Objective, x: Float64Array, time: number): Moment {
  objective.at(x);
  const logp = [...objective.logp];
  return { time, logp, policy: logp.map(Math.exp) };
}

/** One step of x' = -g(x): (1 + gamma h H) k1 = -g(x), and its second stage. */
function rosenbrock(objective: Objective, x: Float64Array, h: number): Float64Array | null {
  const n = objective.n;
  objective.at(x);
  const hessian = objective.hessian.slice(), first = objective.gradient.map((g) => -g);
  const matrix = (): Float64Array => {
    const m = hessian.map((v) => GAMMA * h * v);
    for (let i = 0; i < n; i++) m[i * n + i]! += 1;
    return m;
  };
  if (!solvePositive(matrix(), first)) return null;
  const middle = x.map((v, i) => v + h * first[i]!);
  objective.at(middle);
  const second = objective.gradient.map((g, i) => -g - 2 * first[i]!);
  if (!solvePositive(matrix(), second)) return null;
  const end = x.map((v, i) => v + h * (1.5 * first[i]! + 0.5 * second[i]!));
  return end.every(Number.isFinite) ? end : null;
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
