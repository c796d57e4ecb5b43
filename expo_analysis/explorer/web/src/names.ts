/** What answers are called, and how numbers are written. */

export const ANSWERS = "ABCDEFGH";

export const PAIR_NAMES = (n: number): [number, number][] => {
  const found: [number, number][] = [];
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) found.push([i, j]);
  return found;
};

export function percent(p: number): string {
  if (p === 0) return "0";
  if (p < 0.0001) return power(p);
  return p < 0.01 || p > 0.99 ? `${trimmed((100 * p).toFixed(2))}%` : `${trimmed((100 * p).toFixed(1))}%`;
}

const trimmed = (text: string): string => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** 3·10⁻⁷ */
export function power(v: number): string {
  const [mantissa, exponent] = v.toExponential(0).split("e") as [string, string];
  const digits = [...exponent.replace("+", "")].map((c) => (c === "-" ? "⁻" : SUPERSCRIPTS[Number(c)]!)).join("");
  return mantissa === "1" ? `10${digits}` : `${mantissa}·10${digits}`;
}

export function number(v: number): string {
  if (!Number.isFinite(v)) return v === Infinity ? "∞" : "–";
  if (v === 0) return "0";
  const size = Math.abs(v);
  return size >= 1e5 || size < 1e-3 ? power(v) : trimmed(v.toPrecision(3));
}

export function lambdaText(lam: number): string {
  if (lam >= 1000 || lam < 0.001) return power2(lam);
  return trimmed(lam.toPrecision(3));
}

/** 1.6·10⁻⁴ */
function power2(v: number): string {
  const [mantissa, exponent] = v.toExponential(1).split("e") as [string, string];
  const digits = [...exponent.replace("+", "")].map((c) => (c === "-" ? "⁻" : SUPERSCRIPTS[Number(c)]!)).join("");
  return mantissa === "1.0" ? `10${digits}` : `${trimmed(mantissa)}·10${digits}`;
}

export const inWords = (policy: readonly number[]): string =>
  policy.map((p, i) => `${ANSWERS[i]} ${percent(p)}`).join(", ");

/** Text as HTML, with indices lowered: π_ref, log π_w, h_ref. */
export const lowered = (text: string): string =>
  text
    .replace(/&/g, "&amp;")
    .replace(/</g, "&lt;")
    .replace(/>/g, "&gt;")
    .replace(/_(ref,[wl]|ref|θ|π|[A-Za-z])(?![A-Za-z])/g, "<sub>$1</sub>");

/** A loss's name in a picture, where there is little room. */
export const brief = (label: string): string => label.split(/ \(|, compositional/)[0]!.trim();
