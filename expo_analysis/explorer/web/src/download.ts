/** What can be taken along: a picture, a table, and Python that finds the same optima. */

import { type Model } from "./model";
import { ANSWERS, PAIR_NAMES } from "./names";
import { FINE, pathOf } from "./path";
import { Solver } from "./solve";
import { encode, type State } from "./state";

export function save(name: string, text: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

const STYLED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "opacity", "font-size", "font-weight", "font-family", "font-style", "paint-order"];

/** The picture with its styles written into it, so that it looks the same anywhere. */
export function pictureOf(svg: SVGSVGElement): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const [from, to] = [svg, copy].map((root) => [root, ...root.querySelectorAll<SVGElement>("*")]) as [SVGElement[], SVGElement[]];
  from.forEach((source, k) => {
    const style = getComputedStyle(source), target = to[k]!;
    if (style.display === "none") target.setAttribute("data-gone", "");
    for (const name of STYLED) {
      const value = style.getPropertyValue(name);
      if (value) target.setAttribute(name, value);
    }
    for (const name of ["class", "tabindex", "role", "style", "data-loss"]) target.removeAttribute(name);
    for (const { name } of [...target.attributes]) if (name.startsWith("aria-")) target.removeAttribute(name);
  });
  copy.querySelectorAll("[data-gone]").forEach((gone) => gone.remove());
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const { width, height } = svg.viewBox.baseVal;
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  const ground = getComputedStyle(document.body).backgroundColor;
  copy.insertAdjacentHTML("afterbegin", `<rect width="${width}" height="${height}" fill="${ground}"/>`);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}\n`;
}

/** One row for each loss and lambda. */
export function tableOf(state: State, model: Model): string {
  const n = state.reference.length;
  const rows = [["loss", "lambda", ...[...ANSWERS].slice(0, n).map((a) => `pi_${a}`), "value", "status"].join(",")];
  for (const { loss, optimum, policy } of model.drawn) {
    const anchor = { lam: state.lam, optimum, policy };
    const points = [...pathOf(new Solver(loss, model.world), FINE, anchor).points, anchor].sort((a, b) => a.lam - b.lam);
    for (const p of points) {
      rows.push([loss.key, p.lam, ...p.policy, Number.isFinite(p.optimum.value) ? p.optimum.value : "", p.optimum.status].join(","));
    }
  }
  return `${rows.join("\n")}\n`;
}

const listed = (values: readonly number[]): string => `[${values.join(", ")}]`;

/** Python that builds the same problem, solves it with error bounds, and compares with what the page showed. */
export function pythonOf(state: State, model: Model): string {
  const n = state.reference.length, imports = new Set<string>();
  const losses = model.drawn.map(({ loss, policy, optimum }) => {
    const lines = loss.python.split("\n"), expression = lines.pop()!;
    lines.forEach((line) => imports.add(line));
    return { loss, expression, policy, known: optimum.status === "minimum" };
  });
  let bandit: string;
  if (state.counts) bandit = `ea.Bandit.from_counts(${listed(state.reference)}, [${state.counts.map(listed).join(", ")}])`;
  else {
    const even = state.pairs.every((p) => Math.abs(p - state.pairs[0]!) < 1e-12);
    const matrix = Array.from({ length: n }, () => new Array<number>(n).fill(0));
    PAIR_NAMES(n).forEach(([i, j], k) => (matrix[i]![j] = matrix[j]![i] = state.pairs[k]! / 2));
    const pairs = even ? "" : `, pairs=[${matrix.map(listed).join(", ")}]`;
    bandit = `ea.Bandit(${listed(state.reference)}, ${listed(state.optimal)}${pairs})`;
  }
  const flipped = state.flips ? [
    `# ${state.flips} of the labels are flipped`,
    `wins = ${1 - state.flips} * bandit.wins + ${state.flips} * bandit.wins.T`,
    "both = wins + wins.T",
    "preferences = np.divide(wins, both, out=np.full_like(wins, 0.5), where=both > 0)",
    "bandit = ea.Bandit.from_preferences(",
    "    bandit.reference, preferences, pairs=bandit.pairs, rewards=np.log(bandit.optimal)",
    ")",
  ] : [];
  return [
    `# ${location.href.split("#")[0]!.startsWith("http") ? location.href : `#${encode(state)}`}`,
    ...[...imports].filter((line) => line.startsWith("import ")),
    ...[...imports].filter((line) => !line.startsWith("import ")),
    "",
    `bandit = ${bandit}`,
    ...flipped,
    `lam = ${state.lam}`,
    "losses = {",
    ...losses.map(({ loss, expression }) => `    ${JSON.stringify(loss.label)}: ${expression},`),
    "}",
    "# what the page showed; None where it has no proven minimum to show",
    "shown = {",
    ...losses.map(({ loss, policy, known }) => `    ${JSON.stringify(loss.label)}: ${known ? listed(policy) : "None"},`),
    "}",
    "for name, loss in losses.items():",
    "    solution = ea.solve(loss, bandit)",
    '    print(f"{name}: {solution.policy} ({solution.status}, error at most {solution.error_bound:.1e})")',
    '    if shown[name] is not None and solution.status == "optimal":',
    "        assert np.abs(solution.policy - shown[name]).max() < 1e-9, name",
    "",
    "# the path in lambda",
    "for name, loss in losses.items():",
    "    print(name)",
    "    print(ea.solve_path(loss, bandit, np.logspace(-4, 4, 17)).to_frame().to_string(index=False))",
    "",
  ].join("\n");
}
