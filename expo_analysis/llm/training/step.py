r"""What a batch's loss is: forward pass, reference, estimator, losses. Plain functions, which no trainer is needed for.

    loss of a pair = sum_k w_k objective_k.loss(log pi_w, log pi_l, log pi_ref,w, log pi_ref,l)  +  lam * regulariser

the very objectives that `expo_analysis.solve` solves. What stands for a pair where the data have none is in `links`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.feedback import Feedback
from .aggregation import TOKEN_MEAN, aggregate, scale, shared_length_weights
from .checks import arguments_of, labels_of
from .collator import ROWS, with_samples
from .head import Ask, Way
from .links import Links, feedback_in
from .metrics import LIKELIHOOD, BatchValues, Ratio, batch_metrics
from .objectives import Mixture
from .preference import preference_losses
from .regulariser import TOKEN_WISE, TokenDivergence, per_response
from .scores import Reference

Batch = dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """Everything that decides about a batch's loss, but for the models.

    mixture         what is minimised
    estimator       of the explicit regulariser, one of `ESTIMATORS`, or None where there is none
    on_samples      whether token-wise estimators go along reference samples instead of the pair's responses
    ld_alpha        weight of tokens beyond the length that both responses have (LD-DPO), or None
    use_weighting   whether pairs are weighted by their probability under the policy (WPO)
    chunk           how many tokens have their logits in memory at a time
    router_coef     weight of the load-balancing loss of a mixture of experts; 0 where there is none
    pad_token_id    what fills up shorter sequences; known, as the former, once the model is
    """

    mixture: Mixture
    estimator: str | None
    on_samples: bool
    ld_alpha: float | None
    use_weighting: bool
    chunk: int
    router_coef: float = 0.0
    pad_token_id: int = 0

    @property
    def token_wise(self) -> bool:
        return self.estimator in TOKEN_WISE

    @property
    def uses_samples(self) -> bool:
        """Whether a batch must have samples of the reference."""
        return self.estimator == "reference_samples" or self.on_samples

    def links(self, batch: Batch) -> Links:
        """Which responses of a batch are compared."""
        return Links.of_batch(batch, scored=self.mixture.reads_rewards)

    @property
    def reads_reference(self) -> bool:
        """Whether the loss, or its regulariser, reads the reference's log-probabilities."""
        return self.mixture.needs_reference or self.token_wise


@dataclass(frozen=True)
class StepResult:
    """What a batch of B examples that count, such as pairs, gives.

    preference      (B,): the sum over terms, with their weights and those of the pairs
    regulariser     (B,) or None, weighted alike, not multiplied by lambda
    likelihood      of terms that are means over all tokens: weight times the sum of -log pi over tokens, and how many
    aux_loss        of the router, a mean over the batch's tokens, or None
    values          what metrics are made of
    links           of the whole batch, with examples that do not count
    logps           log pi and, where it is known, log pi_ref of all of its responses, summed over tokens: (R,)
    """

    preference: Tensor
    regulariser: Tensor | None
    likelihood: tuple[Tensor, Tensor] | None
    aux_loss: Tensor | None
    values: BatchValues
    links: Links
    logps: dict[str, Tensor]

    def pairs(self, strength: float) -> Tensor:
        """The loss of each pair, (B,), with the regulariser times its strength."""
        return self.preference if self.regulariser is None else self.preference + strength * self.regulariser

    def loss(self, strength: float, router_coef: float, totals: Any = None) -> Tensor:
        """The part of a step's loss that these pairs have, or the mean over them where there are no `StepTotals`."""
        each = self.pairs(strength)
        count = max(len(each), 1) if totals is None else totals.pairs
        loss = each.sum() / count
        if self.likelihood is not None:
            loss = loss + self.likelihood[0] / (self.likelihood[1].clamp(min=1) if totals is None else totals.tokens)
        return loss if self.aux_loss is None else loss + router_coef * self.aux_loss * len(each) / count

    def metrics(self) -> dict[str, Ratio]:
        """All metrics, each as a numerator and a denominator."""
        found = batch_metrics(self.values)
        if self.likelihood is not None:
            found[LIKELIHOOD] = (self.likelihood[0].detach(), self.likelihood[1])
        if self.aux_loss is not None:
            pairs = torch.tensor(len(self.preference), device=self.aux_loss.device)
            found["aux_loss"] = (self.aux_loss.detach() * pairs, pairs)
        return found

    def predictions(self) -> dict[str, Tensor]:
        """log-probabilities of every example's responses, (B',) each or (B', K) of lists, by name."""
        return {
            f"{who}_{side}_logps": values.detach()
            for who, logps in self.logps.items()
            for side, values in self.links.by_side(logps).items()
        }


