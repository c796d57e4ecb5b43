/** Optima along lambda: each is searched from its neighbour. */

import { Solver, type Effort } from "./solve";
import type { Optimum } from "./types";

export interface PathPoint {
  lam: number;
  optimum: Optimum;
  policy: number[];
}

export interface Path {
  points: PathPoint[];
  /** Where the path ends: the optima at 1/`FAR` and `FAR`. */
  zero: PathPoint;
  infinity: PathPoint;
}

/** Lambdas this far from 1 stand for 0 and infinity. */
export const FAR = 1e8;

export const LOW = -4;
export const HIGH = 4;

/** How finely a path is drawn: points a decade, and how near two neighbours are to be, if a few halvings do it. */
export interface Fineness {
  perDecade: number;
  gap: number;
  halvings: number;
}

export const COARSE: Fineness = { perDecade: 3, gap: 0.09, halvings: 2 };
export const FINE: Fineness = { perDecade: 8, gap: 0.03, halvings: 4 };

export function lambdas(perDecade: number): number[] {
  const steps = (HIGH - LOW) * perDecade;
  return Array.from({ length: steps + 1 }, (_, k) => 10 ** (LOW + k / perDecade));
}

/**
 * From the reference's end, where every loss is tame, to the other one. What a thorough search found at one lambda,
 * `anchor`, is followed to both sides where the loss is not convex.
 */
export function pathOf(solver: Solver, fineness: Fineness, anchor?: PathPoint): Path {
  const { loss } = solver;
  const nonconvex = !(loss.convex || loss.scored || loss.reward);
  const effort: Effort = nonconvex && fineness !== FINE ? "near" : "quick";
  const at = (lam: number, near?: Optimum): PathPoint => {
    const optimum = solver.at(lam, near, near ? effort : "quick");
    return { lam, optimum, policy: optimum.logp.map(Math.exp) };
  };
  const infinity = at(FAR);
  const points: PathPoint[] = [];
  let near = infinity.optimum;
  for (const lam of lambdas(fineness.perDecade).reverse()) {
    const point = at(lam, near);
    points.unshift(point);
    near = point.optimum;
  }
  if (nonconvex) lowerFromBelow(solver, points, anchor);
  return { points: refined(points, at, fineness), zero: at(1 / FAR, points[0]!.optimum), infinity };
}

/** Where a loss is not convex, what was found on the way down may be higher than what the other end leads to. */
function lowerFromBelow(solver: Solver, points: PathPoint[], anchor?: PathPoint): void {
  const improve = (point: PathPoint, near: Optimum): void => {
    const other = solver.at(point.lam, near, "near");
    if (!(other.value < point.optimum.value - 1e-12)) return;
    point.optimum = other;
    point.policy = other.logp.map(Math.exp);
  };
  if (anchor) {
    let near = anchor.optimum;
    const above = points.findIndex((point) => point.lam >= anchor.lam);
    for (let k = (above < 0 ? points.length : above) - 1; k >= 0; k--) {
      improve(points[k]!, near);
      near = points[k]!.optimum;
    }
    if (above >= 0) improve(points[above]!, anchor.optimum);
  }
  for (let k = 1; k < points.length; k++) improve(points[k]!, points[k - 1]!.optimum);
}

/** More lambdas where the policy moves fast. */
function refined(points: PathPoint[], at: (lam: number, near?: Optimum) => PathPoint, fineness: Fineness): PathPoint[] {
  let found = points;
  for (let round = 0; round < fineness.halvings; round++) {
    const next: PathPoint[] = [found[0]!];
    for (let k = 1; k < found.length; k++) {
      const a = found[k - 1]!, b = found[k]!;
      if (distance(a.policy, b.policy) > fineness.gap) next.push(at(Math.sqrt(a.lam * b.lam), b.optimum));
      next.push(b);
    }
    if (next.length === found.length) break;
    found = next;
  }
  return found;
}

function distance(p: number[], q: number[]): number {
  let top = 0;
  for (let i = 0; i < p.length; i++) top = Math.max(top, Math.abs(p[i]! - q[i]!));
  return top;
}
