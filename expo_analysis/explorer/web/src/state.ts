/** What the page shows, and its short form for the URL. */

import type { World } from "./types";
import { ofCounts, population } from "./world";

export interface State {
  reference: number[];
  optimal: number[];
  /** Weights of unordered pairs (0,1), (0,2), (1,2), ... */
  pairs: number[];
  /** counts[i][j]: how often i beat j; they take the place of pi* and pair weights. */
  counts: number[][] | null;
  /** The share of labels that are flipped. */
  flips: number;
  lam: number;
  losses: string[];
  focus: string;
  field: boolean;
  train: boolean;
  step: string | null;
  case: string | null;
}

export const DEFAULT: State = {
  reference: [0.4, 0.4, 0.2],
  optimal: [0.6, 0.3, 0.1],
  pairs: [1 / 3, 1 / 3, 1 / 3],
  counts: null,
  flips: 0,
  lam: 0.5,
  losses: ["dpo", "ipo", "fdpo", "expo"],
  focus: "expo",
  field: false,
  train: false,
  step: "ends",
  case: null,
};

export const LEAST = 1e-4;

/** Probabilities at least `LEAST` that add up to 1, rounded to four digits where they were dragged. */
export function tidy(values: readonly number[], least = LEAST, digits = 4): number[] {
  const floored = values.map((v) => Math.max(Number.isFinite(v) ? v : 0, least));
  const total = floored.reduce((s, v) => s + v, 0);
  const rounded = floored.map((v) => Math.max(least, Number((v / total).toFixed(digits))));
  const top = rounded.indexOf(Math.max(...rounded));
  const others = rounded.reduce((s, v, i) => s + (i === top ? 0 : v), 0);
  rounded[top] = Number((1 - others).toFixed(12));
  return rounded;
}

export function worldOf(state: State): World {
  return state.counts ? ofCounts(state.reference, state.counts) : population(state.reference, state.optimal, state.pairs, state.flips);
}

const short = (v: number): string => String(Number(v.toPrecision(15)));
const list = (values: readonly number[]): string => values.map(short).join(",");

export function encode(state: State): string {
  const parts = [`ref=${list(state.reference)}`];
  if (state.counts) parts.push(`wins=${state.counts.map(list).join(";")}`);
  else parts.push(`opt=${list(state.optimal)}`, `pairs=${list(state.pairs)}`);
  if (state.flips) parts.push(`flips=${short(state.flips)}`);
  parts.push(`lam=${short(state.lam)}`, `losses=${state.losses.join(",")}`, `focus=${state.focus}`);
  const shown = [state.field ? "field" : "", state.train ? "train" : ""].filter(Boolean);
  if (shown.length) parts.push(`show=${shown.join(",")}`);
  if (state.step) parts.push(`step=${state.step}`);
  if (state.case) parts.push(`case=${state.case}`);
  return parts.join("&");
}

/** The state of a URL's hash; what is missing or makes no sense is left as it is by default. */
export function decode(hash: string, known: ReadonlySet<string>): State {
  const given = new Map<string, string>();
  for (const part of hash.replace(/^#/, "").split("&")) {
    const [name, value] = part.split("=", 2);
    if (name && value !== undefined) given.set(name, decodeURIComponent(value));
  }
  const numbers = (text: string | undefined): number[] | null => {
    const found = text?.split(",").map(Number);
    return found && found.length > 1 && found.every(Number.isFinite) ? found : null;
  };
  const state: State = copy(DEFAULT);
  if (!given.size) return state;
  state.step = given.get("step") ?? null;
  state.case = given.get("case") ?? null;
  const share = (values: number[] | null): number[] | null => {
    const total = values?.reduce((s, v) => s + v, 0) ?? 0;
    return values && values.every((v) => v >= 0) && total > 0 ? values.map((v) => v / total) : null;
  };
  const reference = share(numbers(given.get("ref")));
  if (reference && reference.every((v) => v > 0)) state.reference = reference;
  const n = state.reference.length, all = (n * (n - 1)) / 2;
  const optimal = share(numbers(given.get("opt")));
  state.optimal = optimal?.length === n && optimal.every((v) => v > 0) ? optimal : state.reference.slice();
  const pairs = n === 2 ? [1] : share(numbers(given.get("pairs")));
  state.pairs = pairs?.length === all ? pairs : new Array<number>(all).fill(1 / all);
  const rows = given.get("wins")?.split(";").map((row) => numbers(row));
  if (rows?.length === n && rows.every((row) => row?.length === n && row.every((v) => v >= 0))) {
    const counts = rows as number[][];
    if (counts.some((row, i) => row.some((v, j) => i !== j && v > 0))) state.counts = counts;
  }
  const flips = Number(given.get("flips") ?? 0);
  if (flips > 0 && flips < 1) state.flips = flips;
  const lam = Number(given.get("lam"));
  if (lam > 0 && Number.isFinite(lam)) state.lam = lam;
  const losses = given.get("losses")?.split(",").filter((key) => known.has(key));
  if (losses?.length) state.losses = [...new Set(losses)];
  state.losses = state.losses.filter((key) => known.has(key));
  const focus = given.get("focus");
  state.focus = focus && known.has(focus) ? focus : (state.losses[0] ?? [...known][0]!);
  const shown = new Set(given.get("show")?.split(","));
  [state.field, state.train] = [shown.has("field"), shown.has("train")];
  return state;
}

/** A state's parts, to be changed; every engine has JSON. */
export function copy<T>(parts: T): T {
  return JSON.parse(JSON.stringify(parts)) as T;
}
