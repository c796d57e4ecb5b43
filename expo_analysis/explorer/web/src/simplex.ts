/** The picture of all policies: paths, ends, optima, the gradient field, training, and two policies that are dragged. */

import { fieldOf } from "./flow";
import { frame, grid, place, policyAt, type Frame } from "./geometry";
import { readable, type Drawn, type Model } from "./model";
import { ANSWERS, brief, inWords, lambdaText, percent } from "./names";
import { tidy, type State } from "./state";
import { element, escaped, fixed, line, marker } from "./svg";
import type { Loss } from "./types";

export interface Look {
  colour(loss: Loss): string;
}

export interface Callbacks {
  moved(which: "reference" | "optimal", policy: number[]): void;
  told(text: string, x: number, y: number): void;
  quiet(): void;
}

const WIDTH = 640;
const HEIGHT = 580;
const GRID = grid(11);
const STEP = 0.01;

export class Simplex {
  private readonly ground: SVGGElement;
  private readonly field: SVGGElement;
  private readonly arrowPath: SVGPathElement;
  private readonly paths: SVGGElement;
  private readonly dots: SVGGElement;
  private readonly handles: Record<"reference" | "optimal", SVGGElement>;
  private frame: Frame;
  private drawnFor = 0;
  /** What is to be touched or read is larger where the picture is small. */
  private scale = 1;
  private held: "reference" | "optimal" | null = null;
  private state!: State;
  private drawn: Drawn[] = [];

  constructor(
    private readonly svg: SVGSVGElement,
    private readonly on: Callbacks,
  ) {
    this.frame = frame(3, WIDTH, HEIGHT, { x: 40, top: 42, bottom: 36 });
    const layer = (name: string): SVGGElement => element("g", { class: name, "aria-hidden": "true" }, svg);
    [this.ground, this.field, this.paths] = [layer("ground"), layer("field"), layer("paths")];
    this.arrowPath = element("path", { class: "arrows" });
    this.field.before(this.arrowPath);
    this.handles = { reference: this.handle("reference"), optimal: this.handle("optimal") };
    this.dots = layer("dots");
    svg.addEventListener("pointermove", (event) => this.pointed(event));
    svg.addEventListener("pointerleave", () => this.on.quiet());
  }

  private handle(which: "reference" | "optimal"): SVGGElement {
    const made = element("g", { class: `handle ${which}`, tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 100 }, this.svg);
    made.setAttribute("aria-label", which === "optimal" ? "π*, the best policy: its share of answer A" : "π_ref, the reference policy: its share of answer A");
    made.setAttribute("aria-roledescription", "point in a triangle");
    element("circle", { class: "grip", r: 22 }, made);
    element("path", { class: "shape", d: marker(which === "optimal" ? "star" : "pentagon", 0, 0, which === "optimal" ? 13 : 11) }, made);
    const name = element("text", { class: "name", x: 17, y: 5 }, made);
    name.innerHTML = which === "optimal" ? "π*" : 'π<tspan class="sub" dy="4">ref</tspan>';
    made.addEventListener("pointerdown", (event) => {
      if (this.state.reference.length > 3) return;
      this.held = which;
      made.setPointerCapture(event.pointerId);
      made.classList.add("held");
      event.preventDefault();
      made.focus({ preventScroll: true });
    });
    made.addEventListener("pointermove", (event) => {
      if (this.held !== which) return;
      const [x, y] = this.at(event);
      this.on.moved(which, tidy(policyAt(this.frame, x, y), 0.001, 3));
    });
    for (const name of ["pointerup", "pointercancel"] as const) {
      made.addEventListener(name, () => {
        this.held = null;
        made.classList.remove("held");
      });
    }
    made.addEventListener("keydown", (event) => this.key(which, event));
    return made;
  }

