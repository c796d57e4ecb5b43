/** The exact optimum of a loss on a world. */

import { descendKinked } from "./kinked";
import { policyOfScores } from "./link";
import { Objective, rewardsOf } from "./objective";
import { descend, type Found } from "./search";
import { structureOf, type Structure } from "./structure";
import type { Loss, Optimum, Status, World } from "./types";

/** Probabilities below it count as vanished where a search does not end. */
const VANISHED = 1e-9;

/** How hard to search where a loss is not convex: from a neighbour's optimum alone, from a few points, or from many. */
export type Effort = "near" | "quick" | "thorough";

export function solve(loss: Loss, world: World, lam: number, near?: Optimum, effort: Effort = "thorough"): Optimum {
  return new Solver(loss, world).at(lam, near, effort);
}

/** Optima of one loss on one world at any lambda. */
export class Solver {
  private readonly objective: Objective;
  private readonly structure: Structure | null;
  private readonly parts: Map<number[], Solver> = new Map();
  private readonly logOptimal: number[] | null;

  constructor(
    readonly loss: Loss,
    readonly world: World,
  ) {
    this.objective = new Objective(loss, world, loss.scored !== undefined);
    this.logOptimal = world.optimal && world.optimal.map(Math.log);
    const apart = !loss.reward && !loss.divergence && (loss.ratio || loss.scored !== undefined);
    const structure = apart ? structureOf(loss, world) : null;
    this.structure = structure && (structure.pieces.length > 1 || structure.lost.length) ? structure : null;
  }

  at(lam: number, near?: Optimum, effort: Effort = "thorough"): Optimum {
    const { loss } = this;
    this.objective.setLambda(lam);
    if (loss.reward) return this.ofReward(lam);
    if (this.structure) return this.ofPieces(lam, this.structure, effort);
    if (loss.scored) return this.inScores(near);
    if (!loss.convex) {
      const found = this.ofMany(near, effort);
      return loss.kinked ? this.ofKinks([Float64Array.from(found.x)], near, "lowest found") : found;
    }
    if (loss.kinked) return this.ofKinks(this.starts(near).slice(0, near ? 1 : 2), near, "minimum");
    return this.ofConvex(near);
  }

  /** pi = pi_ref (f')^{-1}((r - nu)/lambda), by its scores. */
  private ofReward(lam: number): Optimum {
    const { loss, world, objective } = this, rewards = rewardsOf(world);
    if (!rewards) return this.nothing("failed");
    const logp = policyOfScores(loss, objective.logReference, rewards.map((r) => r / lam));
    return { logp, value: rewardValue(loss, world, lam, logp), status: "minimum", x: logp, steps: 0 };
  }

  private nothing(status: Status): Optimum {
    const logp = [...this.objective.logReference];
    return { logp, value: NaN, status, x: logp, steps: 0 };
  }

  /** Pieces are solved one by one; each component keeps its mass under the reference, and pieces share it as it does. */
  private ofPieces(lam: number, structure: Structure, effort: Effort): Optimum {
    const { world } = this;
    const logp = new Array<number>(world.n).fill(-Infinity);
    const mass = (members: number[]): number => members.reduce((s, i) => s + world.reference[i]!, 0);
    for (const component of structure.components) {
      const inside = structure.pieces.filter((piece) => component.includes(piece[0]!));
      const shared = inside.reduce((s, piece) => s + mass(piece), 0);
      for (const piece of inside) {
        const log = Math.log((mass(component) * mass(piece)) / shared);
        if (piece.length > 1 && !this.parts.has(piece)) {
          this.parts.set(piece, new Solver(this.loss, partOf(world, piece)));
        }
        const own = piece.length === 1 ? [0] : this.parts.get(piece)!.at(lam, undefined, effort).logp;
        piece.forEach((i, k) => (logp[i] = log + own[k]!));
      }
    }
    return { logp, value: NaN, status: structure.lost.length ? "no minimum" : "not unique", x: logp, steps: 0 };
  }

  private ofConvex(near: Optimum | undefined): Optimum {
    let found = descend(this.objective, this.lowest(this.starts(near)));
    if (!found.converged) {
      const again = descend(this.objective, this.objective.logReference);
      if (again.converged || again.value < found.value) found = again;
    }
    return this.optimum(found);
  }