def plain_rows(batch: Batch) -> Batch:
    """The rows of all responses."""
    return {name: batch[name] for name in ROWS}


def rows_of(rules: Rules, batch: Batch) -> Batch:
    """The rows of the forward pass: responses, and samples of the reference where they are used."""
    return plain_rows(with_samples(batch, rules.pad_token_id) if rules.uses_samples else batch)


def token_outputs(model: Any, rows: Batch, ask: Ask) -> dict[str, Tensor]:
    """What a model says of every token of the responses, each of shape (rows, positions - 1)."""
    labels = labels_of(rows)
    found = model(**arguments_of(rows), labels=labels, ask=ask)
    # adapters of prompts put virtual tokens in front
    return {name: value[:, -labels.shape[1] + 1 :] if value.ndim == 2 else value for name, value in found.items()}


def reference_states(model: Any, rows: Batch, way: Way, copy_head: bool) -> Reference:
    """What gives the reference's distributions at all tokens of the responses."""
    ask = Ask(way, as_reference=True, copy_head=copy_head)
    found: Reference = model(**arguments_of(rows), labels=labels_of(rows), ask=ask)
    return found


def sequence_logps(log_probs: Tensor, mask: Tensor, ld_alpha: float | None) -> Tensor:
    """log pi of responses (R,), summed over their tokens, or with LD-DPO's weights."""
    if ld_alpha is not None:
        log_probs = log_probs * shared_length_weights(mask, ld_alpha)
    return aggregate(log_probs, mask, "sum")


def policy_ask(rules: Rules, way: Way, reference: Reference | None) -> Ask:
    divergence = None
    if reference is not None:
        assert rules.mixture.regulariser is not None
        divergence = TokenDivergence(rules.mixture.regulariser)
    return Ask(way, rules.chunk, reference=reference, divergence=divergence, router=rules.router_coef != 0)


def batch_losses(
    rules: Rules,
    model: Any,
    batch: Batch,
    way: Way,
    reference: Reference | None = None,
    ref_logps: Callable[[], Tensor] | None = None,
) -> StepResult:
    """Loss and metrics of a batch of `PreferenceCollator`, neither reduced over pairs nor over processes.

    Args:
        model: the policy, wrapped or not, after `head.add_scores`.
        way: how its logits are made.
        reference: where the regulariser is token-wise.
        ref_logps: gives log pi_ref of all responses, (R,), or None where nothing reads it.
    """
    everyone, responses = rules.links(batch), slice(0, len(batch["input_ids"]))
    keep = batch["counted"].nonzero()[:, 0] if "counted" in batch else torch.arange(everyone.examples)
    rows = rows_of(rules, batch)
    outputs = token_outputs(model, rows, policy_ask(rules, way, reference))
    device = outputs["log_probs"].device
    keep, mask = keep.to(device), rows["completion_mask"][:, 1:].to(device) == 1
    everyone = everyone.to(device)
    links, lengths = everyone.only(keep), mask[responses].sum(dim=1)
    sums = sequence_logps(outputs["log_probs"][responses], mask[responses], rules.ld_alpha)
    whole = sums if rules.ld_alpha is None else aggregate(outputs["log_probs"][responses], mask[responses], "sum")
    ref_sums = None if ref_logps is None else ref_logps().to(sums)

    weights = _weights(rules, batch, outputs, mask[responses], everyone)[:, keep]
    losses, likelihood = preference_losses(
        rules.mixture, everyone, keep, sums, ref_sums, lengths, batch, weights[0], whole
    )
    regulariser, token_kls = _regulariser(rules, outputs, mask, everyone, keep)
    how = next((term.aggregation for term in rules.mixture.terms if term.aggregation != TOKEN_MEAN), "sum")
    values = BatchValues(
        links=links,
        losses=(weights.prod(dim=0) * losses).detach(),
        regulariser=None if regulariser is None else (weights[0] * regulariser).detach(),
        logps=scale(sums, lengths, how).detach(),
        ref_logps=None if ref_sums is None else scale(ref_sums, lengths, how),
        reads_reference=rules.mixture.needs_reference,
        lam=rules.mixture.objective.lam,
        sequence_logps=whole.detach(),
        sequence_ref_logps=ref_sums if rules.ld_alpha is None else None,
        lengths=lengths,
        mask=mask[responses],
        token_kls=token_kls,
        **{name: outputs[name][responses].detach() for name in ("entropy", "mean_logits", "is_top1")},
    )
    return StepResult(
        preference=weights.prod(dim=0) * losses,
        regulariser=None if regulariser is None else weights[0] * regulariser,
        likelihood=likelihood,
        aux_loss=outputs.get("aux_loss"),
        values=values,
        links=everyone,
        logps={"policy": sums} if ref_sums is None else {"policy": sums, "reference": ref_sums},
    )


