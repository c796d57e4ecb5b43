/** What is dragged, as a world: policies, how often each pair is compared, or counts. */

import type { World } from "./types";

/** pairs: weights of the unordered pairs (0,1), (0,2), (1,2), ... in order. flips: the share of labels turned round. */
export function population(reference: number[], optimal: number[], pairs: number[], flips = 0): World {
  const n = reference.length;
  const wins = Array.from({ length: n }, () => new Array<number>(n).fill(0));
  const total = pairs.reduce((s, v) => s + v, 0);
  let k = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++, k++) {
      const weight = pairs[k]! / total, both = optimal[i]! + optimal[j]!;
      const first = optimal[i]! / both, second = optimal[j]! / both;
      wins[i]![j] = weight * (first * (1 - flips) + second * flips);
      wins[j]![i] = weight * (second * (1 - flips) + first * flips);
    }
  }
  return { n, reference, optimal, wins, rewards: null };
}

export function ofCounts(reference: number[], counts: number[][]): World {
  const total = counts.flat().reduce((s, v) => s + v, 0);
  return { n: reference.length, reference, optimal: null, wins: counts.map((r) => r.map((v) => v / total)), rewards: null };
}
