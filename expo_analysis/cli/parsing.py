"""What several commands read alike: lambdas, losses and their options, policies, rewards.

It imports what it parses into, so commands import it when they run, and not for their help.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..bandit import Bandit
from ..bandit.features import NamedFeatures, read_features
from ..bandit.files import NamedBandit, read_named_bandits
from ..bandit.formats import ending
from ..losses import AOT, CATALOGUE, QPO, Objective
from ..losses.catalogue import of_lambda_alone, required_options
from ..own_loss import make_loss

MAX_RANGE = 100_000
"""The most lambdas that one range may ask for."""


def parse_lams(texts: list[str]) -> list[float]:
    """The lambdas of every ``--lam``, in the order given."""
    lams: list[float] = []
    for text in texts:
        ends, count = [0.0], 1
        try:
            match text.split(":"):
                case [value]:
                    ends = [float(value)]
                case [start, stop, number]:
                    ends, count = [float(start), float(stop)], int(number)
        except ValueError:
            ends = [0.0]
        if not all(0 < end < np.inf for end in ends):
            raise ValueError(f"lam must be a positive finite number, or a range such as 1e-3:1e3:13; got {text!r}")
        if len(ends) == 2 and not 2 <= count <= MAX_RANGE:
            raise ValueError(f"lam must be a range of 2 to {MAX_RANGE} values, got {text!r}")
        lams += np.geomspace(ends[0], ends[-1], count).tolist()
    return lams


def parse_loss(text: str, lam: float, options: list[str], beta_name: str | None = None) -> Objective:
    """A loss of the catalogue by its name, or the user's own by ``FILE.py:NAME``, with its ``name=value`` options.

    ``beta_name``: what a function calls lambda, where it has no name that says so.
    """
    if text == QPO.name:
        raise ValueError("qpo is made of two Python functions, psi and mu: use ea.QPO(lam, psi, mu) in Python")
    if text == AOT.name:
        raise ValueError("aot couples the pairs of a batch, and has no optimum over weighted pairs")
    given = parse_options(options)
    for needed in required_options(CATALOGUE[text]) if text in CATALOGUE else []:
        if needed not in given:
            raise ValueError(f"{text} needs --option {needed}=VALUE")
    return make_loss(text, lam, beta_name=beta_name, **given)


def beta_names(names: list[str], beta_name: str | None) -> dict[str, str | None]:
    """The ``beta_name`` of each of several losses: losses of the catalogue have none.

    Raises:
        ValueError: there is none that it could belong to.
    """
    if beta_name is not None and not any(":" in name for name in names):
        raise ValueError("--beta-name is not used: it belongs to a function of your own, such as FILE.py:NAME")
    return {name: beta_name if ":" in name else None for name in names}


def audited() -> dict[str, Objective]:
    """The losses of ``audit --all``: those of the catalogue that need nothing but lambda."""
    return of_lambda_alone(1.0)


def parse_losses(
    names: list[str], everything: bool, options: list[str], beta_name: str | None = None
) -> dict[str, Objective | Exception]:
    """What to audit, by its label: a loss's own name, also for one of the user's.

    Where a user's file is wrong, the exception stands for the loss, under what was asked for: the others can go on.
    """
    if not names and not everything:
        raise ValueError("name a loss, or --all for the whole catalogue")
    if options and (everything or len(names) > 1):
        raise ValueError("--option belongs to one loss: name that loss alone")
    own_beta = beta_names(names, beta_name)
    objectives: dict[str, Objective | Exception] = dict(audited()) if everything else {}
    seen = set(objectives)
    for name in names:
        if name in seen:
            raise ValueError(f"{name} is given twice" if names.count(name) > 1 else f"{name} is among --all already")
        seen.add(name)
        label, found = name, _loss_or_error(name, options, own_beta[name])
        if ":" in name and isinstance(found, Objective):
            label = found.name if found.name not in {*objectives, *names} else f"{found.name} ({name})"
        objectives[label] = found
    failed = [outcome for outcome in objectives.values() if isinstance(outcome, Exception)]
    if len(failed) == len(objectives):
        raise ValueError("; ".join(map(str, failed)))
    return objectives


def _loss_or_error(name: str, options: list[str], beta_name: str | None) -> Objective | Exception:
    if ":" not in name:
        return parse_loss(name, 1.0, options, beta_name)
    given = parse_options(options)  # what is wrong with these is not the file's fault
    try:
        return make_loss(name, 1.0, beta_name=beta_name, **given)
    except ValueError as error:
        return error


def parse_options(texts: list[str]) -> dict[str, Any]:
    """The options of a loss, from every ``name=value``."""
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ValueError(f"option must be NAME=VALUE such as label_smoothing=0.1, got {text!r}")
        if key in options:
            raise ValueError(f"option {key} is given twice")
        if key in ("lam", "name", "beta_name"):  # arguments of objective() and make_loss()
            raise ValueError(f"{key} is not an option of a loss")
        options[key] = parse_scalar(value)
    return options


def parse_scalar(text: str) -> bool | int | float | str:
    """true and false, numbers, and whatever else there is as a string."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def parse_bandit(
    reference: str | None, optimal: str | None, pairs: str | None, file: Path | None, ties: str = "half"
) -> list[NamedBandit]:
    """The bandit of ``--bandit``, or of ``--reference`` and ``--optimal``; several where prompts' responses differ."""
    if file is not None:
        if not file.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        for name, value in (("optimal", optimal), ("pairs", pairs)):
            if value is not None:
                raise ValueError(f"{name} is not used beside --bandit: put it in the file")
        if reference is None or reference == "uniform" or ending(reference) is not None:
            return read_named_bandits(file, reference, ties=ties)
        given = parse_policy("reference", reference, " (or uniform, or a .csv file)")
        return read_named_bandits(file, given, ties=ties)
    if reference is None or optimal is None:
        raise ValueError("give both --reference and --optimal, or --bandit FILE")
    if pairs not in (None, "uniform", "reference"):
        raise ValueError(f"pairs must be 'uniform' or 'reference' here (a matrix goes in a file), got {pairs!r}")
    policies = [np.array(parse_policy(*both)) for both in (("reference", reference), ("optimal", optimal))]
    return [NamedBandit(Bandit(policies[0], policies[1], pairs or "uniform"))]


def parse_features(file: Path | None, problems: list[NamedBandit]) -> NamedFeatures | None:
    """The features of ``--features``."""
    if file is None:
        return None
    if len(problems) > 1:
        raise ValueError("--features needs a bandit whose prompts have the same responses")
    return read_features(file, problems[0])


def parse_policy(name: str, text: str, also: str = "") -> list[float]:
    """Probabilities separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{name} must be numbers separated by commas{also}, such as 0.4,0.4,0.2; got {text!r}"
        ) from None
