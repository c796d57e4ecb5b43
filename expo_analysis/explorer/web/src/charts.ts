/** Line charts as SVG text. */

import { escaped, fixed, line } from "./svg";

export interface Series {
  points: [number, number][];
  colour: string;
  dashes?: string;
  width?: number;
  opacity?: number;
}

export interface Mark {
  x: number;
  y: number;
  path: (x: number, y: number) => string;
  fill: string;
  stroke: string;
}

export interface Axis {
  from: number;
  to: number;
  ticks: { at: number; text: string }[];
  label: string;
}

export interface Chart {
  width: number;
  height: number;
  x: Axis;
  y: Axis;
  series: Series[];
  marks?: Mark[];
  rules?: { x?: number; y?: number; dashes?: string; text?: string; strong?: boolean }[];
  margin?: { left: number; right: number; top: number; bottom: number };
}

export const MARGIN = { left: 44, right: 12, top: 10, bottom: 36 };

export function drawChart(chart: Chart): string {
  const m = chart.margin ?? MARGIN;
  const w = chart.width - m.left - m.right, h = chart.height - m.top - m.bottom;
  const px = (v: number): number => m.left + ((v - chart.x.from) / (chart.x.to - chart.x.from)) * w;
  const py = (v: number): number => m.top + h - ((v - chart.y.from) / (chart.y.to - chart.y.from)) * h;
  let text = "";
  for (const { at, text: label } of chart.y.ticks) {
    text += `<line class="grid" x1="${m.left}" x2="${m.left + w}" y1="${fixed(py(at))}" y2="${fixed(py(at))}"/>`;
    text += `<text class="tick" x="${m.left - 6}" y="${fixed(py(at) + 4)}" text-anchor="end">${escaped(label)}</text>`;
  }
  for (const { at, text: label } of chart.x.ticks) {
    text += `<line class="axis" x1="${fixed(px(at))}" x2="${fixed(px(at))}" y1="${m.top + h}" y2="${m.top + h + 4}"/>`;
    text += `<text class="tick" x="${fixed(px(at))}" y="${m.top + h + 16}" text-anchor="middle">${escaped(label)}</text>`;
  }
  text += `<line class="axis" x1="${m.left}" x2="${m.left + w}" y1="${m.top + h}" y2="${m.top + h}"/>`;
  if (chart.x.label) {
    text += `<text class="label" x="${m.left + w / 2}" y="${chart.height - 4}" text-anchor="middle">${escaped(chart.x.label)}</text>`;
  }
  if (chart.y.label) text += `<text class="label" x="2" y="${m.top + 2}" dominant-baseline="hanging">${escaped(chart.y.label)}</text>`;
  for (const rule of chart.rules ?? []) {
    const [x1, x2] = rule.x === undefined ? [m.left, m.left + w] : [px(rule.x), px(rule.x)];
    const [y1, y2] = rule.y === undefined ? [m.top, m.top + h] : [py(rule.y), py(rule.y)];
    const own = `class="${rule.strong ? "now" : "rule"}"${rule.dashes ? ` stroke-dasharray="${rule.dashes}"` : ""}`;
    text += `<line ${own} x1="${fixed(x1)}" x2="${fixed(x2)}" y1="${fixed(y1)}" y2="${fixed(y2)}"/>`;
    if (rule.text) {
      const end = rule.x === undefined;
      const at = end ? `x="${fixed(x2 - 4)}" y="${fixed(y1 - 4)}" text-anchor="end"` : `x="${fixed(x1 + 4)}" y="${m.top + 10}"`;
      text += `<text class="note" ${at}>${escaped(rule.text)}</text>`;
    }
  }
  for (const s of chart.series) {
    const points = s.points.map(([x, y]): [number, number] => [px(x), py(Math.min(Math.max(y, chart.y.from), chart.y.to))]);
    text += `<path class="curve" d="${line(points)}" stroke="${s.colour}" stroke-width="${s.width ?? 2}"`;
    text += `${s.dashes ? ` stroke-dasharray="${s.dashes}"` : ""}${s.opacity ? ` opacity="${s.opacity}"` : ""}/>`;
  }
  for (const mark of chart.marks ?? []) {
    const y = Math.min(Math.max(mark.y, chart.y.from), chart.y.to);
    text += `<path d="${mark.path(px(mark.x), py(y))}" fill="${mark.fill}" stroke="${mark.stroke}" stroke-width="1.4"/>`;
  }
  return text;
}

/** About `count` round numbers from low to high. */
export function roundTicks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / count, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * unit).find((s) => s >= raw)!;
  const found: number[] = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step) found.push(Number(v.toPrecision(12)));
  return found;
}
