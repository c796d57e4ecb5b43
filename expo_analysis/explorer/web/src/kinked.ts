/** Convex losses with kinks: the minimum is smooth, or lies on a kink, or where kinks meet. All of these are tried. */

import { logSoftmax, maxAbs, solveLinear } from "./linear";
import type { Objective } from "./objective";
import { descend } from "./search";

interface Kink {
  winner: number;
  loser: number;
  which: number;
  data: number[];
}

interface At {
  value: number;
  gradient: number[];
  hessian: number[][];
}

const out = new Float64Array(6);

/** Kinks of every ordered pair; those that several pairs share are one. */
export function kinksOf(objective: Objective): Kink[] {
  const found: Kink[] = [], seen = new Set<string>();
  const probes = [0.1, 1.3].map((s) => objective.logReference.map((r, i) => r * s - i * 0.37 * s));
  for (const { winner, loser, data } of objective.edges) {
    objective.loss.kinks!.forEach((_, which) => {
      const kink = { winner, loser, which, data };
      const key = probes.map((x) => kinkAt(objective, kink, x).value.toPrecision(10)).join();
      const turned = probes.map((x) => (-kinkAt(objective, kink, x).value).toPrecision(10)).join();
      if (seen.has(key) || seen.has(turned)) return;
      seen.add(key);
      found.push(kink);
    });
  }
  return found;
}

/** a(x), its gradient and Hessian in the logits. */
function kinkAt(objective: Objective, kink: Kink, x: readonly number[]): At {
  const { n, loss, lam, logReference: ref } = objective;
  const logp = logSoftmax(x), read = loss.ratio ? x : logp;
  const { winner: w, loser: l } = kink;
  loss.kinks![kink.which]!(lam, read[w]!, read[l]!, ref[w]!, ref[l]!, ...kink.data, out);
  const a = new Array<number>(n).fill(0);
  const h = Array.from({ length: n }, () => new Array<number>(n).fill(0));
  a[w]! += out[1]!;
  a[l]! += out[2]!;
  h[w]![w]! += out[3]!;
  h[w]![l]! += out[4]!;
  h[l]![w]! += out[4]!;
  h[l]![l]! += out[5]!;
  if (loss.ratio) return { value: out[0]!, gradient: a, hessian: h };
  const pi = logp.map(Math.exp);
  const total = a.reduce((s, v) => s + v, 0);
  const rows = h.map((row) => row.reduce((s, v) => s + v, 0));
  const all = rows.reduce((s, v) => s + v, 0);
  const g = a.map((v, i) => v - pi[i]! * total);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      h[i]![j]! += -pi[i]! * rows[j]! - rows[i]! * pi[j]! + (all + total) * pi[i]! * pi[j]!;
    }
    h[i]![i]! -= total * pi[i]!;
  }
  return { value: out[0]!, gradient: g, hessian: h };
}

/** The lowest point with these kinks held at 0, by Newton's method on the conditions of Lagrange; null if it fails. */
function held(objective: Objective, kinks: Kink[], start: readonly number[]): number[] | null {
  const n = objective.n, m = kinks.length, last = n - 1;
  let x = start.slice(), multipliers = new Array<number>(m).fill(0);
  for (let step = 0; step < 40; step++) {
    objective.at(x);
    const own = kinks.map((kink) => kinkAt(objective, kink, x));
    const size = n - 1 + m;
    const matrix = Array.from({ length: size }, () => new Array<number>(size).fill(0));
    const right = new Array<number>(size).fill(0);
    for (let i = 0; i < last; i++) {
      for (let j = 0; j < last; j++) {
        matrix[i]![j] = objective.hessian[i]![j]! + own.reduce((s, k, c) => s + multipliers[c]! * k.hessian[i]![j]!, 0);
      }
      right[i] = -objective.gradient[i]!;
      own.forEach((k, c) => {
        matrix[i]![last + c] = k.gradient[i]!;
        matrix[last + c]![i] = k.gradient[i]!;
      });
    }
    own.forEach((k, c) => (right[last + c] = -k.value));
    let solved: number[] | null;
    if (m === last) {
      // as many kinks as directions: they alone say where
      solved = solveLinear(own.map((k) => k.gradient.slice(0, last)), own.map((k) => -k.value));
      if (solved) solved = [...solved, ...multipliers];
    } else solved = solveLinear(matrix, right);
    if (!solved) return null;
    const move = [...solved.slice(0, last), 0];
    const length = maxAbs(move), factor = Math.min(1, 20 / length);
    x = x.map((v, i) => v + factor * move[i]!);
    multipliers = solved.slice(last);
    if (!x.every(Number.isFinite)) return null;
    if (length <= 1e-14 * (1 + maxAbs(x)) || (step > 8 && length < 1e-11 * (1 + maxAbs(x)))) return x;
  }
  return null;
}

export interface KinkedFound {
  x: number[];
  value: number;
  active: number[];
  steps: number;
}

/** The minimum over all choices of kinks that hold it. */
export function descendKinked(objective: Objective, starts: number[][], first: number[] | undefined): KinkedFound {
  const kinks = kinksOf(objective);
  let best: KinkedFound = { x: starts[0]!, value: objective.at(starts[0]!), active: [], steps: 0 };
  const consider = (x: number[] | null, active: number[]): boolean => {
    if (!x) return false;
    const value = objective.at(x, false);
    // a smooth minimum and one on a kink next to it can have one value: the smooth one is the more exact
    const lower = value < best.value - 1e-15 * (1 + Math.abs(best.value));
    if (lower) best = { x, value, active, steps: best.steps + 1 };
    return lower;
  };
  for (const start of starts) {
    const smooth = descend(objective, start, 40);
    consider(smooth.x, []);
    if (smooth.converged) return best;
  }
  if (first && first.every((k) => k < kinks.length)) {
    consider(held(objective, first.map((k) => kinks[k]!), best.x), first);
    if (best.active.length && isLowest(objective, best.x, best.value)) return best;
  }
  const from = best.x;
  for (let a = 0; a < kinks.length; a++) consider(held(objective, [kinks[a]!], from), [a]);
  if (objective.n > 2) {
    for (let a = 0; a < kinks.length; a++) {
      for (let b = a + 1; b < kinks.length; b++) consider(held(objective, [kinks[a]!, kinks[b]!], from), [a, b]);
    }
  }
  return best;
}

/** Whether no direction leads down, at distances from near to far: of a convex function that is proof enough. */
function isLowest(objective: Objective, x: readonly number[], value: number): boolean {
  for (const distance of [1e-4, 1e-2]) {
    for (let k = 0; k < 24; k++) {
      const angle = (k * Math.PI) / 12;
      const moved = x.map((v, i) => v + distance * Math.cos(angle - (i * 2 * Math.PI) / 3));
      if (objective.at(moved, false) < value - 1e-15 * (1 + Math.abs(value))) return false;
    }
  }
  return true;
}
