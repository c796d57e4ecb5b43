/** The charts beside the picture, and the table below it. */

import { drawChart, roundTicks, type Chart, type Mark, type Series } from "./charts";
import { chosenAndRejected, FIRST, LAST } from "./flow";
import { klOf, nameOf, tvOf, type Drawn, type Model } from "./model";
import { ANSWERS, lambdaText, number, PAIR_NAMES, percent } from "./names";
import { Objective } from "./objective";
import { HIGH, LOW } from "./path";
import type { Look } from "./simplex";
import { worldOf, type State } from "./state";
import { escaped, marker } from "./svg";
import type { Loss } from "./types";

const DECADES = [-4, -3, -2, -1, 0, 1, 2, 3, 4].map((at) => ({ at, text: at === 0 ? "1" : at === 1 ? "10" : `10${"⁻".repeat(at < 0 ? 1 : 0)}${"⁰¹²³⁴"[Math.abs(at)]}` }));

export function drawDistance(svg: SVGSVGElement, state: State, model: Model, look: Look): void {
  svg.closest(".panel")!.classList.toggle("gone", state.counts !== null);
  if (state.counts) return;
  const away = (policy: readonly number[]): number => tvOf(policy, state.optimal);
  const own = away(state.reference);
  let top = Math.max(own, 0.02);
  for (const { path } of model.drawn) for (const p of path.points) top = Math.max(top, away(p.policy));
  const series: Series[] = model.drawn.map(({ loss, path }) => ({
    points: path.points.map((p): [number, number] => [Math.log10(p.lam), away(p.policy)]),
    colour: look.colour(loss),
    dashes: loss.dashes,
  }));
  const marks: Mark[] = model.drawn.map(({ loss, policy }) => dot(loss, look, Math.log10(state.lam), away(policy)));
  const chart: Chart = {
    width: 440, height: 210,
    x: { from: LOW, to: HIGH, ticks: DECADES, label: "λ" },
    y: { from: 0, to: top * 1.06, ticks: roundTicks(0, top * 1.06, 4).map((at) => ({ at, text: number(at) })), label: "" },
    series, marks,
    rules: [...(own > 1e-6 ? [{ y: own, dashes: "5 4", text: "the reference itself" }] : []), { x: Math.log10(state.lam), strong: true }],
  };
  svg.innerHTML = drawChart(chart);
  const told = model.drawn.map((d) => `${d.loss.label} ${number(away(d.policy))}`).join(", ");
  svg.setAttribute("aria-label", `Distance from π* at λ = ${lambdaText(state.lam)}: ${told}. The reference itself: ${number(own)}.`);
}

function dot(loss: Loss, look: Look, x: number, y: number): Mark {
  return { x, y, path: (px, py) => marker(loss.marker, px, py, 5), fill: look.colour(loss), stroke: "var(--ground)" };
}

const POINTS = 33;
/** Log-odds of the first answer of a pair that a chart spans. */
const SPAN = 6;

