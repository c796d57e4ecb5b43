"""Metamorphic tests: every loss of the catalogue passes those that it has; planted faults are named with numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import expo_analysis as ea
from expo_analysis.testing import INVARIANCES, assert_invariant, assert_sound
from expo_analysis.testing.invariance import ALWAYS, SHIFT

from .museum import bco, dpo, kto, mean_over_batch, mean_over_tokens, summed_by_lengths

CATALOGUE = {name: cls(1.0) for name, cls in ea.CATALOGUE.items() if name not in ("qpo", "aot", "rlhf")}


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_has_what_it_must_have(name: str) -> None:
    assert_invariant(CATALOGUE[name])


@pytest.mark.parametrize(
    ("loss", "holds", "breaks"),
    [
        (dpo, "shift shift_with_reference", ""),
        (ea.IPO(1.0), "shift shift_with_reference", ""),
        (kto, "shift_with_reference", "shift"),
        (bco, "shift_with_reference", "shift"),
        (ea.ChiPO(1.0), "shift_with_reference", "shift"),
        (ea.EXPO(1.0), "shift", ""),
        (ea.SFT(1.0), "", "shift shift_with_reference"),
        (ea.CPO(1.0), "", "shift"),
        (ea.FDPO(1.0, ea.ForwardKL()), "f_constant shift_with_reference", "shift"),
    ],
)
def test_shifts_tell_what_a_loss_is_a_function_of(loss, holds, breaks) -> None:
    assert_invariant(loss, *holds.split())
    for name in breaks.split():
        with pytest.raises(AssertionError, match=rf"changes it: at lam = .* before and .* after \({name}\)$"):
            assert_invariant(loss, name)


def test_the_numbers_of_a_failure_are_the_losses() -> None:
    with pytest.raises(AssertionError) as told:
        assert_invariant(ea.SFT(1.0), "shift")
    words = str(told.value)
    logp = float(words.partition("logp_w = ")[2].partition(",")[0])
    before = float(words.partition(" has ")[2].partition(" ")[0])
    after = float(words.partition("before and ")[2].partition(" ")[0])
    assert before == pytest.approx(-logp, rel=1e-3) and after == pytest.approx(before - SHIFT, rel=1e-8)


def sum_over_batch(chosen_logps, rejected_logps):
    return F.softplus(rejected_logps - chosen_logps).sum()


def test_batches_of_functions_that_reduce() -> None:
    for right in (
        mean_over_batch,
        lambda chosen_logps, rejected_logps: F.softplus(rejected_logps - chosen_logps).sum(),
    ):
        assert_invariant(right)
    with pytest.raises(AssertionError, match=r"computing each pair alone changes it: .* a batch has .*\(batch_size\)$"):
        assert_invariant(mean_over_tokens)
    with pytest.raises(AssertionError, match=r"mean_over_tokens is not sound: computing each pair alone changes it"):
        assert_sound(mean_over_tokens)


def first_counts_twice(chosen_logps, rejected_logps):
    losses = F.softplus(rejected_logps - chosen_logps)
    return (losses.sum() + losses[0]) / (len(losses) + 1)


def middle(chosen_logps, rejected_logps):
    return F.softplus(rejected_logps - chosen_logps).median()


def by_place(chosen_logps, rejected_logps):
    return F.softplus(rejected_logps - chosen_logps) * torch.linspace(1, 2, len(chosen_logps), dtype=chosen_logps.dtype)


def by_largest(chosen_logps, rejected_logps):
    gaps = rejected_logps - chosen_logps
    return F.softplus(gaps) / (1 + chosen_logps.max())


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (summed_by_lengths, "batch_size duplicates padding"),
        (first_counts_twice, "batch_size order"),
        (middle, "batch_size"),
        (by_place, "batch_size order duplicates padding"),
        (by_largest, "batch_size padding"),
    ],
)
def test_what_a_batch_does_to_a_pair_is_named(loss, names) -> None:
    for name in ALWAYS:
        if name in names.split():
            with pytest.raises(AssertionError, match=rf"\({name}\)$"):
                assert_invariant(loss, name)
        elif name == "order" or loss is middle:
            assert_invariant(loss, name)


def labelled(logits, labels, beta):
    return F.binary_cross_entropy_with_logits(beta * logits, labels, reduction="none")


def labelled_wrongly(logits, labels, beta):
    return -labels * F.logsigmoid(beta * logits)


def smoothed(chosen_logps, rejected_logps, beta, label_smoothing=0.1):
    gap = beta * (chosen_logps - rejected_logps)
    return -(1 - label_smoothing) * F.logsigmoid(gap) - label_smoothing * F.logsigmoid(-gap)


def smoothed_wrongly(chosen_logps, rejected_logps, beta, label_smoothing=0.1):
    gap = beta * (chosen_logps - rejected_logps)
    return -(1 - label_smoothing) * F.logsigmoid(gap) + label_smoothing * F.logsigmoid(gap)


def test_swapped_pairs_with_flipped_labels() -> None:
    for right in (labelled, smoothed):
        assert_invariant(right)
    for wrong in (labelled_wrongly, smoothed_wrongly):
        with pytest.raises(AssertionError, match=r"swapping the pair and flipping its label changes it: .*\(swap\)$"):
            assert_invariant(wrong)


def scores_alone(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, f_prime=torch.log):
    won, lost = (
        f_prime(torch.exp(chosen_logps - ref_chosen_logps)),
        f_prime(torch.exp(rejected_logps - ref_rejected_logps)),
    )
    return -F.logsigmoid(beta * won) - F.logsigmoid(-beta * lost)


def scores_together(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, f_prime=torch.log):
    won, lost = (
        f_prime(torch.exp(chosen_logps - ref_chosen_logps)),
        f_prime(torch.exp(rejected_logps - ref_rejected_logps)),
    )
    return -F.logsigmoid(beta * (won - lost))


def test_a_constant_of_the_derivative_must_cancel() -> None:
    """The fault of TRL #6441: f' is known up to a constant, which does not matter where scores are compared alone."""
    assert_invariant(scores_together)
    assert_invariant(ea.FDPO(1.0, ea.JensenShannon()))
    with pytest.raises(AssertionError, match=r"adding 0.7 to f' changes it: .*\(f_constant\)$"):
        assert_invariant(scores_alone)


def test_what_cannot_be_asked_is_refused() -> None:
    for name, message in (
        ("shfit", "invariances must be among batch_size, .*; got 'shfit'"),
        ("swap", "swap asks for labels, or .* which dpo does not have"),
        ("f_constant", "f_constant asks for an option that is a divergence"),
    ):
        with pytest.raises(ValueError, match=message):
            assert_invariant(ea.DPO(1.0), name)
    with pytest.raises(ValueError, match="must be a loss of single pairs"):
        assert_invariant("aot")
    assert set(ALWAYS) < set(INVARIANCES)


def test_labels_and_logits_are_read() -> None:
    """A function of the log-ratio and a label is DPO where the label says that the first response won."""
    from expo_analysis.testing import assert_equal_losses

    assert_equal_losses(labelled, ea.DPO(1.0))

    def of_ratios(pi_logratios, ref_logratios, beta):
        return -F.logsigmoid(beta * (pi_logratios - ref_logratios))

    def of_own_ratios(chosen_logratios, rejected_logratios, beta):
        return -F.logsigmoid(beta * (chosen_logratios - rejected_logratios))

    for f in (of_ratios, of_own_ratios):
        assert_equal_losses(f, ea.DPO(1.0))
