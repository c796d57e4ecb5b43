/** Small dense linear algebra and softmax. */

/** Solve A x = b by elimination with partial pivoting; null where A is singular. A and b are overwritten. */
export function solveLinear(a: number[][], b: number[]): number[] | null {
  const n = b.length;
  for (let k = 0; k < n; k++) {
    let top = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(a[i]![k]!) > Math.abs(a[top]![k]!)) top = i;
    if (!(Math.abs(a[top]![k]!) > 0)) return null;
    if (top !== k) {
      [a[k], a[top]] = [a[top]!, a[k]!];
      [b[k], b[top]] = [b[top]!, b[k]!];
    }
    const row = a[k]!;
    for (let i = k + 1; i < n; i++) {
      const factor = a[i]![k]! / row[k]!;
      if (factor === 0) continue;
      for (let j = k; j < n; j++) a[i]![j]! -= factor * row[j]!;
      b[i]! -= factor * b[k]!;
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    let sum = b[k]!;
    for (let j = k + 1; j < n; j++) sum -= a[k]![j]! * b[j]!;
    b[k] = sum / a[k]![k]!;
  }
  return b.every(Number.isFinite) ? b : null;
}

/** Solve a symmetric positive definite system by Cholesky; null where it is not positive definite. */
export function solvePositive(h: number[][], g: number[]): number[] | null {
  const n = g.length;
  if (n === 1) return h[0]![0]! > 0 ? [g[0]! / h[0]![0]!] : null;
  if (n === 2) {
    const a = h[0]![0]!, b = h[0]![1]!, d = h[1]![1]!;
    if (!(a > 0)) return null;
    const l = b / a, s = d - b * l;
    if (!(s > 0)) return null;
    const y = (g[1]! - l * g[0]!) / s;
    return [(g[0]! - b * y) / a, y];
  }
  const l: number[][] = h.map((row) => row.slice());
  for (let j = 0; j < n; j++) {
    for (let k = 0; k < j; k++) for (let i = j; i < n; i++) l[i]![j]! -= l[i]![k]! * l[j]![k]!;
    const pivot = l[j]![j]!;
    if (!(pivot > 0)) return null;
    const root = Math.sqrt(pivot);
    for (let i = j; i < n; i++) l[i]![j]! /= root;
  }
  const x = g.slice();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= l[i]![k]! * x[k]!;
    x[i]! /= l[i]![i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= l[k]![i]! * x[k]!;
    x[i]! /= l[i]![i]!;
  }
  return x;
}

export function logSoftmax(x: readonly number[]): number[] {
  let top = -Infinity;
  for (const v of x) if (v > top) top = v;
  let sum = 0;
  for (const v of x) sum += Math.exp(v - top);
  const log = top + Math.log(sum);
  return x.map((v) => v - log);
}

export const exps = (x: readonly number[]): number[] => x.map(Math.exp);

export const maxAbs = (x: readonly number[]): number => x.reduce((top, v) => Math.max(top, Math.abs(v)), 0);
