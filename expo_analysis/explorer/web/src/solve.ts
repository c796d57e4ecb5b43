/** The exact optimum of a loss on a world. */

import { descendKinked } from "./kinked";
import { logSoftmax } from "./linear";
import { policyOfScores } from "./link";
import { Objective, rewardsOf } from "./objective";
import { descend, type Found } from "./search";
import { structureOf, type Structure } from "./structure";
import type { Loss, Optimum, Status, World } from "./types";

/** Probabilities below it count as vanished where a search does not end. */
const VANISHED = 1e-9;

/** How hard to search where a loss is not convex. */
export type Effort = "quick" | "thorough";

export function solve(loss: Loss, world: World, lam: number, near?: Optimum, effort: Effort = "thorough"): Optimum {
  if (loss.reward) return solveReward(loss, world, lam);
  if (!loss.divergence && (loss.ratio || loss.scored)) {
    const structure = structureOf(loss, world);
    if (structure.pieces.length > 1 || structure.lost.length) return solvePieces(loss, world, lam, structure, effort);
  }
  return solveWhole(loss, world, lam, near, effort);
}

/** pi = pi_ref (f')^{-1}((r - nu)/lambda), by its scores. */
function solveReward(loss: Loss, world: World, lam: number): Optimum {
  const rewards = rewardsOf(world);
  if (!rewards) return nothing(world, "failed");
  const logReference = world.reference.map(Math.log);
  const logp = policyOfScores(loss, logReference, rewards.map((r) => r / lam));
  const value = logp.every(Number.isFinite) ? new Objective(loss, world, lam).at(logp) : NaN;
  return { logp, value, status: "minimum", x: logp, steps: 0 };
}

function nothing(world: World, status: Status): Optimum {
  const logp = world.reference.map(Math.log);
  return { logp, value: NaN, status, x: logp, steps: 0 };
}

/** Pieces are solved one by one; each component keeps its mass under the reference, and so do pieces of one. */
function solvePieces(loss: Loss, world: World, lam: number, structure: Structure, effort: Effort): Optimum {
  const logp = new Array<number>(world.n).fill(-Infinity);
  const mass = (members: number[]) => members.reduce((s, i) => s + world.reference[i]!, 0);
  let worst: Status = structure.lost.length ? "no minimum" : "not unique";
  for (const component of structure.components) {
    const inside = structure.pieces.filter((piece) => component.includes(piece[0]!));
    const shared = inside.reduce((s, piece) => s + mass(piece), 0);
    for (const piece of inside) {
      const log = Math.log((mass(component) * mass(piece)) / shared);
      const own = piece.length === 1 ? [0] : solveWhole(loss, partOf(world, piece), lam, undefined, effort).logp;
      piece.forEach((i, k) => (logp[i] = log + own[k]!));
    }
  }
  return { logp, value: NaN, status: worst, x: logp, steps: 0 };
}

/** The world of some responses alone. */
function partOf(world: World, members: number[]): World {
  const take = (values: number[]) => members.map((i) => values[i]!);
  const share = (values: number[]) => {
    const own = take(values), total = own.reduce((s, v) => s + v, 0);
    return own.map((v) => v / total);
  };
  return {
    n: members.length,
    reference: share(world.reference),
    optimal: world.optimal && share(world.optimal),
    wins: members.map((i) => take(world.wins[i]!)),
    rewards: rewardsOf(world) && take(rewardsOf(world)!),
  };
}

function solveWhole(loss: Loss, world: World, lam: number, near: Optimum | undefined, effort: Effort): Optimum {
  const log = world.reference.map(Math.log);
  if (loss.scored) return solveScored(loss, world, lam, near);
  const objective = new Objective(loss, world, lam);
  if (loss.kinked) {
    const found = descendKinked(objective, convexStarts(objective, near).slice(0, 2), near?.active);
    const value = objective.at(found.x);
    return { logp: objective.logp, value, status: "minimum", x: found.x, steps: found.steps, active: found.active };
  }
  if (!loss.convex) return solveMany(objective, near, effort);
  let found = descend(objective, lowest(objective, convexStarts(objective, near)));
  if (!found.converged) {
    const again = descend(objective, log);
    if (again.converged || again.value < found.value) found = again;
  }
  return asOptimum(objective, found);
}

function asOptimum(objective: Objective, found: Found): Optimum {
  objective.at(found.x);
  const logp = objective.logp;
  const status: Status = found.converged ? "minimum" : logp.some((v) => v < Math.log(VANISHED)) ? "no minimum" : "failed";
  return { logp, value: found.value, status, x: found.x, steps: found.steps };
}

/** Points that a convex search may begin at. */
function convexStarts(objective: Objective, near?: Optimum): number[][] {
  const { world, lam, logReference } = objective;
  const starts = near && near.x.every(Number.isFinite) ? [near.x] : [];
  starts.push(logReference);
  if (world.optimal) {
    const { optimal, reference } = world;
    starts.push(optimal.map((p, i) => Math.log((p + lam * reference[i]!) / (1 + lam))));
    starts.push(optimal.map((p, i) => logReference[i]! + Math.log(p) / lam));
    starts.push(optimal.map((p) => Math.log(p) / lam));
  }
  return starts;
}

function lowest(objective: Objective, starts: number[][]): number[] {
  let best = starts[0]!, least = Infinity;
  for (const start of starts) {
    const value = objective.at(start, false);
    if (value < least) [least, best] = [value, start];
  }
  return best;
}

/** Losses of mu(u_w) - mu(u_l) are convex in the scores mu(u). */
function solveScored(loss: Loss, world: World, lam: number, near?: Optimum): Optimum {
  const objective = new Objective(loss, world, lam, true);
  const starts = near && near.x.every(Number.isFinite) ? [near.x] : [];
  starts.push(new Array<number>(world.n).fill(0));
  if (world.optimal) starts.push(world.optimal.map((p) => Math.log(p) / lam));
  const found = descend(objective, lowest(objective, starts));
  const logp = policyOfScores(loss, objective.logReference, found.x);
  return { logp, value: found.value, status: found.converged ? "minimum" : "failed", x: found.x, steps: found.steps };
}

/** Searches from many starts; the lowest minimum found. */
function solveMany(objective: Objective, near: Optimum | undefined, effort: Effort): Optimum {
  const { n, world, logReference } = objective;
  const starts = convexStarts(objective, near);
  if (effort === "thorough") {
    starts.push(new Array<number>(n).fill(0));
    for (let i = 0; i < n; i++) {
      for (const size of [2, 6, 15]) {
        starts.push(logReference.map((r, j) => r + (i === j ? size : 0)));
        starts.push(logReference.map((r, j) => r - (i === j ? size : 0)));
      }
    }
    if (world.optimal) starts.push(world.optimal.map(Math.log));
  }
  let best: Found | null = null;
  for (const start of starts) {
    const found = descend(objective, start);
    if (!Number.isFinite(found.value)) continue;
    const tie = best && Math.abs(found.value - best.value) <= 1e-13 * (1 + Math.abs(best.value));
    if (!best || (tie ? found.converged && !best.converged : found.value < best.value)) best = found;
  }
  if (!best) return nothing(world, "failed");
  const optimum = asOptimum(objective, best);
  if (optimum.status === "minimum") optimum.status = "lowest found";
  return optimum;
}

export const policyOf = (optimum: Optimum): number[] => optimum.logp.map(Math.exp);

export { logSoftmax };
