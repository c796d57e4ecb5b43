"""One lambda for two prompts: what becomes of the one on which the reference is optimal already."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ...bandit import Bandit
from ...divergences import kl
from ...paper import preservation as paper_preservation
from ..looks import Look
from ..losses import Given, named_losses, tidy
from ..sheet import Sheet, above, level_key, level_style, line_key, message, path_style
from ..solved import Solved, fit, grid, one_bandit, solved
from ..style import END_POINTS, Size, size_of, under

LOW, HIGH, POINTS = 1e-2, 1e2, 61

LINEAR_BELOW = 1e-7
"""The divergence axis is logarithmic above this and linear below it, so that it can show 0."""

PROMPTS = ("good prompt", "bad prompt")
"""The paper's."""

OPTIMAL, REFERENCE = (END_POINTS[name].label for name in ("optimal", "reference"))
DIVERGENCE = rf"KL({OPTIMAL} ‖ $\pi$) in nats"


def preservation(
    losses: Given | Iterable[Given] | Mapping[str, Given],
    *,
    bandit: Bandit | None = None,
    lams: ArrayLike | None = None,
    width: str | float = "column",
    title: str | None = None,
) -> Figure:
    r"""KL(pi* || pi) of the exact optimum against lambda, on a good prompt (pi_ref = pi*) and on a bad one.

    A loss preserves if with every lambda the optimum stays at pi* where pi_ref = pi*, and comes nearer to pi* where it
    is not. On the bad prompt a dotted line shows how far pi_ref is.

    Args:
        losses: see `named_losses`. Their own lambdas are not used.
        bandit: one prompt, the bad one: the good one has the same pi* and pairs, and pi_ref = pi*. With several
            prompts each has a panel. pi* is the Bradley-Terry fit where the bandit has counts. By default the paper's
            prompts, pi* = pi_ref = (.6, .3, .1), and pi* = (.6, .2, .2), pi_ref = (.4, .2, .4).
        lams: at least two; by default 61 from 0.01 to 100.
        width, title: as for `interpolation`.

    Returns:
        The figure. What cannot be solved, is not proven or not attained is said below it, in words.

    Raises:
        TypeError, ValueError: naming the argument, and what is accepted.

    Source: arXiv 2506.07492, Section 5 (preservation).

    Example:
        >>> import expo_analysis as ea
        >>> len(ea.figures.preservation([ea.DPO(1), ea.EXPO(1)], lams=[0.1, 1.0, 10.0]).axes)
        2
    """
    size, problem = size_of(width), one_bandit(bandit, paper_preservation().population)
    named, at = named_losses(losses), grid(lams, LOW, HIGH, POINTS)
    problems, notes = _prompts(problem, PROMPTS if bandit is None else problem.prompt_names)
    tables, panels = [], {}
    for words, one, prompt in problems:
        target = fit(one)
        panels[words] = np.nan if target is None else float(_kl(target[prompt], np.atleast_2d(one.reference)[prompt]))
        for loss in named:
            path = solved(loss, one, at)
            tables.append(_rows(path, target, prompt, words))
            notes.append(path.note)
    words = r"One $\lambda$ for two prompts: how far each optimum is from $\pi^*$"
    looks = {one.name: one.look for one in named}
    return draw(
        pd.concat(tables, ignore_index=True), looks, panels, size, words if title is None else title, _once(notes)
    )


