/** The report card's counterexamples, as states. */

import { copy, DEFAULT, type State } from "./state";

/** As expo_analysis.explorer.counterexamples packs them. */
export interface Packed {
  /** Titles of desiderata, by key. */
  titles: Record<string, string>;
  problems: Problem[];
  /** Statement, place among the problems (or why it cannot be drawn), lambda, and policies that are marked. */
  cases: Record<string, Record<string, [string, number | string, number, number[][]?]>>;
}

export interface Problem {
  ref: number[];
  opt?: number[];
  pairs?: number[];
  wins?: number[][];
  flips?: number;
}

export interface Case {
  loss: string;
  desideratum: string;
  title: string;
  statement: string;
  problem: Problem | null;
  /** Why the page cannot draw it. */
  because: string;
  lam: number;
  marks: number[][];
}

export function caseOf(packed: Packed, loss: string, desideratum: string): Case | null {
  const found = packed.cases[loss]?.[desideratum];
  if (!found) return null;
  const [statement, where, lam, marks] = found;
  const drawable = typeof where === "number";
  return {
    loss, desideratum, title: packed.titles[desideratum] ?? desideratum, statement, lam,
    problem: drawable ? packed.problems[where]! : null,
    because: drawable ? "" : where,
    marks: marks ?? [],
  };
}

/** Desiderata in which training or the first step is what fails. */
const TRAINED = new Set(["displacement", "first_step", "local_minima"]);

export function stateOf(found: Case): State | null {
  if (!found.problem) return null;
  const { ref, opt, pairs, wins, flips } = found.problem, n = ref.length, all = (n * (n - 1)) / 2;
  return {
    ...copy(DEFAULT),
    reference: ref,
    optimal: opt ?? ref,
    pairs: pairs ?? new Array<number>(all).fill(1 / all),
    counts: wins ?? null,
    flips: flips ?? 0,
    lam: found.lam,
    losses: [found.loss],
    focus: found.loss,
    field: n === 3,
    train: TRAINED.has(found.desideratum),
    step: null,
    case: `${found.loss}.${found.desideratum}`,
  };
}