export function drawPairs(box: HTMLElement, state: State, model: Model, look: Look): void {
  const n = state.reference.length, world = model.world;
  const pairs = PAIR_NAMES(n).filter(([i, j]) => world.wins[i]![j]! + world.wins[j]![i]! > 0).slice(0, 6);
  const own = pairs.join(" ");
  if (box.dataset.own !== own) {
    box.dataset.own = own;
    box.innerHTML = pairs.map(([i, j]) => `<figure><svg viewBox="0 0 150 132" role="img"></svg><figcaption>${ANSWERS[i]} against ${ANSWERS[j]}</figcaption></figure>`).join("");
  }
  const drawn = model.drawn.filter((d) => !d.loss.reward);
  pairs.forEach(([i, j], place) => {
    const svg = box.querySelectorAll("svg")[place]!;
    const weight = world.wins[i]![j]! + world.wins[j]![i]!;
    const series: Series[] = [], marks: Mark[] = [];
    for (const d of drawn) {
      const curve = pairCurve(d, state, i, j);
      if (!curve) continue;
      series.push({ points: curve.points, colour: look.colour(d.loss), dashes: d.loss.dashes, width: 1.8 });
      marks.push(dot(d.loss, look, curve.at[0], curve.at[1]));
    }
    const best = state.counts ? null : state.optimal[i]! / (state.optimal[i]! + state.optimal[j]!);
    svg.innerHTML = drawChart({
      width: 150, height: 132,
      margin: { left: 8, right: 8, top: 8, bottom: 34 },
      x: { from: 0, to: 1, ticks: [{ at: 0, text: "0" }, { at: 0.5, text: "½" }, { at: 1, text: "1" }], label: `π(${ANSWERS[i]}) / π(${ANSWERS[i]}${ANSWERS[j]})` },
      y: { from: -0.06, to: 1.04, ticks: [], label: "" },
      series, marks,
      rules: best === null ? [] : [{ x: best, dashes: "4 3", text: best > 0.72 ? undefined : "π*" }],
    });
    const told = weight > 0 ? `asked in ${percent(weight)} of comparisons` : "never compared";
    svg.setAttribute("aria-label", `Expected loss of ${ANSWERS[i]} against ${ANSWERS[j]}, ${told}, for ${drawn.map((d) => d.loss.label).join(", ")}`);
  });
}

/** The expected loss of one pair, from 0 to 1 over its range, as mass goes from the one answer to the other. */
function pairCurve(drawn: Drawn, state: State, i: number, j: number): { points: [number, number][]; at: [number, number] } | null {
  const { loss, policy } = drawn, world = worldOf(state);
  const alone = { ...world, wins: world.wins.map((row, a) => row.map((w, b) => ((a === i && b === j) || (a === j && b === i) ? w : 0))) };
  if (!(world.wins[i]![j]! + world.wins[j]![i]! > 0)) return null;
  const objective = new Objective({ ...loss, divergence: undefined }, alone).setLambda(state.lam);
  const both = Math.max(policy[i]! + policy[j]!, 1e-12);
  const value = (logOdds: number): number => {
    const x = policy.map((p) => Math.log(Math.max(p, 1e-300)));
    x[i] = Math.log(both) - Math.log1p(Math.exp(-logOdds));
    x[j] = Math.log(both) - Math.log1p(Math.exp(logOdds));
    return objective.at(x);
  };
  const raw: [number, number][] = [];
  for (let k = 0; k < POINTS; k++) {
    const logOdds = -SPAN + (2 * SPAN * k) / (POINTS - 1);
    raw.push([1 / (1 + Math.exp(-logOdds)), value(logOdds)]);
  }
  const finite = raw.map(([, v]) => v).filter(Number.isFinite), low = Math.min(...finite), high = Math.max(...finite);
  if (!(high > low)) return null;
  const own = Math.max(-SPAN, Math.min(SPAN, Math.log(Math.max(policy[i]!, 1e-300) / Math.max(policy[j]!, 1e-300))));
  const scale = (v: number): number => (v - low) / (high - low);
  return { points: raw.map(([x, v]) => [x, scale(v)]), at: [1 / (1 + Math.exp(-own)), scale(value(own))] };
}