  /** Arrows move a point in the picture; with Shift ten times as far. */
  private key(which: "reference" | "optimal", event: KeyboardEvent): void {
    const moves: Record<string, number[]> = {
      ArrowUp: [1, -0.5, -0.5], ArrowDown: [-1, 0.5, 0.5], ArrowRight: [0, -1, 1], ArrowLeft: [0, 1, -1],
    };
    const move = moves[event.key], n = this.state.reference.length;
    if (!move || n > 3) return;
    event.preventDefault();
    const size = STEP * (event.shiftKey ? 10 : 1), policy = this.state[which];
    const own = n === 3 ? move : event.key === "ArrowRight" || event.key === "ArrowDown" ? [-1, 1] : [1, -1];
    this.on.moved(which, tidy(policy.map((p, i) => p + size * own[i]!), 0.001, 3));
  }

  private at(event: PointerEvent): [number, number] {
    const box = this.svg.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * WIDTH, ((event.clientY - box.top) / box.height) * HEIGHT];
  }

  /** Tells the optimum that is nearest to the pointer. */
  private pointed(event: PointerEvent): void {
    if (this.held || event.pointerType === "touch") return this.on.quiet();
    const [x, y] = this.at(event);
    let best = "", least = 11 ** 2;
    for (const { loss, path, policy, optimum } of this.drawn) {
      const own = path.points.map((p) => ({ lam: p.lam, policy: p.policy }));
      for (const point of [...own, { lam: this.state.lam, policy, optimum }]) {
        const [px, py] = place(this.frame, point.policy), away = (px - x) ** 2 + (py - y) ** 2;
        if (away < least) {
          least = away;
          best = `<b>${escaped(loss.label)}</b>, λ = ${lambdaText(point.lam)}<br>${escaped(inWords(point.policy))}`;
        }
      }
    }
    if (best) this.on.told(best, event.clientX, event.clientY);
    else this.on.quiet();
  }

  draw(state: State, model: Model, losses: ReadonlyMap<string, Loss>, look: Look, marks: number[][]): void {
    this.state = state;
    this.drawn = model.drawn;
    const n = state.reference.length;
    this.scale = Math.min(1.7, Math.max(1, WIDTH / (this.svg.clientWidth || WIDTH)));
    this.svg.style.setProperty("--s", this.scale.toFixed(2));
    if (n !== this.drawnFor) this.drawGround(n);
    this.drawField(state, model, losses, look);
    this.drawPaths(model, look);
    this.moveHandle("reference", state.reference, true);
    this.moveHandle("optimal", state.optimal, !state.counts);
    // two names at one place would cover each other
    const [rx, ry] = place(this.frame, state.reference), [ox, oy] = place(this.frame, state.optimal);
    const close = !state.counts && Math.abs(rx - ox) < 40 * this.scale && Math.abs(ry - oy) < 20 * this.scale;
    this.handles.reference.querySelector(".name")!.setAttribute("y", close ? (ry >= oy ? "23" : "-12") : "5");
    this.drawDots(model, look, marks);
    const told = model.drawn.map((d) => `${d.loss.label}: ${inWords(d.policy)}`).join("; ");
    this.svg.setAttribute("aria-label", `All policies over ${n} answers. Optima at λ = ${lambdaText(state.lam)}: ${told}.`);
    this.svg.removeAttribute("aria-labelledby");
  }

  private moveHandle(which: "reference" | "optimal", policy: number[], shown: boolean): void {
    const handle = this.handles[which], [x, y] = place(this.frame, policy);
    handle.setAttribute("transform", `translate(${fixed(x)} ${fixed(y)}) scale(${this.scale.toFixed(2)})`);
    handle.style.display = shown ? "" : "none";
    handle.setAttribute("aria-valuenow", (100 * policy[0]!).toFixed(1));
    handle.setAttribute("aria-valuetext", inWords(policy));
    handle.classList.toggle("fixed", policy.length > 3);
  }

  private drawGround(n: number): void {
    this.drawnFor = n;
    this.frame = frame(n, WIDTH, HEIGHT, n === 3 ? { x: 40, top: 42, bottom: 36 } : { x: 70, top: 60, bottom: 60 });
    const { corners } = this.frame;
    let text = `<path class="edge" d="${line(corners)}${n > 2 ? "Z" : ""}"/>`;
    if (n === 3) {
      for (let k = 1; k < 10; k++) {
        const t = k / 10;
        for (let c = 0; c < 3; c++) {
          const a = [0, 0, 0], b = [0, 0, 0];
          a[c] = b[c] = t;
          a[(c + 1) % 3] = 1 - t;
          b[(c + 2) % 3] = 1 - t;
          const ends = [place(this.frame, a), place(this.frame, b)];
          text += `<path class="${k === 5 ? "half" : "tenth"}" d="${line(ends)}"/>`;
        }
      }
    }
    const centre = place(this.frame, new Array<number>(n).fill(1 / n));
    corners.forEach(([x, y], i) => {
      const dx = x - centre[0], dy = y - centre[1], size = Math.hypot(dx, dy) || 1;
      const [tx, ty] = [x + (dx / size) * 26, y + (dy / size) * 26 + 7];
      text += `<text class="corner" x="${fixed(tx)}" y="${fixed(ty)}" text-anchor="middle">${ANSWERS[i]}</text>`;
    });
    this.ground.innerHTML = text;
  }

  private drawField(state: State, model: Model, losses: ReadonlyMap<string, Loss>, look: Look): void {
    const named = losses.get(state.focus), loss = named && readable(named, model.world) ? named : undefined;
    let text = "";
    const arrows = loss && state.field && state.reference.length === 3;
    this.arrowPath.setAttribute("d", arrows ? this.arrows(loss, model, state.lam) : "");
    if (arrows) this.arrowPath.setAttribute("stroke", look.colour(loss));
    const moments = loss && state.train ? model.training.get(loss.key) : undefined;
    if (loss && moments) {
      const points = moments.map((m) => place(this.frame, m.policy));
      text += `<path class="train-halo" d="${line(points)}"/><path class="train" d="${line(points)}" stroke="${look.colour(loss)}"/>`;
      let next = 1;
      for (const { time, policy } of moments) {
        if (time < next) continue;
        next = 10 ** (Math.floor(Math.log10(time)) + 1);
        const [x, y] = place(this.frame, policy);
        text += `<circle class="train-dot" cx="${fixed(x)}" cy="${fixed(y)}" r="3" stroke="${look.colour(loss)}"/>`;
      }
    }
    this.field.innerHTML = text;
  }

  private arrows(loss: Loss, model: Model, lam: number): string {
    const moves = fieldOf(loss, model.world, lam, GRID);
    const ends = moves.map((move) => {
      let [x, y] = [0, 0];
      move.forEach((v, i) => {
        x += v * this.frame.corners[i]![0];
        y += v * this.frame.corners[i]![1];
      });
      return [x, y] as [number, number];
    });
    const sizes = ends.map(([x, y]) => Math.hypot(x, y)).filter(Number.isFinite).sort((a, b) => a - b);
    const top = sizes[Math.floor(sizes.length * 0.9)] ?? 0;
    if (!(top > 0)) return "";
    let text = "";
    GRID.forEach((policy, k) => {
      const [dx, dy] = ends[k]!, size = Math.hypot(dx, dy);
      if (!(size > 1e-9 * top)) return;
      const [x, y] = place(this.frame, policy), length = 5 + 15 * Math.sqrt(Math.min(1, size / top));
      const [ux, uy] = [dx / size, dy / size], [ex, ey] = [x + (ux * length) / 2, y + (uy * length) / 2];
      const [bx, by] = [x - (ux * length) / 2, y - (uy * length) / 2], head = 2 + length * 0.16;
      const [lx, ly] = [ex - ux * head * 1.6 - uy * head * 0.8, ey - uy * head * 1.6 + ux * head * 0.8];
      const [rx, ry] = [ex - ux * head * 1.6 + uy * head * 0.8, ey - uy * head * 1.6 - ux * head * 0.8];
      text += `${line([[bx, by], [ex, ey]])}${line([[lx, ly], [ex, ey], [rx, ry]])}`;
    });
    return text;
  }

  private drawPaths(model: Model, look: Look): void {
    let text = "";
    for (const { loss, path } of model.drawn) {
      const points = [path.zero, ...path.points, path.infinity].map((p) => place(this.frame, p.policy));
      const own = line(points), colour = look.colour(loss);
      text += `<path class="halo" d="${own}"/>`;
      text += `<path class="path" data-loss="${loss.key}" d="${own}" stroke="${colour}"${loss.dashes ? ` stroke-dasharray="${loss.dashes}"` : ""}/>`;
    }
    this.paths.innerHTML = text;
  }

  private drawDots(model: Model, look: Look, marks: number[][]): void {
    let text = "";
    const s = this.scale, seen = new Map<string, number>();
    for (const { loss, path } of model.drawn) {
      const colour = look.colour(loss);
      const [zx, zy] = place(this.frame, path.zero.policy), where = `${Math.round(zx / 3)} ${Math.round(zy / 3)}`;
      // where several end, each has a ring of its own; the widest is drawn first
      const ring = (6.5 + 4 * (seen.get(where) ?? 0)) * s;
      seen.set(where, (seen.get(where) ?? 0) + 1);
      text = `<circle class="zero" cx="${fixed(zx)}" cy="${fixed(zy)}" r="${fixed(ring)}" stroke="${colour}"/>${text}`;
      const [ix, iy] = place(this.frame, path.infinity.policy), back = fixed(10 * s);
      text += `<path class="infinity" d="M${fixed(ix - 5 * s)} ${fixed(iy - 5 * s)}l${back} ${back}m0 -${back}l-${back} ${back}" stroke="${colour}"/>`;
    }
    for (const { loss, policy, optimum } of model.drawn) {
      const [x, y] = place(this.frame, policy);
      const open = optimum.status === "no minimum" || optimum.status === "failed";
      text += `<path class="now-dot${open ? " open" : ""}" data-loss="${loss.key}" d="${marker(loss.marker, x, y, 8 * s)}" fill="${look.colour(loss)}"/>`;
    }
    marks.forEach((policy, k) => {
      const [x, y] = place(this.frame, policy), r = 10 * s;
      text += `<path class="mark" d="M${fixed(x)} ${fixed(y - r)}v${fixed(2 * r)}M${fixed(x - r)} ${fixed(y)}h${fixed(2 * r)}"/>`;
      if (marks.length > 1) text += `<text class="note strong" x="${fixed(x + r)}" y="${fixed(y - r * 0.7)}">${k + 1}</text>`;
    });
    this.dots.innerHTML = text + this.labels(model, look);
  }

  /** The losses' names beside their optima, where there is room for them. */
  private labels(model: Model, look: Look): string {
    const s = this.scale, size = 14 * s, taken: [number, number, number, number][] = [];
    for (const which of ["reference", "optimal"] as const) {
      if (which === "optimal" && this.state.counts) continue;
      const [x, y] = place(this.frame, this.state[which]);
      taken.push([x - 14 * s, y - 14 * s, x + 44 * s, y + 14 * s]);
    }
    const dots = model.drawn.map((d) => place(this.frame, d.policy));
    for (const [x, y] of dots) taken.push([x - 8 * s, y - 8 * s, x + 8 * s, y + 8 * s]);
    let text = "";
    model.drawn.forEach(({ loss }, k) => {
      const [x, y] = dots[k]!, name = brief(loss.label), width = name.length * size * 0.56, away = 13 * s;
      const options: [number, number, string][] = [
        [x - away - width, y - size / 2, "start"], [x + away, y - size / 2, "start"],
        [x - width - away * 0.7, y - size * 1.5, "start"], [x + away * 0.7, y - size * 1.5, "start"],
        [x - width - away * 0.7, y + size * 0.6, "start"], [x + away * 0.7, y + size * 0.6, "start"],
      ];
      for (const [left, top] of options) {
        const box: [number, number, number, number] = [left, top, left + width, top + size];
        if (left < 0 || left + width > WIDTH || taken.some((t) => box[0] < t[2] && box[2] > t[0] && box[1] < t[3] && box[3] > t[1])) continue;
        taken.push(box);
        text += `<text class="loss-name" x="${fixed(left)}" y="${fixed(top + size * 0.82)}" fill="${look.colour(loss)}" style="font-size:${fixed(size)}px;fill:${look.colour(loss)}">${escaped(name)}</text>`;
        break;
      }
    });
    return text;
  }
}

