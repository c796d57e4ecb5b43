/** The page: what is clicked and dragged changes the state, and a frame later everything shows it. */

import { caseOf, stateOf, type Case, type Packed } from "./cases";
import { pictureOf, pythonOf, save, tableOf } from "./download";
import { compute, type Model } from "./model";
import { ANSWERS, lambdaText, lowered, PAIR_NAMES } from "./names";
import { drawDistance, drawPairs, drawTable, drawTraining } from "./panels";
import { Simplex, Weights, type Look } from "./simplex";
import { copy, decode, DEFAULT, encode, type State } from "./state";
import { STORY } from "./story";
import { escaped } from "./svg";
import type { Loss } from "./types";

declare const LOSSES: Loss[];
declare const PAGE: { version: string; leftOut: Record<string, string>; cases: Packed; own: string[] };

const MAIN = ["rlhf", "dpo", "ipo", "fdpo", "expo", "regression_expo"];

const losses = new Map(LOSSES.map((loss) => [loss.key, loss]));
const known = new Set(losses.keys());
const $ = <T extends Element = HTMLElement>(id: string): T => document.getElementById(id) as unknown as T;

/** A link may name a counterexample alone: then its problem is what is shown. */
function read(hash: string): State {
  const found = decode(hash, known), [loss, key] = found.case?.split(".") ?? [];
  const named = loss && key ? caseOf(PAGE.cases, loss, key) : null;
  if (found.case && !named) found.case = null;
  return (named && !/[#&]ref=/.test(hash) && stateOf(named)) || found;
}

let state: State = read(location.hash);
if (!location.hash && PAGE.own.length) {
  state.losses = [...new Set([...PAGE.own, "dpo", "expo"])];
  state.focus = PAGE.own[0]!;
  state.step = null;
}
let model: Model;
let fine = false;

// ------------------------------------------------------------------------------------------------------------- colours

const THEMES = ["auto", "light", "dark"] as const;
let theme: (typeof THEMES)[number] = "auto";
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = (): boolean => (theme === "auto" ? system.matches : theme === "dark");
const look: Look = { colour: (loss) => (isDark() ? loss.dark : loss.colour) };

function applyTheme(): void {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  const words = { auto: "as the system has them", light: "light", dark: "dark" }[theme];
  $("theme").setAttribute("aria-label", `Colours: ${words}`);
  $("theme").title = `Colours: ${words}`;
  $("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
}

$("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
  applyTheme();
  buildLosses();
  draw();
});
system.addEventListener("change", () => {
  applyTheme();
  buildLosses();
  draw();
});

// -------------------------------------------------------------------------------------------------------------- drawing

const simplex = new Simplex($<SVGSVGElement>("simplex"), {
  moved: (which, policy) => change({ [which]: policy, step: state.step, case: null }, true),
  told: (text, x, y) => {
    const tip = $("tip");
    tip.innerHTML = text;
    tip.hidden = false;
    tip.style.left = `${Math.min(x + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${y + 16}px`;
  },
  quiet: () => ($("tip").hidden = true),
});
const weights = new Weights($<SVGSVGElement>("weights"), (pairs) => change({ pairs, case: null }, true));

let waiting = 0;
let idle = 0;
let write = 0;

/** Change the state; `live` while something is dragged, when paths are drawn coarsely until there is time. */
function change(parts: Partial<State>, live = false): void {
  state = { ...state, ...parts };
  if (!state.losses.includes(state.focus) && parts.losses) state.focus = state.losses[0] ?? state.focus;
  fine = !live;
  if (!waiting) {
    waiting = requestAnimationFrame(() => {
      waiting = 0;
      draw();
    });
  }
  clearTimeout(idle);
  if (live) {
    idle = window.setTimeout(() => {
      fine = true;
      draw();
    }, 140);
  }
  clearTimeout(write);
  write = window.setTimeout(() => history.replaceState(null, "", `#${encode(state)}`), 180);
}

let drawnFrames = 0;

/** Milliseconds that the last frames took, for the test that measures them. */
const frames: number[] = [];
(window as unknown as Record<string, unknown>).explorer = {
  frames,
  state: () => state,
  set: (parts: Partial<State>) => change(parts, true),
  drawNow: (parts: Partial<State>) => {
    state = { ...state, ...parts };
    fine = false;
    draw();
  },
  python: () => pythonOf(state, model),
  csv: () => tableOf(state, model),
  svg: () => pictureOf($<SVGSVGElement>("simplex")),
  model: () => model,
  losses,
};

function draw(): void {
  const began = performance.now();
  const marks = (shownCase()?.marks ?? []).filter((policy) => policy.length === state.reference.length);
  model = compute(state, losses, fine, fine || drawnFrames % 2 === 1 || state.train);
  simplex.draw(state, model, losses, look, marks);
  const n = state.reference.length;
  weights.draw(state.pairs, n === 3 && !state.counts);
  document.querySelector(".pairs-title")!.classList.toggle("gone", n !== 3 || !!state.counts);
  $("even").classList.toggle("gone", n !== 3 || !!state.counts || state.pairs.every((p) => Math.abs(p - 1 / 3) < 1e-3));
  drawDistance($<SVGSVGElement>("distance"), state, model, look);
  // while something is dragged, what the eye is not on is drawn in turn
  const turn = fine ? -1 : (drawnFrames++ % 4);
  if (turn === -1 || turn % 2 === 0) drawPairs($("pair-charts"), state, model, look);
  if (turn === -1 || turn % 2 === 1) drawTraining($<SVGSVGElement>("training"), $("train-says"), state, model, look);
  if (turn === -1 || turn === 3) drawTable($<HTMLTableElement>("table"), state, model, look);
  drawWords(n);
  drawControls();
  frames.push(performance.now() - began);
  if (frames.length > 400) frames.shift();
}

const COUNTED = ["", "one", "two", "three", "four", "five", "six", "seven", "eight"];

/** What the picture says of itself depends on how many answers there are. */
function drawWords(n: number): void {
  const title = $("simplex-title");
  if (title.dataset.n === String(n)) return;
  title.dataset.n = String(n);
  title.textContent = `All policies over ${COUNTED[n] ?? n} answers`;
  $("simplex-help").innerHTML =
    n === 3
      ? "A corner always gives one answer; the middle gives each a third of the time. Drag <b>★ π*</b> and <b>⬟ π<sub>ref</sub></b>, or focus one and use the arrow keys."
      : n === 2
        ? "The ends always give one answer; in the middle both are as likely. Drag <b>★ π*</b> and <b>⬟ π<sub>ref</sub></b>, or focus one and use the arrow keys."
        : `A corner always gives one answer. ${n} answers do not fit a plane: this is a projection, in which different policies can share a point. Type numbers below to change it.`;
}

function shownCase(): Case | null {
  const [loss, key] = state.case?.split(".") ?? [];
  return loss && key ? caseOf(PAGE.cases, loss, key) : null;
}

function drawControls(): void {
  const slider = $<HTMLInputElement>("lam"), now = Math.log10(state.lam);
  if (Number(slider.value) !== now) slider.value = String(now);
  slider.setAttribute("aria-valuetext", lambdaText(state.lam));
  $("lam-now").textContent = lambdaText(state.lam);
  $<HTMLInputElement>("show-field").checked = state.field;
  $<HTMLInputElement>("show-train").checked = state.train;
  document.querySelectorAll<HTMLInputElement>("input[data-loss]").forEach((box) => (box.checked = state.losses.includes(box.dataset.loss!)));
  const focus = $<HTMLSelectElement>("focus"), options = [...new Set([...state.losses, state.focus])];
  const own = options.join();
  if (focus.dataset.own !== own) {
    focus.dataset.own = own;
    focus.innerHTML = options.map((key) => `<option value="${key}">${escaped(losses.get(key)?.label ?? key)}</option>`).join("");
  }
  focus.value = state.focus;
  drawStory();
  drawCase();
  drawNumbers();
}

// ---------------------------------------------------------------------------------------------------------------- story

function drawStory(): void {
  const place = STORY.findIndex((step) => step.key === state.step);
  document.querySelectorAll<HTMLButtonElement>("#steps button").forEach((button, k) => {
    if (k === place) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  });
  const step = STORY[place], found = shownCase();
  const label = found && (losses.get(found.loss)?.label ?? found.loss);
  const title = found ? `${label} fails “${found.title}”` : (step?.title ?? "Explore freely");
  const own = `${title}${state.case ?? ""}`;
  if ($("told-title").dataset.own === own) return;
  $("told-title").dataset.own = own;
  $("told-title").innerHTML = lowered(title);
  const crosses = found?.problem && found.marks.length ? ` ${found.marks.length > 1 ? "Crosses mark the policies" : "A cross marks the policy"} that the report names.` : "";
  const told = found
    ? `A counterexample of the report card: ${found.statement}.${crosses}${found.problem ? "" : ` It is not drawn: ${found.because}.`}`
    : (step?.text ?? "Drag, choose losses, move λ. A step of the tour brings you back.");
  $("told-text").innerHTML = lowered(told);
  $<HTMLButtonElement>("before").disabled = place === 0;
  $<HTMLButtonElement>("next").disabled = place === STORY.length - 1;
}

function go(place: number): void {
  const step = STORY[Math.max(0, Math.min(STORY.length - 1, place))]!;
  change({ ...copy(DEFAULT), ...copy(step.state), step: step.key, case: null });
}

$("steps").innerHTML = STORY.map((step, k) => `<li><button type="button"><span>${k + 1}</span>${escaped(step.title)}</button></li>`).join("");
document.querySelectorAll("#steps button").forEach((button, k) => button.addEventListener("click", () => go(k)));
const placeNow = (): number => STORY.findIndex((step) => step.key === state.step);
$("before").addEventListener("click", () => go(placeNow() - 1));
$("next").addEventListener("click", () => go(placeNow() + 1));

// --------------------------------------------------------------------------------------------------------------- losses

function chip(loss: Loss): string {
  const formula = loss.formula ? `<small>${lowered(loss.formula)}</small>` : "";
  const line = `<svg viewBox="0 0 26 10" aria-hidden="true"><path d="M0 5H26" stroke="${look.colour(loss)}" stroke-width="3"${loss.dashes ? ` stroke-dasharray="${loss.dashes}"` : ""}/></svg>`;
  return `<label class="chip" title="${escaped(loss.summary)}"><input type="checkbox" data-loss="${loss.key}">${line}<span>${escaped(loss.label)}${formula}</span></label>`;
}

function buildLosses(): void {
  const first = [...PAGE.own, ...MAIN], rest = LOSSES.filter((loss) => !first.includes(loss.key));
  $("chosen").innerHTML = first.filter((key) => losses.has(key)).map((key) => chip(losses.get(key)!)).join("");
  $("more").innerHTML = rest.sort((a, b) => a.label.localeCompare(b.label)).map(chip).join("");
  $("how-many").textContent = `(${rest.length})`;
  const out = Object.entries(PAGE.leftOut);
  $("left-out").textContent = out.length ? `Not here: ${out.map(([name, why]) => `${name} ${why}`).join("; ")}.` : "";
  document.querySelectorAll<HTMLInputElement>("input[data-loss]").forEach((box) => {
    box.checked = state.losses.includes(box.dataset.loss!);
    box.addEventListener("change", () => {
      const key = box.dataset.loss!, others = state.losses.filter((other) => other !== key);
      change({ losses: box.checked ? [...others, key] : others, focus: box.checked ? key : state.focus });
    });
  });
}

$<HTMLInputElement>("find").addEventListener("input", (event) => {
  const text = (event.target as HTMLInputElement).value.toLowerCase();
  document.querySelectorAll<HTMLElement>("#more .chip").forEach((label) => {
    label.hidden = !label.textContent!.toLowerCase().includes(text) && !label.title.toLowerCase().includes(text);
  });
});

// ------------------------------------------------------------------------------------------------------------- controls

$<HTMLInputElement>("lam").addEventListener("input", (event) => {
  stop();
  change({ lam: Number((10 ** Number((event.target as HTMLInputElement).value)).toPrecision(4)) }, true);
});
$<HTMLInputElement>("show-field").addEventListener("change", (event) => change({ field: (event.target as HTMLInputElement).checked }));
$<HTMLInputElement>("show-train").addEventListener("change", (event) => change({ train: (event.target as HTMLInputElement).checked }));
$<HTMLSelectElement>("focus").addEventListener("change", (event) => change({ focus: (event.target as HTMLSelectElement).value }));
$("even").addEventListener("click", () => change({ pairs: [1 / 3, 1 / 3, 1 / 3], case: null }));

let sweep = 0;

function stop(): void {
  cancelAnimationFrame(sweep);
  sweep = 0;
  $("play").textContent = "▶ Sweep λ";
}

$("play").addEventListener("click", () => {
  if (sweep) return stop();
  $("play").textContent = "◼ Stop";
  let at = state.lam > 5e3 || state.lam < 2e-4 ? 4 : Math.log10(state.lam), last = 0;
  const tick = (now: number): void => {
    at -= last ? Math.min(0.05, (now - last) * 0.0012) : 0;
    last = now;
    change({ lam: Number((10 ** Math.max(-4, at)).toPrecision(4)) }, true);
    if (at <= -4) return stop();
    sweep = requestAnimationFrame(tick);
  };
  sweep = requestAnimationFrame(tick);
});

// -------------------------------------------------------------------------------------------------- numbers, typed

function drawNumbers(): void {
  const form = $<HTMLFormElement>("numbers"), n = state.reference.length;
  if (form.contains(document.activeElement) || !$<HTMLDetailsElement>("exact").open) return;
  const row = (name: string, label: string, values: number[]): string =>
    `<fieldset><legend>${label}</legend>${values.map((v, i) => `<label>${name === "pairs" ? PAIR_NAMES(n)[i]!.map((k) => ANSWERS[k]).join("–") : ANSWERS[i]}<input name="${name}${i}" inputmode="decimal" value="${Number(v.toPrecision(6))}"></label>`).join("")}</fieldset>`;
  form.innerHTML = `${row("reference", "π<sub>ref</sub>", state.reference)}${state.counts ? "" : row("optimal", "π*", state.optimal) + (n > 2 ? row("pairs", "Pairs", state.pairs) : "")}
    <fieldset><legend>λ</legend><label>λ<input name="lam" inputmode="decimal" value="${state.lam}"></label></fieldset><button type="submit">Use these</button><span id="wrong" role="alert"></span>`;
}

$<HTMLDetailsElement>("exact").addEventListener("toggle", drawNumbers);
$<HTMLFormElement>("numbers").addEventListener("submit", (event) => {
  event.preventDefault();
  const data = new FormData(event.target as HTMLFormElement), n = state.reference.length;
  const read = (name: string, count: number): number[] => Array.from({ length: count }, (_, i) => Number(String(data.get(`${name}${i}`)).replace(",", ".")));
  const share = (values: number[], least: boolean): number[] | null => {
    const total = values.reduce((s, v) => s + v, 0);
    return values.every((v) => Number.isFinite(v) && (least ? v > 0 : v >= 0)) && total > 0 ? values.map((v) => v / total) : null;
  };
  const reference = share(read("reference", n), true);
  const optimal = state.counts ? state.optimal : share(read("optimal", n), true);
  const pairs = state.counts || n === 2 ? state.pairs : share(read("pairs", (n * (n - 1)) / 2), false);
  const lam = Number(String(data.get("lam")).replace(",", "."));
  const wrong = !reference ? "π_ref needs positive numbers" : !optimal ? "π* needs positive numbers" : !pairs ? "pair weights need numbers from 0 on, not all of them 0" : !(lam > 0) ? "λ needs a positive number" : "";
  $("wrong").textContent = wrong;
  if (wrong) return;
  (document.activeElement as HTMLElement).blur();
  change({ reference: reference!, optimal: optimal!, pairs: pairs!, lam, case: null });
});

// ------------------------------------------------------------------------------------------------------ counterexamples

function buildCases(): void {
  const own = Object.keys(PAGE.cases.cases).filter((key) => losses.has(key));
  const pick = $<HTMLSelectElement>("case-loss");
  pick.innerHTML = `<option value="">Choose a loss</option>${own.map((key) => `<option value="${key}">${escaped(losses.get(key)!.label)}</option>`).join("")}`;
  pick.addEventListener("change", () => fillKeys(pick.value, ""));
  $<HTMLSelectElement>("case-key").addEventListener("change", (event) => {
    const key = (event.target as HTMLSelectElement).value;
    if (key) open(pick.value, key);
  });
  fillKeys("", "");
}

function fillKeys(loss: string, chosen: string): void {
  const keys = Object.keys(PAGE.cases.cases[loss] ?? {}), pick = $<HTMLSelectElement>("case-key");
  pick.disabled = !keys.length;
  pick.innerHTML = `<option value="">${loss ? `Choose one of ${keys.length}` : "–"}</option>${keys.map((key) => `<option value="${key}">${escaped(PAGE.cases.titles[key] ?? key)}</option>`).join("")}`;
  pick.value = chosen;
  $<HTMLSelectElement>("case-loss").value = loss;
}

function open(loss: string, key: string): void {
  const found = caseOf(PAGE.cases, loss, key);
  if (!found) return;
  const own = stateOf(found);
  if (own) change(own);
  else {
    change({ case: `${loss}.${key}` });
  }
}

let toldCase = "";

function drawCase(): void {
  const found = shownCase(), box = $("case");
  const own = state.case ?? "";
  if (own === toldCase) return;
  toldCase = own;
  if (!found) {
    box.innerHTML = "";
    return;
  }
  fillKeys(found.loss, found.desideratum);
  const label = losses.get(found.loss)?.label ?? found.loss;
  const marks = found.problem && found.marks.length ? `<p class="fine">Crosses mark ${found.marks.length > 1 ? "the policies" : "the policy"} that the report names.</p>` : "";
  const why = found.problem ? `<p><a href="#simplex-title" class="up">↑ It is drawn above</a>, with λ = ${lambdaText(found.lam)}.</p>${marks}` : `<p class="fine">Not drawn: ${lowered(found.because)}</p>`;
  box.innerHTML = `<blockquote><p><b>${escaped(label)}</b> fails “${lowered(found.title)}”: ${lowered(found.statement)}.</p>${why}</blockquote>`;
  box.querySelector(".up")?.addEventListener("click", (event) => {
    event.preventDefault();
    $("simplex-title").focus();
    $("simplex-title").scrollIntoView({ block: "start" });
  });
}

// ------------------------------------------------------------------------------------------------------------ downloads

function told(text: string): void {
  $("took").textContent = text;
}

$("copy").addEventListener("click", () => {
  const url = `${location.href.split("#")[0]}#${encode(state)}`;
  history.replaceState(null, "", `#${encode(state)}`);
  navigator.clipboard?.writeText(url).then(() => told("Copied."), () => told("The address bar has the link."));
  if (!navigator.clipboard) told("The address bar has the link.");
});
$("get-svg").addEventListener("click", () => save("preference-losses.svg", pictureOf($<SVGSVGElement>("simplex")), "image/svg+xml"));
$("get-csv").addEventListener("click", () => save("preference-losses.csv", tableOf(state, model), "text/csv"));
$("get-py").addEventListener("click", () => save("preference_losses.py", pythonOf(state, model), "text/x-python"));

addEventListener("hashchange", () => change(read(location.hash)));

$("version").textContent = PAGE.version;
applyTheme();
buildLosses();
buildCases();
fine = true;
draw();
