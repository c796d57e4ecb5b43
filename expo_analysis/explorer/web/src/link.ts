/** Policies from scores s = mu(pi/pi_ref), by a root in one number. */

import type { Loss } from "./types";

const out = new Float64Array(2);

/** The policy with mu(pi/pi_ref) = scores + const; -Infinity for responses on the boundary of the simplex. */
export function policyOfScores(loss: Loss, logReference: ArrayLike<number>, scores: ArrayLike<number>): number[] {
  let top = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i]! > scores[top]!) top = i;
  const gaps = Array.from(scores, (s) => scores[top]! - s);
  const logU = (y: number): number[] => gaps.map((gap) => (gap === 0 ? y : lowered(loss, y, gap)));
  const excess = (y: number): number => {
    let total = 0;
    for (let i = 0; i < gaps.length; i++) {
      const u = gaps[i] === 0 ? y : lowered(loss, y, gaps[i]!);
      total += Math.exp(logReference[i]! + u);
    }
    return Math.log(total);
  };
  // at y = 0 no ratio is above 1, and at the other end the top response has all the mass
  let low = 0, high = -logReference[top]!;
  let fLow = excess(low), fHigh = excess(high);
  let y = fLow === 0 ? low : high;
  for (let k = 0; k < 200 && fLow < 0 && fHigh > 0 && high - low > 1e-17 * high; k++) {
    // regula falsi with halving of the end that stays, and bisection where that is slow
    y = k % 3 === 2 ? (low + high) / 2 : low - (fLow * (high - low)) / (fHigh - fLow);
    if (!(y > low && y < high)) y = (low + high) / 2;
    if (y === low || y === high) break;
    const f = excess(y);
    if (f === 0) break;
    if (f < 0) [low, fLow] = [y, f];
    else [high, fHigh] = [y, f];
  }
  const logp = logU(y).map((u, i) => u + logReference[i]!);
  const total = Math.log(logp.reduce((s, v) => s + Math.exp(v), 0));
  return logp.map((v) => v - total);
}

/** log u' at which mu is lower by the gap: as the divergence states it, or by Newton's method on its mu. */
function lowered(loss: Loss, logU: number, gap: number): number {
  if (loss.descend) {
    loss.descend(logU, gap, out);
    return out[0]!;
  }
  loss.mu!(logU, out);
  const goal = out[0]! - gap;
  let low = -750, high = logU;
  loss.mu!(low, out);
  if (out[0]! > goal && out[0]! - goal > 1) {
    // mu is unbounded below: nearly a straight line there
    let width = 750;
    for (let k = 0; k < 60 && out[0]! > goal; k++) {
      low -= width;
      width *= 2;
      loss.mu!(low, out);
    }
  }
  if (out[0]! > goal) return -Infinity;
  let x = high;
  for (let k = 0; k < 200; k++) {
    loss.mu!(x, out);
    const f = out[0]! - goal;
    if (f === 0) return x;
    if (f > 0) high = x;
    else low = x;
    let next = x - f / out[1]!;
    if (!(next > low && next < high)) next = (low + high) / 2;
    if (Math.abs(next - x) <= 1e-16 * Math.abs(x) || next === x) return next;
    x = next;
  }
  return x;
}
