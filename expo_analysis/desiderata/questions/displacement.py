"""Displacement: do chosen and rejected both lose probability in training? [ours; the phenomenon: arXiv 2410.08847]

One prompt with five responses, one logit each. Two pairs are compared, with Bradley-Terry preferences; the fifth
response is in none. Gradient flow, which is gradient descent with small steps, starts in pi_ref and is followed to its
end. A pair is *displaced* if there both its responses have less probability than under pi_ref: what they lost has gone
to responses that nobody compared them with. A loss passes if that never happens. A regulariser that makes the optimum
conserve the mass of every component of the comparison graph forbids it: of a pair whose sum is kept not both can fall.
On the way both may fall for a while even then, which is a number. With features that responses share, pairs are
displaced by every loss that sees pairs only; that is asked by `restricted_improvement`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import log_softmax

from ..._types import Floats, Mask
from ...bandit import Bandit
from ..falsify.problems import pi_star, single
from ..ordinary import measured, not_a_risk
from ..subject import Subject
from ..verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE, Counterexample, Verdict
from .flow import Flow, flow

KEY = "displacement"
LAMS = (1.0, 0.1)
COUNT = 24
PAIRS = ((0, 1), (2, 3))
N = 5
EVALUATIONS = 800
"""Of the gradient, for the example to be computed again."""
FALL = 0.01
"""How far, in nats of log-probability, both of a pair must fall to count."""


def problems(subject: Subject) -> Bandit:
    """Policies in hundredths, nothing below 0.02; two pairs, equally often. In half of the problems the first pair has
    its preference under pi_ref already, so that nothing pulls at it but what the others do."""
    rng = subject.rng(KEY)

    def draw(total: int, n: int) -> Floats:
        return np.asarray(2 + rng.multinomial(total - 2 * n, rng.dirichlet(np.ones(n))))

    reference, optimal = (np.stack([draw(100, N) for _ in range(COUNT)]) for _ in range(2))
    first = list(PAIRS[0])
    others = np.delete(np.arange(N), first)
    for k in range(COUNT // 2):
        left = 100 - reference[k, first].sum()
        optimal[k, first], optimal[k, others] = reference[k, first], draw(left, len(others))
    q = np.zeros((N, N))
    for i, j in PAIRS:
        q[i, j] = q[j, i] = 1.0
    return Bandit(reference / 100, optimal / 100, q)


def fallen(bandit: Bandit, log_policies: Floats) -> Floats:
    """How far both responses of a pair are below pi_ref, in nats, the worst pair; (..., P), 0 where there is none."""
    change = np.log(bandit.reference) - log_policies
    both = np.stack([np.minimum(change[..., i], change[..., j]) for i, j in PAIRS])
    return np.asarray(np.maximum(both.max(axis=0), 0.0))


def lasting(ended: Mask, falls: Floats) -> Mask:
    """Whether what both have lost last, of (S, P), is lost for good: at the flow's end, or where it still grows."""
    return np.asarray(ended | (falls[-1] >= falls[3 * len(falls) // 4 :].max(axis=0)))


def judge(subject: Subject) -> Verdict:
    """Follow the flow on random problems, at two lambdas."""
    outside = not_a_risk(subject, KEY, pairs=True)
    if outside is not None:
        return outside
    bandit = problems(subject)
    flows = [flow(subject, bandit, lam) for lam in LAMS]
    conditions = (
        f"{COUNT} problems of five responses with one logit each, two pairs and a response in none; gradient flow from "
        f"π_ref to its end; λ = {' and '.join(f'{lam:g}' for lam in LAMS)}; both count as fallen from {FALL:g} nats on"
    )
    moved = max(float(np.abs(np.exp(f.log_policies[-1]) - bandit.reference).max()) for f in flows)
    if moved < 1e-3:
        return Verdict(KEY, NOT_APPLICABLE, "training does not leave the reference", conditions)
    whole = [fallen(bandit, f.log_policies) for f in flows]
    ended, on_the_way = np.stack([f.ended for f in flows]), np.stack([falls.max(axis=0) for falls in whole])
    lasts = [lasting(f.ended, falls) for f, falls in zip(flows, whole, strict=True)]
    last = np.stack([np.where(kept, falls[-1], 0.0) for kept, falls in zip(lasts, whole, strict=True)])
    evidence = {
        "share of problems on which both of a pair have fallen at the end": float((last > FALL).mean()),
        "on the way": float((on_the_way > FALL).mean()),
        "largest fall of both, at the end (nats)": float(last.max()),
        "on the way (nats)": float(on_the_way.max()),
        "flows that came to an end": int(ended.sum()),
        "flows": ended.size,
    }
    answer = f"{(last > FALL).mean():.0%} of problems"
    if (last > FALL).any():
        order = np.argsort(-last, axis=None)[:3]
        seen = [
            (int(k), int(p)) for k, p in zip(*np.unravel_index(order, last.shape), strict=True) if last[k, p] > FALL
        ]
        calls = itertools.count()  # for all attempts together
        shown = (_shown(subject, bandit, p, LAMS[k], flows[k], calls) for k, p in seen)
        example = next((x for x in shown if x is not None), None)
        if example is None:
            why = "both of a pair seem to fall, which another integrator did not confirm"
            return Verdict(KEY, CANNOT_TELL, why, conditions, evidence, answer=answer)
        summary = "training can take probability from both responses of a pair"
        size = measured("nats", last, least=FALL, of="problems with two pairs and a response in none")
        return Verdict(KEY, FAILS, summary, conditions, evidence, example, severity=size, answer=answer)
    if ended.mean() < 0.9:
        why = "no pair was displaced, but the flow did not come to an end in the steps that it had"
        return Verdict(KEY, CANNOT_TELL, why, conditions, evidence, answer=answer)
    summary = "where training ends, no pair has lost probability on both sides"
    return Verdict(KEY, HOLDS, summary, conditions, evidence, answer="never")


def _shown(
    subject: Subject, bandit: Bandit, p: int, lam: float, found: Flow, calls: Iterator[int]
) -> Counterexample | None:
    """One problem, its flow computed again by scipy's LSODA up to a time by which both have fallen."""
    falls = fallen(bandit, found.log_policies)[:, p]
    # as soon as both have fallen by half of what they will fall, or by one nat, and for good
    later = np.flatnonzero(falls < min(0.5 * falls[-1], 1.0))
    until = float(f"{found.times[min(int(later[-1]) + 1 if len(later) else 1, len(falls) - 1), p]:.3g}")
    one = single(bandit, p)

    def slope(_: float, theta: Floats) -> Floats:
        if next(calls) > EVALUATIONS:
            raise TimeoutError("the flow is too stiff for this integrator")
        return -subject.gradient(one, lam, theta)

    try:
        end = solve_ivp(slope, (0.0, until), np.log(one.reference), method="LSODA", rtol=1e-6, atol=1e-9)
    except Exception:  # of the integrator's, or of a loss of somebody's own
        return None
    log_policy = log_softmax(end.y[:, -1])
    fall = float(fallen(one, log_policy))
    if not (end.success and fall > FALL):
        return None
    policy = np.exp(log_policy)
    reference, optimal, pairs = (x.tolist() for x in (one.reference, pi_star(one), one.pairs))
    pair = min(PAIRS, key=lambda pair: max(policy[k] / one.reference[k] for k in pair))
    code = "\n".join(
        [
            f"import torch\n{subject.imports}\nfrom scipy.integrate import solve_ivp",
            "",
            f"bandit = ea.Bandit({reference}, {optimal}, {pairs})",
            f"lam, pair = {lam!r}, {list(pair)}",
            f"loss = {subject.expression}",
            "",
            "",
            "def flow(_, theta):",
            "    theta = torch.tensor(theta, requires_grad=True)",
            "    ea.risk(loss, bandit, theta.log_softmax(-1)).backward()",
            "    return -theta.grad.numpy()",
            "",
            "",
            f"end = solve_ivp(flow, (0, {until!r}), np.log(bandit.reference), method='LSODA', rtol=1e-6, atol=1e-9)",
            "policy = np.exp(end.y[:, -1]) / np.exp(end.y[:, -1]).sum()",
            "print(bandit.reference[pair], '->', policy[pair])",
            "assert (policy[pair] < 0.995 * bandit.reference[pair]).all()",
        ]
    )
    before, after = ([round(float(x[k]), 4) for k in pair] for x in (one.reference, policy))
    numbers = {
        "reference": reference,
        "optimal": optimal,
        "pairs": pairs,
        "lam": lam,
        "time": until,
        "pair": list(pair),
        "policy": policy.tolist(),
        "both fall by (nats)": fall,
    }
    statement = f"training takes the probabilities of a pair from {before} to {after} (λ = {lam:g})"
    return Counterexample(statement, numbers, code)
