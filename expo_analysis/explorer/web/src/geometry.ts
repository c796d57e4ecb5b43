/** Policies as points of a picture: a triangle of three responses, a segment of two, a polygon of more. */

export interface Frame {
  width: number;
  height: number;
  corners: [number, number][];
}

export function frame(n: number, width: number, height: number, margin: { x: number; top: number; bottom: number }): Frame {
  const w = width - 2 * margin.x, h = height - margin.top - margin.bottom;
  if (n === 3) {
    const side = Math.min(w, (h * 2) / Math.sqrt(3)), tall = (side * Math.sqrt(3)) / 2;
    const left = (width - side) / 2, top = margin.top + (h - tall) / 2;
    return { width, height, corners: [[width / 2, top], [left, top + tall], [left + side, top + tall]] };
  }
  if (n === 2) return { width, height, corners: [[margin.x, height / 2], [width - margin.x, height / 2]] };
  const radius = Math.min(w, h) / 2;
  const corners = Array.from({ length: n }, (_, k): [number, number] => {
    const angle = -Math.PI / 2 + (2 * Math.PI * k) / n;
    return [width / 2 + radius * Math.cos(angle), margin.top + h / 2 + radius * Math.sin(angle)];
  });
  return { width, height, corners };
}

export function place(frame: Frame, policy: ArrayLike<number>): [number, number] {
  let x = 0, y = 0;
  for (let i = 0; i < policy.length; i++) {
    x += policy[i]! * frame.corners[i]![0];
    y += policy[i]! * frame.corners[i]![1];
  }
  return [x, y];
}

/** The policy at a point of a triangle or a segment; outside of it, the nearest by clipping. */
export function policyAt(frame: Frame, x: number, y: number): number[] {
  if (frame.corners.length === 2) {
    const [[a], [b]] = frame.corners as [[number, number], [number, number]];
    const t = Math.min(1, Math.max(0, (x - a) / (b - a)));
    return [1 - t, t];
  }
  const [[ax, ay], [bx, by], [cx, cy]] = frame.corners as [[number, number], [number, number], [number, number]];
  const d = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy);
  const a = ((by - cy) * (x - cx) + (cx - bx) * (y - cy)) / d;
  const b = ((cy - ay) * (x - cx) + (ax - cx) * (y - cy)) / d;
  const clipped = [a, b, 1 - a - b].map((v) => Math.max(0, v));
  const total = clipped.reduce((s, v) => s + v, 0);
  return clipped.map((v) => v / total);
}

/** Points of an even grid inside of the triangle. */
export function grid(per: number): number[][] {
  const found: number[][] = [];
  for (let i = 0; i < per; i++) {
    for (let j = 0; i + j < per; j++) {
      const a = (i + 1 / 3) / per, b = (j + 1 / 3) / per;
      found.push([a, b, 1 - a - b]);
    }
  }
  return found;
}
