/** From a state to what is drawn: optima, paths and training, each computed anew only when what it rests on changed. */

import { train, type Moment } from "./flow";
import { rewardsOf } from "./objective";
import { COARSE, FINE, pathOf, type Path } from "./path";
import { Solver } from "./solve";
import { worldOf, type State } from "./state";
import type { Loss, Optimum, World } from "./types";

export interface Drawn {
  loss: Loss;
  path: Path;
  optimum: Optimum;
  policy: number[];
}

export interface Model {
  world: World;
  drawn: Drawn[];
  training: Map<string, Moment[]>;
}

interface Kept {
  solver: Solver;
  path?: Path;
  fine?: boolean;
  optimum?: Optimum;
  lam?: number;
  training?: Moment[];
  trainedAt?: number;
}

let key = "";
let kept = new Map<string, Kept>();

/** fine: whether paths are to be drawn finely, as there is time. */
export function compute(state: State, losses: ReadonlyMap<string, Loss>, fine: boolean, training: boolean): Model {
  const world = worldOf(state), own = JSON.stringify([world.reference, world.wins, world.optimal]);
  if (own !== key) [key, kept] = [own, new Map()];
  const drawn: Drawn[] = [];
  const trained = new Map<string, Moment[]>();
  for (const name of new Set([...state.losses, state.focus])) {
    const loss = losses.get(name);
    if (!loss || !readable(loss, world)) continue;
    let held = kept.get(name);
    if (!held) kept.set(name, (held = { solver: new Solver(loss, world) }));
    const shown = state.losses.includes(name);
    if (shown) {
      // while something is dragged: the path, and from its nearest point the optimum; with time, a thorough search first
      if (!held.path || (fine && !held.fine)) {
        const optimum = fine ? held.solver.at(state.lam, nearest(held.path, state.lam), "thorough") : null;
        const anchor = optimum && { lam: state.lam, optimum, policy: optimum.logp.map(Math.exp) };
        held.path = pathOf(held.solver, fine ? FINE : COARSE, anchor ?? undefined);
        [held.fine, held.lam] = [fine, fine ? state.lam : undefined];
        if (optimum) held.optimum = optimum;
      }
      if (held.lam !== state.lam || !held.optimum) {
        held.optimum = held.solver.at(state.lam, nearest(held.path, state.lam), fine ? "thorough" : "quick");
        held.lam = state.lam;
      }
      drawn.push({ loss, path: held.path, optimum: held.optimum, policy: held.optimum.logp.map(Math.exp) });
    }
    if (training && (shown || name === state.focus)) {
      if (held.trainedAt !== state.lam) {
        held.training = train(loss, world, state.lam);
        held.trainedAt = state.lam;
      }
      trained.set(name, held.training!);
    }
  }
  return { world, drawn, training: trained };
}

/** Losses that read rewards need some: those of the world, or log pi*. */
export const readable = (loss: Loss, world: World): boolean =>
  rewardsOf(world) !== null || !(loss.reward || loss.derived || loss.data.some((name) => name.startsWith("reward")));

function nearest(path: Path | undefined, lam: number): Optimum | undefined {
  if (!path) return undefined;
  let best = path.points[0]!;
  for (const point of path.points) if (Math.abs(Math.log(point.lam / lam)) < Math.abs(Math.log(best.lam / lam))) best = point;
  return best.optimum;
}

export function klOf(p: readonly number[], q: readonly number[]): number {
  let sum = 0;
  p.forEach((v, i) => (sum += v > 0 ? v * Math.log(v / q[i]!) : 0));
  return Math.max(0, sum);
}

export function tvOf(p: readonly number[], q: readonly number[]): number {
  return p.reduce((s, v, i) => s + Math.abs(v - q[i]!), 0) / 2;
}

/** What a policy is, as far as it has a name. */
export function nameOf(policy: readonly number[], state: State): string | null {
  const near = (other: readonly number[]): boolean => tvOf(policy, other) < 1e-4;
  const corner = policy.findIndex((p) => p > 1 - 1e-4);
  if (near(state.reference) && (state.counts || near(state.optimal))) return state.counts ? "π_ref" : "π_ref = π*";
  if (!state.counts && near(state.optimal)) return "π*";
  if (near(state.reference)) return "π_ref";
  return corner >= 0 ? `always ${"ABCDEFGH"[corner]}` : null;
}