export function drawTraining(svg: SVGSVGElement, says: HTMLElement, state: State, model: Model, look: Look): void {
  const series: Series[] = [];
  let low = -0.05, high = 0.05;
  const world = model.world, start = chosenAndRejected(world, state.reference.map(Math.log));
  const told: string[] = [];
  for (const { loss } of model.drawn) {
    const moments = model.training.get(loss.key);
    if (!moments) continue;
    const both = moments.map((m) => chosenAndRejected(world, m.logp).map((v, k) => v - start[k]!) as [number, number]);
    const x = (time: number): number => Math.log10(Math.max(time, FIRST));
    [0, 1].forEach((side) => {
      const points = moments.map((m, k): [number, number] => [x(m.time), both[k]![side]!]);
      points.push([Math.log10(LAST), both[both.length - 1]![side]!]);
      for (const [, v] of points) if (Number.isFinite(v)) [low, high] = [Math.min(low, v), Math.max(high, v)];
      series.push({ points, colour: look.colour(loss), dashes: side ? "5 4" : "", width: loss.key === state.focus ? 2.6 : 1.7 });
    });
    const [chosen, rejected] = both[both.length - 1]!;
    if (loss.key === state.focus) {
      const way = (v: number): string => (Math.abs(v) < 0.005 ? "stay as likely as they were" : v > 0 ? `gain ${number(v)} nats` : `lose ${number(-v)} nats`);
      told.push(`${loss.label}: in the end chosen answers ${way(chosen)}, rejected ones ${way(rejected)}.`);
    }
  }
  low = Math.max(low, -8);
  const pad = 0.06 * (high - low);
  svg.innerHTML = drawChart({
    width: 440, height: 210,
    x: { from: Math.log10(FIRST), to: Math.log10(LAST), ticks: [-2, -1, 0, 1, 2, 3, 4, 5].map((at) => ({ at, text: at === 0 ? "1" : at === 1 ? "10" : `10${"⁻".repeat(at < 0 ? 1 : 0)}${"⁰¹²³⁴⁵"[Math.abs(at)]}` })), label: "learning rate × steps" },
    y: { from: low - pad, to: high + pad, ticks: roundTicks(low - pad, high + pad, 4).map((at) => ({ at, text: number(at).replace("-", "−") })), label: "" },
    series, rules: [{ y: 0, dashes: "2 3" }],
  });
  says.textContent = told.join(" ");
  svg.setAttribute("aria-label", `Mean log-probabilities of chosen and rejected answers in training. ${told.join(" ")}`);
}

export function drawTable(table: HTMLTableElement, state: State, model: Model, look: Look): void {
  const n = state.reference.length, answers = [...ANSWERS].slice(0, n);
  const head = ["Loss", `Optimum at λ = ${lambdaText(state.lam)}`, ...answers.map((a) => `π(${a})`), ...(state.counts ? [] : ["KL(π ‖ π*)"]), "KL(π<sub>ref</sub> ‖ π)", "λ → 0", "λ → ∞"];
  const rows = model.drawn.map((d) => {
    const { loss, optimum, policy, path } = d;
    const status = { minimum: "the minimum", "lowest found": "lowest of many searches", "no minimum": "none: a limit", "not unique": "one of several", failed: "not found" }[optimum.status];
    const cells = [
      `<th scope="row"><span class="swatch" style="--c:${look.colour(loss)}"></span>${escaped(loss.label)}</th>`,
      `<td>${status}</td>`,
      ...policy.map((p) => `<td class="n">${percent(p)}</td>`),
      ...(state.counts ? [] : [`<td class="n">${number(klOf(policy, state.optimal))}</td>`]),
      `<td class="n">${policy.some((p) => p === 0) ? "∞" : number(klOf(state.reference, policy))}</td>`,
      `<td>${endText(path.zero.policy, state)}</td>`,
      `<td>${endText(path.infinity.policy, state)}</td>`,
    ];
    return `<tr>${cells.join("")}</tr>`;
  });
  const missing = state.losses.length - model.drawn.length;
  if (missing) rows.push(`<tr><td colspan="${head.length}">${missing === 1 ? "One loss reads" : `${missing} losses read`} rewards, which counts do not have.</td></tr>`);
  table.innerHTML = `<caption class="hidden">Optima of the chosen losses</caption><thead><tr>${head.map((h) => `<th scope="col">${h}</th>`).join("")}</tr></thead><tbody>${rows.join("")}</tbody>`;
}

function endText(policy: readonly number[], state: State): string {
  const name = nameOf(policy, state);
  return name ? name.replace(/π_ref/g, "π<sub>ref</sub>") : policy.map(percent).join(" · ");
}
