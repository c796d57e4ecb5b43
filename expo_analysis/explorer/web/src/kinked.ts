/** Losses with kinks: the minimum is smooth, or lies on a kink, or where kinks meet. All of these are tried. */

import { logSoftmax, maxAbs, solveLinear } from "./linear";
import { Objective } from "./objective";
import { descend } from "./search";
import type { Compiled, Loss } from "./types";

interface Kink {
  edge: number;
  which: number;
}

interface At {
  value: number;
  gradient: Float64Array;
  hessian: Float64Array;
}

const out = new Float64Array(6);

/** Kinks of every ordered pair; those that several pairs share are one. */
function kinksOf(objective: Objective): Kink[] {
  const found: Kink[] = [], seen = new Set<string>();
  const probes = [0.1, 1.3].map((s) => Float64Array.from(objective.logReference, (r, i) => r * s - i * 0.37 * s));
  for (let edge = 0; edge < objective.winner.length; edge++) {
    objective.loss.kinks!.forEach((_, which) => {
      const at = probes.map((x) => kinkAt(objective, { edge, which }, x).value);
      const key = at.map((v) => v.toPrecision(10)).join();
      const turned = at.map((v) => (-v).toPrecision(10)).join();
      if (seen.has(key) || seen.has(turned)) return;
      seen.add(key);
      found.push({ edge, which });
    });
  }
  return found;
}

/** a(x), its gradient and Hessian in the logits. */
function kinkAt(objective: Objective, { edge, which }: Kink, x: Float64Array): At {
  const { n, loss, lam, logReference: ref } = objective;
  const logp = new Float64Array(n);
  logSoftmax(x, logp);
  const read = loss.ratio ? x : logp, w = objective.winner[edge]!, l = objective.loser[edge]!;
  loss.kinks![which]!(lam, read[w]!, read[l]!, ref[w]!, ref[l]!, ...objective.data[edge]!, out);
  const g = new Float64Array(n), h = new Float64Array(n * n);
  g[w] = out[1]!;
  g[l] = out[2]!;
  h[w * n + w] = out[3]!;
  h[w * n + l] = h[l * n + w] = out[4]!;
  h[l * n + l] = out[5]!;
  if (loss.ratio) return { value: out[0]!, gradient: g, hessian: h };
  const value = out[0]!, total = g[w]! + g[l]!, pi = logp.map(Math.exp);
  const rows = new Float64Array(n);
  rows[w] = h[w * n + w]! + h[w * n + l]!;
  rows[l] = h[l * n + l]! + h[w * n + l]!;
  const all = rows[w]! + rows[l]!;
  for (let i = 0; i < n; i++) {
    g[i]! -= pi[i]! * total;
    for (let j = 0; j < n; j++) h[i * n + j]! += -pi[i]! * rows[j]! - rows[i]! * pi[j]! + (all + total) * pi[i]! * pi[j]!;
    h[i * n + i]! -= total * pi[i]!;
  }
  return { value, gradient: g, hessian: h };
}

/** The lowest point with these kinks held at 0, by Newton's method on the conditions of Lagrange; null if it fails. */
function held(objective: Objective, kinks: Kink[], start: Float64Array): Float64Array | null {
  const n = objective.n, m = kinks.length, last = n - 1, size = last + m;
  const x = Float64Array.from(start), multipliers = new Float64Array(m);
  for (let step = 0; step < 60; step++) {
    objective.at(x);
    const own = kinks.map((kink) => kinkAt(objective, kink, x));
    let move: Float64Array;
    if (m === last) {
      // as many kinks as directions: they alone say where
      const matrix = new Float64Array(m * m), right = new Float64Array(m);
      own.forEach((k, c) => {
        for (let i = 0; i < last; i++) matrix[c * m + i] = k.gradient[i]!;
        right[c] = -k.value;
      });
      if (!solveLinear(matrix, right)) return null;
      move = right;
    } else {
      const matrix = new Float64Array(size * size), right = new Float64Array(size);
      for (let i = 0; i < last; i++) {
        for (let j = 0; j < last; j++) matrix[i * size + j] = objective.hessian[i * n + j]!;
        right[i] = -objective.gradient[i]!;
        own.forEach((k, c) => {
          for (let j = 0; j < last; j++) matrix[i * size + j]! += multipliers[c]! * k.hessian[i * n + j]!;
          matrix[i * size + last + c] = matrix[(last + c) * size + i] = k.gradient[i]!;
        });
      }
      own.forEach((k, c) => (right[last + c] = -k.value));
      if (!solveLinear(matrix, right)) return null;
      move = right;
      for (let c = 0; c < m; c++) multipliers[c] = right[last + c]!;
    }
    let length = 0;
    for (let i = 0; i < last; i++) length = Math.max(length, Math.abs(move[i]!));
    const factor = objective.loss.ratio ? 1 : Math.min(1, 20 / length);
    for (let i = 0; i < last; i++) x[i]! += factor * move[i]!;
    if (!x.every(Number.isFinite)) return null;
    const scale = 1 + maxAbs(x);
    if (length <= 1e-14 * scale || (step > 8 && length < 1e-11 * scale)) return x;
  }
  return null;
}

export interface KinkedFound {
  x: Float64Array;
  value: number;
  active: number[];
  steps: number;
  rounded: boolean;
  /** Whether it was shown that nothing near is lower. */
  proven?: boolean;
}

const known = new WeakMap<Objective, Kink[]>();
const rounded = new WeakMap<Objective, Objective>();

