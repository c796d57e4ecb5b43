/** What the page knows of a loss: its formulas, compiled from the package's own terms by expo_analysis.explorer. */

/** Fills `out`; a compiled pair loss has lambda, log pi_w, log pi_l, log pi_ref,w, log pi_ref,l and what `data` names. */
export type Compiled = (...numbers: (number | Float64Array)[]) => void;

export interface Loss {
  key: string;
  label: string;
  formula: string;
  python: string;
  summary: string;
  colour: string;
  dark: string;
  dashes: string;
  marker: string;
  own: boolean;
  convex: boolean;
  /** Reads the policy through log pi_w - log pi_l alone. */
  ratio: boolean;
  reward: boolean;
  kinked: boolean;
  data: string[];
  slopes: [number, number] | null;
  /** value, d_w, d_l, d_ww, d_wl, d_ll */
  pair?: Compiled;
  /** The same of scores mu(u), in which the loss is convex. */
  scored?: Compiled;
  /** mu and its derivative, of log u. */
  mu?: Compiled;
  /** log u' with mu(u') = mu(u) - gap. */
  descend?: Compiled;
  /** A response's summand of the regulariser, first and second derivative in log pi. */
  divergence?: Compiled;
  /** What is derived of all responses' log pi_ref and rewards, by name and by the number of responses. */
  derived?: Record<string, Record<number, Compiled>>;
  /** Where the pair loss has kinks: for each a(log pi_w, log pi_l), its value and derivatives, six numbers. */
  kinks?: Compiled[];
  /** The pair loss with its kinks rounded off over a width, its last number. */
  rounded?: Compiled;
}

/** Policies of n responses, and how often each beats each, as weights that add up to 1. */
export interface World {
  n: number;
  reference: number[];
  /** pi*; null where only counts are known. */
  optimal: number[] | null;
  wins: number[][];
  rewards: number[] | null;
}

export type Status = "minimum" | "lowest found" | "no minimum" | "not unique" | "failed";

export interface Optimum {
  logp: number[];
  value: number;
  status: Status;
  /** Where the search ended, to start a neighbour from: logits, or scores. */
  x: number[];
  steps: number;
  /** The kinks that hold it, for a neighbour to try first. */
  active?: number[];
}