  private ofKinks(starts: Float64Array[], near: Optimum | undefined, status: Status): Optimum {
    const found = descendKinked(this.objective, starts, near?.active);
    const value = this.objective.at(found.x);
    const { x, active, steps } = found, logp = [...this.objective.logp];
    const falls = !found.proven && logp.some((v) => v < Math.log(VANISHED));
    return { logp, value, status: falls ? "no minimum" : status, x: [...x], steps, active };
  }

  private optimum(found: Found): Optimum {
    this.objective.at(found.x);
    const logp = [...this.objective.logp];
    const gone = logp.some((v) => v < Math.log(VANISHED));
    const status: Status = found.converged ? "minimum" : gone ? "no minimum" : "failed";
    return { logp, value: found.value, status, x: [...found.x], steps: found.steps };
  }

  /** Points that a search may begin at. */
  private starts(near?: Optimum): Float64Array[] {
    const { world, objective, logOptimal } = this, { lam, logReference } = objective;
    const starts: Float64Array[] = near && near.x.every(Number.isFinite) ? [Float64Array.from(near.x)] : [];
    starts.push(logReference);
    if (world.optimal && logOptimal) {
      const { optimal, reference } = world;
      starts.push(Float64Array.from(optimal, (p, i) => Math.log((p + lam * reference[i]!) / (1 + lam))));
      starts.push(Float64Array.from(logOptimal, (p, i) => logReference[i]! + p / lam));
      starts.push(Float64Array.from(logOptimal, (p) => p / lam));
    }
    return starts;
  }

  private lowest(starts: Float64Array[]): Float64Array {
    let best = starts[0]!, least = Infinity;
    for (const start of starts) {
      const value = this.objective.at(start);
      if (value < least) [least, best] = [value, start];
    }
    return best;
  }

  /** Losses of mu(u_w) - mu(u_l) are convex in the scores mu(u). */
  private inScores(near?: Optimum): Optimum {
    const { objective, logOptimal } = this;
    const starts: Float64Array[] = near && near.x.every(Number.isFinite) ? [Float64Array.from(near.x)] : [];
    starts.push(new Float64Array(objective.n));
    if (logOptimal) starts.push(Float64Array.from(logOptimal, (p) => p / objective.lam));
    const found = descend(objective, this.lowest(starts));
    const logp = policyOfScores(this.loss, objective.logReference, found.x);
    const status: Status = found.converged ? "minimum" : "failed";
    return { logp, value: found.value, status, x: [...found.x], steps: found.steps };
  }

  /** Searches from many starts; the lowest minimum found. */
  private ofMany(near: Optimum | undefined, effort: Effort): Optimum {
    const { objective, logOptimal } = this, { n, logReference } = objective;
    let starts: Float64Array[] = this.starts(near);
    if (effort === "near" && near) starts = starts.slice(0, 1);
    if (effort === "thorough") {
      starts.push(new Float64Array(n));
      for (let i = 0; i < n; i++) {
        for (const size of [2, 6, 15, -2, -6, -15]) {
          starts.push(Float64Array.from(logReference, (r, j) => r + (i === j ? size : 0)));
        }
      }
      if (logOptimal) starts.push(Float64Array.from(logOptimal));
    }
    let best: Found | null = null;
    for (const start of starts) {
      const found = descend(objective, start, effort === "thorough" ? 120 : 40);
      if (!Number.isFinite(found.value)) continue;
      const tie = best && Math.abs(found.value - best.value) <= 1e-13 * (1 + Math.abs(best.value));
      if (!best || (tie ? found.converged && !best.converged : found.value < best.value)) best = found;
    }
    if (!best) return this.nothing("failed");
    const optimum = this.optimum(best);
    if (optimum.status === "minimum") optimum.status = "lowest found";
    return optimum;
  }
}

/** E_pi[-r] + lambda D(pi, pi_ref). */
function rewardValue(loss: Loss, world: World, lam: number, logp: number[]): number {
  const rewards = rewardsOf(world)!, out = new Float64Array(3);
  let value = 0;
  logp.forEach((p, i) => {
    if (p === -Infinity) p = -1e300;
    loss.divergence!(p, Math.log(world.reference[i]!), out);
    value += lam * out[0]! - Math.exp(p) * rewards[i]!;
  });
  return value;
}

/** The world of some responses alone. */
function partOf(world: World, members: number[]): World {
  const take = (values: number[]): number[] => members.map((i) => values[i]!);
  const share = (values: number[]): number[] => {
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

export const policyOf = (optimum: Optimum): number[] => optimum.logp.map(Math.exp);