/** A loss with its kinks rounded off over a width, which `Width` holds. */
export function withoutKinks(loss: Loss, width: { now: number }): Loss {
  const soft = loss.rounded!;
  const pair: Compiled = loss.data.length
    ? (...given) => soft(...given.slice(0, -1), width.now, given[given.length - 1]!)
    : (lam, w, l, rw, rl, o) => soft(lam!, w!, l!, rw!, rl!, width.now, o!);
  return { ...loss, pair };
}

const width = { now: 1 };

/** Rounding narrower and narrower, each minimum the start of the next search, until it makes no difference any more. */
function approach(objective: Objective, start: Float64Array, widest: number): Float64Array {
  let soft = rounded.get(objective);
  if (!soft) rounded.set(objective, (soft = new Objective(withoutKinks(objective.loss, width), objective.world)));
  soft.setLambda(objective.lam);
  let x = start;
  for (width.now = widest; width.now > 1e-10; width.now *= 0.1) {
    const found = descend(soft, x, 60, 20);
    x = found.x;
    const value = objective.at(x);
    if (Math.abs(found.value - value) < 1e-7 * (1 + Math.abs(value))) break;
  }
  return x;
}

/** The minimum over all choices of kinks that hold it; `first` are those that held a neighbour. */
export function descendKinked(objective: Objective, starts: Float64Array[], first: number[] | undefined): KinkedFound {
  let kinks = known.get(objective);
  if (!kinks) known.set(objective, (kinks = kinksOf(objective)));
  let best: KinkedFound = { x: starts[0]!, value: objective.at(starts[0]!), active: [], steps: 0, rounded: true };
  const consider = (x: Float64Array | null, active: number[], soft = false): void => {
    if (!x) return;
    const value = objective.at(x), scale = 1 + Math.abs(best.value);
    // what was found with rounded kinks gives way to what is exact
    const least = best.rounded && !soft ? best.value + 1e-11 * scale : best.value - 1e-15 * scale;
    if (value < least) best = { x, value, active, steps: best.steps + 1, rounded: soft };
  };
  if (first?.length && first.every((k) => k < kinks.length)) {
    consider(held(objective, first.map((k) => kinks[k]!), starts[0]!), first);
    if (best.active.length && isLowest(objective, best)) return { ...best, proven: true };
  }
  const gapOf = (x: Float64Array): number => kinks.reduce((least, k) => Math.min(least, Math.abs(kinkAt(objective, k, x).value)), Infinity);
  // a point that is stationary, and on no kink, is the minimum of a convex loss
  const settles = (from: Float64Array): boolean => {
    const smooth = descend(objective, from, 25, 7);
    consider(smooth.x, []);
    const stationary = smooth.converged && best.x === smooth.x;
    return stationary && (objective.loss.convex && gapOf(smooth.x) > 1e-9 ? true : isLowest(objective, best));
  };
  if (first && !first.length && settles(starts[0]!)) return { ...best, proven: true };
  for (const start of starts) {
    // the loss with rounded kinks leads to the neighbourhood; what is smooth there is finished without them
    const near = approach(objective, start, first ? 0.01 : 1);
    consider(near, [], true);
    if (gapOf(near) > 0.01 && settles(near)) return { ...best, proven: true };
  }
  // where a search stalls, the kinks that stop it are the nearest ones
  const from = best.x, near = kinks.map((kink) => Math.abs(kinkAt(objective, kink, from).value));
  const order = kinks.map((_, k) => k).sort((a, b) => near[a]! - near[b]!);
  const sets: number[][] = [];
  if (settles(from)) return { ...best, proven: true };
  order.forEach((b, place) => {
    sets.push([b]);
    if (objective.n > 2) for (const a of order.slice(0, place)) sets.push([a, b]);
  });
  if (objective.n > 3) {
    const nearest = order.slice(0, 8);
    nearest.forEach((c, i) => nearest.slice(0, i).forEach((b, j) => nearest.slice(0, j).forEach((a) => sets.push([a, b, c]))));
  }
  for (const [place, set] of sets.entries()) {
    const before = best;
    consider(held(objective, set.map((k) => kinks[k]!), from), set);
    if (best !== before && place < 4 && isLowest(objective, best)) return { ...best, proven: true };
  }
  return { ...best, proven: isLowest(objective, best) };
}

const DIRECTIONS = 24;
/** How much the half-plane of a direction of descent must exceed rounding, in radians. */
const SLACK = 1e-5;

/**
 * Whether 0 is in the hull of the gradients close around x, which proves a minimum of a convex function: no half-plane holds
 * all of them. With four responses or more it is not asked.
 */
function isLowest(objective: Objective, { x }: KinkedFound): boolean {
  const n = objective.n, moved = new Float64Array(n), step = 1e-12 * (1 + maxAbs(x));
  if (n > 3) return false;
  const angles: number[] = [];
  const count = n === 2 ? 2 : DIRECTIONS;
  for (let k = 0; k < count; k++) {
    const angle = (2 * Math.PI * (k + 0.3)) / count;
    for (let i = 0; i < n; i++) moved[i] = x[i]! + step * Math.cos(n === 2 ? Math.PI * (k + i) : angle - (i * 2 * Math.PI) / 3);
    objective.at(moved);
    const g = objective.gradient;
    const across = n === 2 ? g[0]! - g[1]! : (2 * g[0]! - g[1]! - g[2]!) / Math.sqrt(6), up = n === 2 ? 0 : (g[1]! - g[2]!) / Math.SQRT2;
    if (Math.hypot(across, up) === 0) return true;
    angles.push(Math.atan2(up, across));
  }
  angles.sort((a, b) => a - b);
  let widest = angles[0]! + 2 * Math.PI - angles[angles.length - 1]!;
  for (let k = 1; k < angles.length; k++) widest = Math.max(widest, angles[k]! - angles[k - 1]!);
  return widest <= Math.PI + SLACK;
}
