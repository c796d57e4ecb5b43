"""Uniqueness: there should be one minimiser, whatever was compared with what. [ours]"""

from __future__ import annotations

import numpy as np

from ...bandit import Bandit
from ..falsify.problems import pi_star, single
from ..subject import Subject
from ..verdict import CANNOT_TELL, FAILS, HOLDS, Counterexample, Verdict
from .flatness import Flat, on_graphs, other_minimiser

KEY = "uniqueness"


def judge(subject: Subject) -> Verdict:
    """Look for a second minimiser on connected graphs, disconnected ones, and with a response in no pair."""
    tried = proven = 0
    example: Counterexample | None = None
    where = ""
    for name, bandit, optima in on_graphs(subject):
        tried += optima.status.size
        low, high = optima.lams.min(), optima.lams.max()
        proven += int((np.isfinite(optima.bound) & (optima.status == "optimal")).sum())
        if example is None:
            suspects = np.argwhere(optima.exists & (optima.status == "not_unique"))[:3].tolist()
            if not subject.certified:
                suspects += [(k, p) for k in range(len(optima.lams)) for p in range(2) if optima.exists[k, p]]
            for k, p in suspects:
                one = single(bandit, int(p))
                flat = other_minimiser(subject, one, float(optima.lams[k]), optima.log_policies[k, p])
                if flat is not None:
                    where, example = name, shown(subject, one, flat)
                    break
    conditions = (
        "connected graphs, two components, and a response in no pair; 3 to 5 responses; "
        f"λ from {low:g} to {high:g}; {tried} problems"
    )
    evidence = {"problems": tried, "with one proven minimiser": proven}
    if example is not None:
        return Verdict(KEY, FAILS, f"several policies are minimisers ({where})", conditions, evidence, example)
    if proven == tried:
        return Verdict(KEY, HOLDS, "there is one minimiser on every comparison graph tried", conditions, evidence)
    return Verdict(
        KEY, CANNOT_TELL, "no second minimiser was found, but the minimisers are not proven", conditions, evidence
    )


def shown(subject: Subject, bandit: Bandit, flat: Flat) -> Counterexample:
    policies = [np.exp(x).tolist() for x in (flat.first, flat.second)]
    numbers = {
        "reference": bandit.reference.tolist(),
        "optimal": pi_star(bandit).tolist(),
        "pairs": bandit.pairs.tolist(),
        "lam": flat.lam,
        "policies": policies,
        "values": [flat.value, flat.other_value],
    }
    code = "\n".join(
        [
            f"import torch\n{subject.imports}",
            "",
            f"bandit = ea.Bandit({numbers['reference']}, {numbers['optimal']}, {numbers['pairs']})",
            f"lam, policies = {flat.lam!r}, torch.tensor({policies}, dtype=torch.float64)",
            f"values = ea.risk({subject.expression}, bandit, policies.log()).tolist()",
            "print(values)",
            "assert abs(values[0] - values[1]) < 1e-12 * (1 + abs(values[0]))",
        ]
    )
    apart = np.abs(np.exp(flat.first) - np.exp(flat.second)).sum()
    return Counterexample(
        f"two policies {apart:.2g} apart in 1-norm have the lowest value {flat.value:.6g} at λ = {flat.lam:g}",
        numbers,
        code,
    )