def _weights(rules: Rules, batch: Batch, outputs: dict[str, Tensor], mask: Tensor, links: Links) -> Tensor:
    """Two weights of each example, (2, B): of the data's column, and of a pair's own probability (WPO).

    WPO: pi(y|x)^(1/|y|) of both responses, each token's probability relative to its distribution's sum of squares.
    Source: Zhou et al. 2024, "WPO" (arXiv 2406.11827), eq. 2.
    """
    log_probs = outputs["log_probs"][: len(mask)].detach()
    data = log_probs.new_ones(links.examples)
    if "weight" in batch:
        data = torch.tensor(batch["weight"], dtype=data.dtype, device=data.device)
    if not rules.use_weighting:
        return torch.stack([data, torch.ones_like(data)])
    aligned = aggregate(log_probs - outputs["log_sum_squares"][: len(mask)], mask, "mean")
    return torch.stack([data, aligned[links.ends[:2]].sum(dim=0).exp()])


def _regulariser(
    rules: Rules, outputs: dict[str, Tensor], mask: Tensor, everyone: Links, keep: Tensor
) -> tuple[Tensor | None, tuple[Tensor | None, Tensor, Tensor] | None]:
    """The estimate for each example that counts, (B,), and sums of token-wise KLs for the metrics."""
    if rules.estimator is None:
        return None, None
    links, count = everyone.only(keep), len(everyone.rows)
    how = next(term.aggregation for term in rules.mixture.terms if term.objective.regulariser is not None)
    # rows of the prefixes along which it is estimated: an example's own responses, or its samples
    prefixes = slice(count, None) if rules.uses_samples else slice(0, count)

    def of_those_that_count(values: Tensor) -> Tensor:
        samples = values.view(everyone.examples, -1)[keep] if rules.uses_samples else values[links.rows]
        return samples.flatten()

    def mean(values: Tensor) -> Tensor:
        return values.view(everyone.examples, -1)[keep].mean(dim=1) if rules.uses_samples else links.mean_of(values)

    read = "divergence" if rules.token_wise else "log_probs"
    own = aggregate(outputs[read][prefixes], mask[prefixes], how)
    token_kls = None
    if rules.token_wise:
        forward, reverse = (
            of_those_that_count(aggregate(outputs[name][prefixes].detach(), mask[prefixes], "sum"))
            for name in ("divergence", "reverse_kl")
        )
        lengths = of_those_that_count(mask[prefixes].sum(dim=1))
        token_kls = (forward if rules.estimator == "token_kl" else None, reverse, lengths)
    return mean(per_response(rules.estimator, own)), token_kls


def has_ref_logps(batch: Batch) -> bool:
    """Whether log pi_ref came with the data."""
    return feedback_in(batch).ref_columns[0] in batch


def stored_ref_logps(batch: Batch, device: torch.device) -> Tensor:
    """log pi_ref that came with the data, (R,)."""
    kind = feedback_in(batch)
    columns = [torch.tensor(x, dtype=torch.float64) for name in kind.ref_columns for x in _parts(kind, batch[name])]
    return torch.cat(columns).to(device)


def _parts(kind: Feedback, values: list[Any]) -> list[Any]:
    return values if kind.listed else [values]