/** A triangle of the pairs' weights, with one point to drag. */
export class Weights {
  private readonly frame = frame(3, 200, 172, { x: 26, top: 20, bottom: 22 });
  private readonly ground: SVGGElement;
  private readonly point: SVGGElement;
  private pairs: number[] = [1 / 3, 1 / 3, 1 / 3];
  private held = false;

  constructor(
    private readonly svg: SVGSVGElement,
    private readonly moved: (pairs: number[]) => void,
  ) {
    this.ground = element("g", { "aria-hidden": "true" }, svg);
    const { corners } = this.frame;
    let text = `<path class="edge" d="${line(corners)}Z"/>`;
    ["A–B", "A–C", "B–C"].forEach((name, i) => {
      const [x, y] = corners[i]!;
      text += `<text class="tick" x="${x}" y="${i === 0 ? y - 7 : y + 16}" text-anchor="middle">${name}</text>`;
    });
    this.ground.innerHTML = text;
    this.point = element("g", { class: "handle weights", tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 33, "aria-label": "How often pairs are compared: the share of A and B", "aria-roledescription": "point in a triangle" }, svg);
    element("circle", { class: "grip", r: 18 }, this.point);
    element("circle", { class: "shape", r: 7 }, this.point);
    this.point.addEventListener("pointerdown", (event) => {
      this.held = true;
      this.point.setPointerCapture(event.pointerId);
      event.preventDefault();
      this.point.focus({ preventScroll: true });
    });
    this.point.addEventListener("pointermove", (event) => {
      if (!this.held) return;
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * 200, y = ((event.clientY - box.top) / box.height) * 172;
      this.moved(tidy(policyAt(this.frame, x, y), 0, 3));
    });
    for (const name of ["pointerup", "pointercancel"] as const) this.point.addEventListener(name, () => (this.held = false));
    this.point.addEventListener("keydown", (event) => {
      const moves: Record<string, number[]> = {
        ArrowUp: [1, -0.5, -0.5], ArrowDown: [-1, 0.5, 0.5], ArrowRight: [0, -1, 1], ArrowLeft: [0, 1, -1],
      };
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      const size = STEP * (event.shiftKey ? 10 : 1);
      this.moved(tidy(this.pairs.map((p, i) => p + size * move[i]!), 0, 3));
    });
  }

  draw(pairs: number[], shown: boolean): void {
    this.svg.style.display = shown ? "" : "none";
    if (!shown) return;
    this.pairs = pairs;
    const [x, y] = place(this.frame, pairs);
    this.point.setAttribute("transform", `translate(${fixed(x)} ${fixed(y)})`);
    this.point.setAttribute("aria-valuenow", (100 * pairs[0]!).toFixed(1));
    const names = ["A and B", "A and C", "B and C"];
    this.point.setAttribute("aria-valuetext", pairs.map((p, i) => `${names[i]} ${percent(p)}`).join(", "));
  }
}
