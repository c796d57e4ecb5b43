/** An objective on a world at one lambda: value, gradient and Hessian in logits, or in scores. */

import { logSoftmax } from "./linear";
import type { Compiled, Loss, World } from "./types";

interface Edge {
  winner: number;
  loser: number;
  weight: number;
  data: number[];
}

/** What a loss reads of each ordered pair that carries weight. */
function edgesOf(loss: Loss, world: World, lam: number): Edge[] {
  const { n, wins, reference } = world;
  const rewards = rewardsOf(world);
  const known: Record<string, number[]> = rewards ? { reward: rewards } : {};
  for (const [kind, derive] of Object.entries(loss.derived ?? {})) {
    const out = new Float64Array(n);
    derive(lam, ...reference.map(Math.log), ...(rewards ?? []), out);
    known[kind] = [...out];
  }
  const found: Edge[] = [];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const weight = wins[i]![j]!;
      if (!(weight > 0)) continue;
      const data = loss.data.map((name) => {
        const [kind, slot] = [name.slice(0, -2), name.slice(-1)];
        return known[kind]?.[slot === "w" ? i : j] ?? NaN;
      });
      found.push({ winner: i, loser: j, weight, data });
    }
  }
  return found;
}

export function rewardsOf(world: World): number[] | null {
  return world.rewards ?? (world.optimal ? world.optimal.map(Math.log) : null);
}

const out = new Float64Array(16);

export class Objective {
  readonly n: number;
  readonly logReference: number[];
  readonly edges: Edge[];
  value = 0;
  gradient: number[];
  hessian: number[][];
  logp: number[];
  private readonly slope: number[];

  constructor(
    readonly loss: Loss,
    readonly world: World,
    readonly lam: number,
    /** Whether x are scores mu(pi/pi_ref) instead of logits. */
    readonly inScores = false,
  ) {
    this.n = world.n;
    this.logReference = world.reference.map(Math.log);
    this.edges = loss.reward ? [] : edgesOf(loss, world, lam);
    this.gradient = new Array<number>(this.n).fill(0);
    this.hessian = Array.from({ length: this.n }, () => new Array<number>(this.n).fill(0));
    this.logp = new Array<number>(this.n).fill(0);
    this.slope = new Array<number>(this.n).fill(0);
  }

  private get compiled(): Compiled {
    return (this.inScores ? this.loss.scored : this.loss.pair)!;
  }

  /** The value at x; with `derivatives`, the gradient and the Hessian too. */
  at(x: readonly number[], derivatives = true): number {
    const { n, loss, lam, logReference: ref, gradient: g, hessian: h, slope: a } = this;
    const apart = this.inScores || loss.ratio;
    const logp = this.inScores ? x.slice() : logSoftmax(x);
    this.logp = logp;
    const read = apart ? x : logp;
    let value = 0;
    for (let i = 0; i < n; i++) {
      a[i] = 0;
      g[i] = 0;
      h[i]!.fill(0);
    }
    const compiled = this.compiled;
    for (const { winner: w, loser: l, weight, data } of this.edges) {
      if (data.length === 0) compiled(lam, read[w]!, read[l]!, ref[w]!, ref[l]!, out);
      else compiled(lam, read[w]!, read[l]!, ref[w]!, ref[l]!, ...data, out);
      value += weight * out[0]!;
      a[w]! += weight * out[1]!;
      a[l]! += weight * out[2]!;
      h[w]![w]! += weight * out[3]!;
      h[w]![l]! += weight * out[4]!;
      h[l]![w]! += weight * out[4]!;
      h[l]![l]! += weight * out[5]!;
    }
    if (!this.inScores && (loss.divergence || loss.reward || !apart)) {
      if (apart) this.throughSoftmaxApart(logp, read);
      else this.throughSoftmax(logp, true);
      value += this.rest;
    } else {
      for (let i = 0; i < n; i++) g[i] = a[i]!;
    }
    this.value = value;
    return derivatives ? value : value;
  }

  private rest = 0;

  /** The regulariser, and a reward, which read log pi; added to slopes in log pi and to the Hessian's diagonal. */
  private ownTerms(logp: readonly number[], a: number[], h: number[][]): void {
    const { n, loss, lam, logReference: ref } = this;
    this.rest = 0;
    if (loss.divergence) {
      for (let i = 0; i < n; i++) {
        loss.divergence(logp[i]!, ref[i]!, out);
        this.rest += lam * out[0]!;
        a[i]! += lam * out[1]!;
        h[i]![i]! += lam * out[2]!;
      }
    }
    if (loss.reward) {
      const rewards = rewardsOf(this.world)!;
      for (let i = 0; i < n; i++) {
        const gain = Math.exp(logp[i]!) * rewards[i]!;
        this.rest -= gain;
        a[i]! -= gain;
        h[i]![i]! -= gain;
      }
    }
  }

  /** The chain rule from log pi to logits: g = a - pi sum(a), H = A - pi r' - r pi' + ..., r = A 1. */
  private throughSoftmax(logp: readonly number[], withOwn: boolean): void {
    const { n, gradient: g, hessian: h, slope: a } = this;
    if (withOwn) this.ownTerms(logp, a, h);
    const pi = logp.map(Math.exp);
    let total = 0;
    for (let i = 0; i < n; i++) total += a[i]!;
    const rows = h.map((row) => row.reduce((s, v) => s + v, 0));
    const all = rows.reduce((s, v) => s + v, 0);
    for (let i = 0; i < n; i++) {
      g[i] = a[i]! - pi[i]! * total;
      for (let j = 0; j < n; j++) {
        h[i]![j]! += -pi[i]! * rows[j]! - rows[i]! * pi[j]! + (all + total) * pi[i]! * pi[j]!;
      }
      h[i]![i]! -= total * pi[i]!;
    }
  }

  /** Pair terms of log-ratios need no chain rule, in which what cancels would leave its rounding. */
  private throughSoftmaxApart(logp: readonly number[], _read: readonly number[]): void {
    const { n, gradient: g, hessian: h, slope: a } = this;
    const pairs = a.slice(), bends = h.map((row) => row.slice());
    for (let i = 0; i < n; i++) {
      a[i] = 0;
      h[i]!.fill(0);
    }
    this.throughSoftmax(logp, true);
    for (let i = 0; i < n; i++) {
      g[i]! += pairs[i]!;
      for (let j = 0; j < n; j++) h[i]![j]! += bends[i]![j]!;
    }
  }
}
