/** Little pieces of SVG as text, and elements that stay. */

const NS = "http://www.w3.org/2000/svg";

export function element<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Record<string, string | number>,
  parent?: Element,
): SVGElementTagNameMap[K] {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  parent?.append(made);
  return made;
}

export const fixed = (v: number): string => String(Math.round(v * 10) / 10);

export function line(points: readonly (readonly [number, number])[]): string {
  let text = "";
  for (const [k, [x, y]] of points.entries()) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    text += `${k && text ? "L" : "M"}${fixed(x)} ${fixed(y)}`;
  }
  return text;
}

const TAU = 2 * Math.PI;

function polygon(x: number, y: number, corners: number, radius: number, turn = 0, inner = 0): string {
  const count = inner ? corners * 2 : corners;
  const points = Array.from({ length: count }, (_, k): [number, number] => {
    const r = inner && k % 2 ? radius * inner : radius, angle = turn - Math.PI / 2 + (TAU * k) / count;
    return [x + r * Math.cos(angle), y + r * Math.sin(angle)];
  });
  return `${line(points)}Z`;
}

/** A marker as a path, by matplotlib's letters; "star" and "pentagon" are the two policies'. */
export function marker(kind: string, x: number, y: number, r: number): string {
  const box = (w: number): string => `M${fixed(x - w)} ${fixed(y - w)}h${fixed(2 * w)}v${fixed(2 * w)}h${fixed(-2 * w)}Z`;
  switch (kind) {
    case "s":
      return box(r * 0.86);
    case "D":
      return polygon(x, y, 4, r * 1.18);
    case "^":
      return polygon(x, y + r * 0.18, 3, r * 1.25);
    case "v":
      return polygon(x, y - r * 0.18, 3, r * 1.25, Math.PI);
    case "<":
      return polygon(x + r * 0.18, y, 3, r * 1.25, -Math.PI / 2);
    case ">":
      return polygon(x - r * 0.18, y, 3, r * 1.25, Math.PI / 2);
    case "d":
      return `M${fixed(x)} ${fixed(y - r * 1.25)}L${fixed(x + r * 0.75)} ${fixed(y)}L${fixed(x)} ${fixed(y + r * 1.25)}L${fixed(x - r * 0.75)} ${fixed(y)}Z`;
    case "h":
      return polygon(x, y, 6, r * 1.05);
    case "H":
      return polygon(x, y, 6, r * 1.05, Math.PI / 6);
    case "8":
      return polygon(x, y, 8, r * 1.03, Math.PI / 8);
    case "*":
      return polygon(x, y, 5, r * 1.25, 0, 0.45);
    case "P":
      return plus(x, y, r, 0);
    case "X":
      return plus(x, y, r * 1.05, Math.PI / 4);
    case "star":
      return polygon(x, y, 5, r * 1.25, 0, 0.45);
    case "pentagon":
      return polygon(x, y, 5, r);
    default:
      return `M${fixed(x - r)} ${fixed(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
  }
}

function plus(x: number, y: number, r: number, turn: number): string {
  const w = r * 0.42, outline: [number, number][] = [
    [-w, -r], [w, -r], [w, -w], [r, -w], [r, w], [w, w], [w, r], [-w, r], [-w, w], [-r, w], [-r, -w], [-w, -w],
  ];
  const [c, s] = [Math.cos(turn), Math.sin(turn)];
  return `${line(outline.map(([a, b]): [number, number] => [x + a * c - b * s, y + a * s + b * c]))}Z`;
}

export const escaped = (text: string): string =>
  text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
