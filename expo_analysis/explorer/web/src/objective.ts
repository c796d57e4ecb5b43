/** An objective on a world: value, gradient and Hessian in logits, or in scores. */

import { logSoftmax } from "./linear";
import type { Loss, World } from "./types";

const out = new Float64Array(16);

export function rewardsOf(world: World): number[] | null {
  return world.rewards ?? (world.optimal ? world.optimal.map(Math.log) : null);
}

/**
 * One loss on one world; `setLambda` chooses lambda, and `at(x)` computes. What it finds is left in `gradient` (n),
 * `hessian` (n x n, row after row) and `logp`, and is overwritten by the next call.
 */
export class Objective {
  readonly n: number;
  readonly logReference: Float64Array;
  readonly gradient: Float64Array;
  readonly hessian: Float64Array;
  readonly logp: Float64Array;
  lam = 1;
  /** Ends, weights and further data of each ordered pair that carries weight. */
  readonly winner: number[] = [];
  readonly loser: number[] = [];
  readonly weight: number[] = [];
  readonly data: Float64Array[] = [];
  private readonly slope: Float64Array;
  private readonly bends: Float64Array;
  private readonly pi: Float64Array;
  private readonly rows: Float64Array;
  private readonly rewards: number[] | null;
  private rest = 0;

  constructor(
    readonly loss: Loss,
    readonly world: World,
    /** Whether x are scores mu(pi/pi_ref) instead of logits. */
    readonly inScores = false,
  ) {
    const n = (this.n = world.n);
    this.logReference = Float64Array.from(world.reference, Math.log);
    [this.gradient, this.logp, this.slope, this.pi, this.rows] = [0, 0, 0, 0, 0].map(() => new Float64Array(n)) as [
      Float64Array, Float64Array, Float64Array, Float64Array, Float64Array,
    ];
    this.hessian = new Float64Array(n * n);
    this.bends = new Float64Array(n * n);
    this.rewards = rewardsOf(world);
    if (!loss.reward) {
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          if (!(world.wins[i]![j]! > 0)) continue;
          this.winner.push(i);
          this.loser.push(j);
          this.weight.push(world.wins[i]![j]!);
          this.data.push(new Float64Array(loss.data.length));
        }
      }
    }
    this.setLambda(1);
  }

  setLambda(lam: number): this {
    this.lam = lam;
    if (!this.loss.data.length || (this.filled && !this.loss.derived)) return this;
    this.filled = true;
    const known: Record<string, ArrayLike<number>> = this.rewards ? { reward: this.rewards } : {};
    for (const [kind, derive] of Object.entries(this.loss.derived ?? {})) {
      const own = new Float64Array(this.n);
      derive[this.n]?.(lam, ...this.logReference, ...(this.rewards ?? []), own);
      known[kind] = own;
    }
    this.loss.data.forEach((name, place) => {
      const values = known[name.slice(0, -2)], ends = name.endsWith("w") ? this.winner : this.loser;
      this.data.forEach((row, e) => (row[place] = values?.[ends[e]!] ?? NaN));
    });
    return this;
  }
  private filled = false;

  /** The value at x. */
  at(x: ArrayLike<number>): number {
    const { n, loss, lam, logReference: ref, slope: a, hessian: h, logp, winner, loser, weight } = this;
    const apart = this.inScores || loss.ratio;
    if (this.inScores) for (let i = 0; i < n; i++) logp[i] = x[i]!;
    else logSoftmax(x, logp);
    const read = apart ? x : logp;
    const compiled = (this.inScores ? loss.scored : loss.pair)!;
    let value = 0;
    a.fill(0);
    h.fill(0);
    for (let e = 0; e < winner.length; e++) {
      const w = winner[e]!, l = loser[e]!, p = weight[e]!;
      this.call(compiled, e, lam, read[w]!, read[l]!, ref[w]!, ref[l]!);
      value += p * out[0]!;
      a[w]! += p * out[1]!;
      a[l]! += p * out[2]!;
      h[w * n + w]! += p * out[3]!;
      h[w * n + l]! += p * out[4]!;
      h[l * n + w]! += p * out[4]!;
      h[l * n + l]! += p * out[5]!;
    }
    const own = !this.inScores && (loss.divergence !== undefined || loss.reward);
    if (!own && apart) {
      this.gradient.set(a);
      return value;
    }
    if (!apart) {
      this.ownTerms();
      this.throughSoftmax();
      return value + this.rest;
    }
    // pair terms of log-ratios need no chain rule, in which what cancels would leave its rounding
    const { gradient: g, bends } = this;
    g.set(a);
    bends.set(h);
    a.fill(0);
    h.fill(0);
    this.ownTerms();
    const pairs0 = g[0]!, pairs1 = g[1]!, pairs2 = g[2] ?? 0, more = n > 3 ? g.slice(3) : null;
    this.throughSoftmax();
    g[0]! += pairs0;
    g[1]! += pairs1;
    if (n > 2) g[2]! += pairs2;
    if (more) for (let i = 3; i < n; i++) g[i]! += more[i - 3]!;
    for (let k = 0; k < n * n; k++) h[k]! += bends[k]!;
    return value + this.rest;
  }

  private call(f: (...given: never[]) => void, e: number, lam: number, w: number, l: number, rw: number, rl: number): void {
    const compiled = f as unknown as (...given: (number | Float64Array)[]) => void;
    const data = this.data[e]!;
    switch (data.length) {
      case 0:
        compiled(lam, w, l, rw, rl, out);
        break;
      case 2:
        compiled(lam, w, l, rw, rl, data[0]!, data[1]!, out);
        break;
      case 4:
        compiled(lam, w, l, rw, rl, data[0]!, data[1]!, data[2]!, data[3]!, out);
        break;
      default:
        compiled(lam, w, l, rw, rl, ...data, out);
    }
  }

  /** The regulariser, and a reward, which read log pi: their slopes in log pi, and the Hessian's diagonal. */
  private ownTerms(): void {
    const { n, loss, lam, logReference: ref, logp, slope: a, hessian: h } = this;
    this.rest = 0;
    if (loss.divergence) {
      for (let i = 0; i < n; i++) {
        loss.divergence(logp[i]!, ref[i]!, out);
        this.rest += lam * out[0]!;
        a[i]! += lam * out[1]!;
        h[i * n + i]! += lam * out[2]!;
      }
    }
    if (loss.reward) {
      for (let i = 0; i < n; i++) {
        const gain = Math.exp(logp[i]!) * this.rewards![i]!;
        this.rest -= gain;
        a[i]! -= gain;
        h[i * n + i]! -= gain;
      }
    }
  }

  /** From log pi to logits: g = a - pi sum(a), H = A - pi r' - r pi' + sum(r) pi pi' - sum(a)(diag pi - pi pi'), r = A 1. */
  private throughSoftmax(): void {
    const { n, gradient: g, hessian: h, slope: a, logp, pi, rows } = this;
    let total = 0, all = 0;
    for (let i = 0; i < n; i++) {
      pi[i] = Math.exp(logp[i]!);
      total += a[i]!;
      let row = 0;
      for (let j = 0; j < n; j++) row += h[i * n + j]!;
      rows[i] = row;
      all += row;
    }
    for (let i = 0; i < n; i++) {
      g[i] = a[i]! - pi[i]! * total;
      for (let j = 0; j < n; j++) {
        h[i * n + j]! += -pi[i]! * rows[j]! - rows[i]! * pi[j]! + (all + total) * pi[i]! * pi[j]!;
      }
      h[i * n + i]! -= total * pi[i]!;
    }
  }
}