def draw(
    frame: pd.DataFrame,
    looks: Mapping[str, Look],
    panels: Mapping[str, float],
    size: Size,
    title: str,
    notes: Iterable[str] = (),
) -> Figure:
    """The figure of a table: a panel for each prompt.

    Args:
        frame: columns ``prompt``, ``loss``, ``lam``, ``kl`` and ``attained``.
        panels: KL(pi* || pi_ref) by prompt.
    """
    with under(size):
        key = [line_key(look, size) for look in looks.values()]
        sheet = Sheet(size, title, [*key, level_key(size)], notes)
        most = 2 if size.width < 5 * size.text / 8 else 4
        rows = -(-len(panels) // most)
        columns = -(-len(panels) // rows)
        each = 1.35 * size.text / 8 + 5 * size.row
        axes_of = sheet.subplots(rows * each, rows, columns, sharex=True, sharey=True)
        for axes, (prompt, reference) in zip(axes_of.flat, panels.items(), strict=False):
            axes.set_title(sheet.wrapped(prompt, (size.width - 0.6) / columns - 0.05))
            _panel(axes, frame[frame["prompt"] == prompt], looks, reference, size)
        for axes in list(axes_of.flat)[len(panels) :]:
            axes.remove()
        kls = frame["kl"].replace([np.inf, -np.inf], np.nan)
        _scale(axes_of[0, 0], kls.max(), size)
        for column in range(columns):
            last = axes_of[rows - 1 - (rows > 1 and (rows - 1) * columns + column >= len(panels)), column]
            last.tick_params(labelbottom=True)
            last.set_xlabel(r"trade-off $\lambda$")
        for axes in axes_of[:, 0]:
            axes.set_ylabel(DIVERGENCE)
        return sheet.finished()


def _panel(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], reference: float, size: Size) -> None:
    drawn = 0
    for k, (loss, look) in enumerate(looks.items()):
        path = rows[rows["loss"] == loss]
        drawn += int(np.isfinite(path["kl"]).any())
        every = max(1, len(path) // 5)
        start = (k * every) // max(1, len(looks))
        narrow = {"linewidth": size.line / 2} if not path["attained"].all() else {}
        axes.plot(path["lam"], path["kl"], markevery=(start, every), **{**path_style(look, size), **narrow})
        if narrow and path["attained"].any():
            axes.plot(
                path["lam"], path["kl"].where(path["attained"]), **look.line(linewidth=size.line, zorder=above(look))
            )
    if np.isfinite(reference):
        axes.axhline(reference, **level_style(size))
    if not drawn:
        message(axes, "no optimum\nto draw:\nsee below")
    axes.set(xscale="log", xlim=(rows["lam"].min() / 1.15, rows["lam"].max() * 1.15))
    axes.minorticks_off()


def _scale(axes: Axes, most: float, size: Size) -> None:
    """Logarithmic, with 0 at the bottom."""
    top = max(1.0, 3 * most) if np.isfinite(most) else 1.0
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
    axes.set_ylim(-0.4 * LINEAR_BELOW, top)
    powers = list(range(-6, int(np.log10(top)) + 1, 3 if top < 1e4 else 4))
    axes.set_yticks([0, *(10.0**k for k in powers)])
    axes.minorticks_off()


def _prompts(bandit: Bandit, names: Sequence[Hashable] | None) -> tuple[list[tuple[str, Bandit, int]], list[str]]:
    """What is drawn: words, a bandit and which of its prompts; and what is to be said of them."""
    notes = [] if bandit.optimal is not None else [rf"{OPTIMAL} is the Bradley–Terry fit to the counts."]
    if bandit.prompts:
        found = []
        for k, (reference, optimal) in enumerate(zip(bandit.reference, fit_or_nan(bandit), strict=True)):
            same = np.allclose(reference, optimal, rtol=0, atol=1e-9)
            known = np.isfinite(optimal).all()
            words = f"{REFERENCE} {'=' if same else '≠'} {OPTIMAL}" if known else f"{OPTIMAL} unknown"
            name = tidy(str(names[k])) if names else f"prompt {k + 1}"
            found.append((f"{name}\n({words})", bandit, k))
        return found, notes
    target = fit(bandit)
    if target is None:
        return [(f"the prompt\n{OPTIMAL} unknown", bandit, 0)], [
            rf"{OPTIMAL} is not known, and the counts have no fit."
        ]
    good = _at_optimum(bandit, target[0])
    bad = (f"bad prompt\n({REFERENCE} ≠ {OPTIMAL})", bandit, 0)
    if good is None:
        return [bad], [*notes, "Only the given prompt: these data have no other reference."]
    found = [(f"good prompt\n({REFERENCE} = {OPTIMAL})", good, 0), bad]
    same = np.allclose(bandit.reference, target[0], rtol=0, atol=1e-9)
    return (found[:1] if same else found), notes


def fit_or_nan(bandit: Bandit) -> Any:
    """pi*, (prompts, n), nan where it is not known."""
    found = fit(bandit)
    return np.full((bandit.prompts or 1, bandit.n), np.nan) if found is None else found


def _at_optimum(bandit: Bandit, optimal: Any) -> Bandit | None:
    """The same comparisons with pi* as the reference; None where they are neither of pairs nor of preferences."""
    own: dict[str, Any] = {"rewards": bandit.rewards, "lengths": bandit.lengths}
    if bandit.optimal is not None:
        return Bandit(optimal, optimal, bandit.pairs, **own)
    if bandit.stated_preference is not None:
        return Bandit.from_preferences(optimal, bandit.stated_preference, bandit.pairs, **own)
    if bandit.counts is None or bandit.liked is not None or bandit.choices is not None or bandit.triples is not None:
        return None
    return Bandit.from_counts(optimal, bandit.counts, **own)


def _rows(path: Solved, target: Any, prompt: int, words: str) -> pd.DataFrame:
    if target is None:
        distance = np.full(len(path.lams), np.nan)
    else:
        distance = kl(np.log(target[prompt]), path.log_policies[:, prompt])
    rows = {"prompt": words, "loss": path.named.name, "lam": path.lams, "kl": np.where(distance < 1e-13, 0.0, distance)}
    return pd.DataFrame(rows | {"attained": path.attained[:, prompt]})


def _kl(optimal: Any, policy: Any) -> Any:
    return kl(np.log(optimal), np.log(policy))


def _once(notes: Iterable[str]) -> list[str]:
    return [note for note in dict.fromkeys(notes) if note]
