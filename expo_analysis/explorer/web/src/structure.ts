/** Which responses a loss of log-ratios ties together: whether a minimiser exists, before any number is computed. */

import type { Loss, World } from "./types";

export interface Structure {
  /** Sets on each of which a minimiser exists. */
  pieces: number[][];
  /** Responses whose probability tends to 0 along every minimising sequence. */
  lost: number[];
  components: number[][];
}

/**
 * The recession function of a convex loss of log-ratios is positive in every direction if and only if it is positive
 * along the indicator of every set of responses, as it is linear where their order is fixed. Sets along which it is not
 * win out, and are looked at alone.
 */
export function structureOf(loss: Loss, world: World): Structure {
  const all = range(world.n);
  const components = partsOf(all, (i, j) => world.wins[i]![j]! > 0 || world.wins[j]![i]! > 0);
  if (!loss.slopes) return { pieces: [all], lost: [], components };
  const cost = costs(loss.slopes, world);
  const pieces: number[][] = [];
  const waiting = components.slice();
  while (waiting.length) {
    const members = waiting.shift()!;
    const winners = members.length === 1 ? [] : falling(members, cost);
    const linked = (i: number, j: number): boolean => world.wins[i]![j]! > 0 || world.wins[j]![i]! > 0;
    if (!winners.length) pieces.push(members);
    else waiting.unshift(...winners.flatMap((winner) => partsOf(winner, linked)));
  }
  const kept = new Set(pieces.flat());
  return { pieces, lost: all.filter((i) => !kept.has(i)), components };
}

/** What raising i over j costs far out, for each ordered pair. */
function costs([left, right]: [number, number], world: World): number[][] {
  const [l, r] = [left, right].map((end) => Math.max(-1e3, Math.min(1e3, end))) as [number, number];
  return world.wins.map((row, i) => row.map((w, j) => w * r - world.wins[j]![i]! * l));
}

/**
 * The sets of members that win out over the others: where raising never pays, all smallest ones that nothing holds back;
 * where it may, the one along which the loss falls fastest.
 */
function falling(members: number[], cost: number[][]): number[][] {
  const signed = members.some((i) => members.some((j) => cost[i]![j]! < 0));
  let found: { set: number[]; code: number }[] = [], least = 1e-12;
  for (let code = 1; code < (1 << members.length) - 1; code++) {
    const inside = members.filter((_, k) => code & (1 << k));
    const others = members.filter((_, k) => !(code & (1 << k)));
    const total = inside.reduce((s, i) => s + others.reduce((t, j) => t + cost[i]![j]!, 0), 0);
    if (signed ? total < least : total <= 0) {
      if (signed) [least, found] = [total, []];
      found.push({ set: inside, code });
    }
  }
  const smallest = found.filter((a) => !found.some((b) => b !== a && (b.code & a.code) === b.code));
  return smallest.map(({ set }) => set);
}

/** Connected components among members. */
export function partsOf(members: number[], linked: (i: number, j: number) => boolean): number[][] {
  const left = new Set(members), found: number[][] = [];
  while (left.size) {
    const part: number[] = [], waiting = [left.values().next().value as number];
    left.delete(waiting[0]!);
    while (waiting.length) {
      const i = waiting.pop()!;
      part.push(i);
      for (const j of left) {
        if (linked(i, j)) {
          left.delete(j);
          waiting.push(j);
        }
      }
    }
    found.push(part.sort((a, b) => a - b));
  }
  return found;
}

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
