/** Small dense linear algebra on flat arrays, and softmax. */

/** Solve A x = b by elimination with partial pivoting; false where A is singular. Both are overwritten, b by x. */
export function solveLinear(a: Float64Array, b: Float64Array): boolean {
  const n = b.length;
  for (let k = 0; k < n; k++) {
    let top = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(a[i * n + k]!) > Math.abs(a[top * n + k]!)) top = i;
    if (!(Math.abs(a[top * n + k]!) > 0)) return false;
    if (top !== k) {
      for (let j = 0; j < n; j++) {
        const t = a[k * n + j]!;
        a[k * n + j] = a[top * n + j]!;
        a[top * n + j] = t;
      }
      const t = b[k]!;
      b[k] = b[top]!;
      b[top] = t;
    }
    for (let i = k + 1; i < n; i++) {
      const factor = a[i * n + k]! / a[k * n + k]!;
      if (factor === 0) continue;
      for (let j = k; j < n; j++) a[i * n + j]! -= factor * a[k * n + j]!;
      b[i]! -= factor * b[k]!;
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    let sum = b[k]!;
    for (let j = k + 1; j < n; j++) sum -= a[k * n + j]! * b[j]!;
    b[k] = sum / a[k * n + k]!;
    if (!Number.isFinite(b[k]!)) return false;
  }
  return true;
}

/** Solve a symmetric positive definite system by Cholesky; false where it is not positive definite. */
export function solvePositive(l: Float64Array, x: Float64Array): boolean {
  const n = x.length;
  for (let j = 0; j < n; j++) {
    for (let k = 0; k < j; k++) for (let i = j; i < n; i++) l[i * n + j]! -= l[i * n + k]! * l[j * n + k]!;
    const pivot = l[j * n + j]!;
    if (!(pivot > 0)) return false;
    const root = Math.sqrt(pivot);
    for (let i = j; i < n; i++) l[i * n + j]! /= root;
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= l[i * n + k]! * x[k]!;
    x[i]! /= l[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= l[k * n + i]! * x[k]!;
    x[i]! /= l[i * n + i]!;
  }
  return true;
}

/** x less its log-sum-exp, into `out`. */
export function logSoftmax(x: ArrayLike<number>, out: Float64Array): void {
  const n = x.length;
  let top = x[0]!;
  for (let i = 1; i < n; i++) if (x[i]! > top) top = x[i]!;
  let sum = 0;
  for (let i = 0; i < n; i++) sum += Math.exp(x[i]! - top);
  const log = top + Math.log(sum);
  for (let i = 0; i < n; i++) out[i] = x[i]! - log;
}

export function maxAbs(x: ArrayLike<number>): number {
  let top = 0;
  for (let i = 0; i < x.length; i++) top = Math.max(top, Math.abs(x[i]!));
  return top;
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
