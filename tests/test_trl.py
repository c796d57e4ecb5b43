"""The losses of TRL 1.16's DPO trainer, computed by TRL itself, against ours: values and gradients.

`DPOTrainer._compute_loss` is called on a model that returns chosen log-probabilities. What is left out is the trainer's
constructor, which needs a tokenizer and a data set and only copies its settings to the attributes set here.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything of huggingface is imported
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import importlib.util
import math
import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.losses.trl import TRL_DIVERGENCES, TRL_LOSSES, TRL_SMOOTHED

if importlib.util.find_spec("trl") is None:
    pytest.skip("trl is not installed: pip install -c constraints.txt '.[test]'", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import trl
    from trl import DPOConfig, DPOTrainer

DEFAULTS = {field.name: field.default for field in DPOConfig.__dataclass_fields__.values()}
SETTINGS = ("f_divergence_type", "f_alpha_divergence_coef", "label_smoothing", "discopop_tau", "beta")
LINKED = {"sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop"}
"""The loss types whose f_divergence_type TRL reads."""


class FixedModel:
    """A causal language model, as far as the trainer can tell, with these log-probabilities of completion tokens."""

    def __init__(self, log_probs: torch.Tensor) -> None:
        self.log_probs = log_probs

    def __call__(self, **kwargs: Any) -> SimpleNamespace:
        assert kwargs["labels"].shape == (len(self.log_probs), self.log_probs.shape[1] + 1)
        nothing = torch.zeros_like(self.log_probs)
        return SimpleNamespace(
            log_probs=self.log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), aux_loss=None
        )


def by_trl(
    loss_type: str,
    tokens_w: torch.Tensor,
    tokens_l: torch.Tensor,
    ref_w: torch.Tensor,
    ref_l: torch.Tensor,
    lengths: tuple[Any, Any] | None = None,
    **settings: Any,
) -> torch.Tensor:
    """TRL's loss of a batch: token log-probabilities (B, T) of winners and losers, sums (B,) under the reference."""
    assert set(settings) <= set(SETTINGS)
    given = {name: settings.get(name, DEFAULTS[name]) for name in SETTINGS}
    trainer = object.__new__(DPOTrainer)
    trainer.model = SimpleNamespace(training=False)
    trainer.accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
    )
    trainer.args = SimpleNamespace(discopop_tau=given["discopop_tau"])
    trainer.loss_types, trainer.loss_weights = [loss_type], [1.0]
    for name in ("beta", "label_smoothing", "f_divergence_type", "f_alpha_divergence_coef"):
        setattr(trainer, name, given[name])
    trainer.aux_loss_enabled, trainer.use_weighting, trainer.ld_alpha = False, False, None
    trainer.precompute_ref_logps, trainer.ref_model = True, None
    trainer._metrics = defaultdict(lambda: defaultdict(list))
    trainer._total_train_tokens, trainer._tp_size = 0, 1

    batch, longest = tokens_w.shape
    present = torch.ones(2 * batch, longest, dtype=torch.long)
    if lengths is not None:
        present = (torch.arange(longest) < torch.tensor([*lengths[0], *lengths[1]])[:, None]).long()
    mask = torch.cat([torch.zeros(2 * batch, 1, dtype=torch.long), present], dim=1)  # one token of prompt
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": ref_w,
        "ref_rejected_logps": ref_l,
    }
    model = FixedModel(torch.cat([tokens_w, tokens_l]) * present)
    return trainer._compute_loss(model, inputs, return_outputs=False)


def log_probs(count: int, dtype: torch.dtype, seed: int = 0, scale: float = 3.0) -> list[torch.Tensor]:
    """Winner, loser, and both under the reference: (count,) each, at random."""
    rng = np.random.default_rng(seed)
    return [torch.tensor(-rng.exponential(scale, size=count), dtype=dtype) for _ in range(4)]


def values_and_slopes(function: Any, logs: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """function(winner, loser, ref_winner, ref_loser) summed, and its gradients in the first two."""
    policy = [x.clone().requires_grad_(True) for x in logs[:2]]
    value = function(*policy, *logs[2:])
    slopes = torch.autograd.grad(value.sum(), policy, allow_unused=True)
    slopes = [torch.zeros_like(x) if slope is None else slope for slope, x in zip(slopes, policy, strict=True)]
    return value.detach().numpy(), np.stack([slope.numpy() for slope in slopes])


def trl_pair_by_pair(loss_type: str, settings: dict[str, Any]) -> Any:
    """A function of (B,) log-probabilities that calls TRL on batches of one pair of one-token responses."""

    def function(*logs: torch.Tensor) -> torch.Tensor:
        singles = zip(*logs, strict=True)
        return torch.stack(
            [by_trl(loss_type, w.view(1, 1), y.view(1, 1), r.view(1), s.view(1), **settings) for w, y, r, s in singles]
        )

    return function


COMBINATIONS: dict[str, tuple[str, dict[str, Any]]] = {}
for _loss in TRL_LOSSES:
    for _divergence in TRL_DIVERGENCES if _loss in LINKED else ("reverse_kl",):
        _given: dict[str, Any] = {"f_divergence_type": _divergence}
        if _loss in TRL_SMOOTHED:
            _given["label_smoothing"] = 0.125
        COMBINATIONS["-".join([_loss, _divergence] if _loss in LINKED else [_loss])] = (_loss, _given)
COMBINATIONS |= {
    "sigmoid-alpha of 0.2": ("sigmoid", {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.2}),
    "sigmoid-alpha of -1": ("sigmoid", {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": -1.0}),
    "sigmoid-alpha of 1": ("sigmoid", {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 1.0}),
    "robust without smoothing": ("robust", {}),
    "exo_pair at the paper's smoothing": ("exo_pair", {"label_smoothing": 1e-3}),
    "discopop, wide": ("discopop", {"discopop_tau": 0.5}),
}


def clamped(settings: dict[str, Any]) -> bool:
    """Whether TRL clamps an exponent; see test_alpha_divergence_is_clamped."""
    return (
        settings.get("f_divergence_type") == "alpha_divergence" and settings.get("f_alpha_divergence_coef", 0.5) != 1.0
    )


def ours(loss_type: str, beta: float, settings: dict[str, Any]) -> ea.PairObjective:
    return ea.from_trl(loss_type, beta, **settings)


# ---------------------------------------------------------------------------------------------------- equality


def test_this_is_the_trl_that_was_read() -> None:
    assert trl.__version__.split(".")[:2] == ["1", "16"], (
        f"these losses were compared with trl 1.16, and this is {trl.__version__}: read its _compute_loss again"
    )


def test_all_its_losses_are_here() -> None:
    """The names are those of its own message for a name that it does not know, and of its configuration."""
    with pytest.raises(ValueError, match="Unknown loss type") as error:
        by_trl("none", *[torch.zeros(1, 1)] * 2, *[torch.zeros(1)] * 2)
    listed = str(error.value).split("[")[1].split("]")[0]
    assert [name.strip(" '") for name in listed.split(",")] == list(TRL_LOSSES)
    for name in TRL_DIVERGENCES:
        assert f"`{name}`" in DPOConfig.__doc__


RUNS = {
    f"{name}-{dtype}": (*combination, dtype)
    for name, combination in COMBINATIONS.items()
    for dtype in (torch.float64, torch.float32)
    if not (combination[0].startswith("aot") or (dtype == torch.float64 and clamped(combination[1])))
}
"""Losses of batches, and what TRL does not run in float64, have their own tests."""


@pytest.mark.parametrize("beta", [0.1, 1.5])
@pytest.mark.parametrize(("loss_type", "settings", "dtype"), RUNS.values(), ids=RUNS)
def test_values_and_gradients(loss_type: str, settings: dict[str, Any], dtype: torch.dtype, beta: float) -> None:
    """Pair by pair, which is TRL's loss on batches of one."""
    logs = log_probs(40, dtype, scale=0.7 if loss_type == "discopop" else 3.0)  # where TRL's does not overflow
    theirs = values_and_slopes(trl_pair_by_pair(loss_type, {**settings, "beta": beta}), logs)
    mine = values_and_slopes(ours(loss_type, beta, settings).loss, logs)
    # in exo_pair the logarithms of the smoothed label are float32, whatever the inputs are
    tolerance = 1e-10 if dtype == torch.float64 and loss_type != "exo_pair" else 1e-5
    for a, b in zip(mine, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.125}], ids=["plain", "smoothed"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("loss_type", ["aot", "aot_unpaired"])
def test_aot_on_batches(loss_type: str, dtype: torch.dtype, settings: dict[str, Any]) -> None:
    logs = log_probs(17, dtype)

    def theirs(w: torch.Tensor, y: torch.Tensor, r: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return by_trl(loss_type, w[:, None], y[:, None], r, s, beta=0.7, **settings)

    objective = ours(loss_type, 0.7, settings)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    for a, b in zip(
        values_and_slopes(lambda *x: objective.loss(*x).mean(), logs), values_and_slopes(theirs, logs), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    one_by_one = values_and_slopes(trl_pair_by_pair(loss_type, {**settings, "beta": 0.7}), logs)[0].mean()
    assert abs(one_by_one - values_and_slopes(theirs, logs)[0]) > 1e-3  # so sorting matters here


@pytest.mark.parametrize("loss_type", sorted(set(TRL_LOSSES) - {"aot", "aot_unpaired"}))
def test_a_batch_is_the_mean_of_its_pairs(loss_type: str) -> None:
    settings = {"label_smoothing": 0.125} if loss_type in TRL_SMOOTHED else {}
    logs = log_probs(9, torch.float64, seed=1)
    w, y, r, s = logs
    theirs = by_trl(loss_type, w[:, None], y[:, None], r, s, beta=0.3, **settings)
    mine = ours(loss_type, 0.3, settings).loss(*logs).mean()
    assert float(mine) == pytest.approx(float(theirs), rel=1e-7 if loss_type == "exo_pair" else 1e-12)


# ---------------------------------------------------------------------------------------------------- differences


def test_sigmoid_ignores_label_smoothing() -> None:
    """Conservative DPO is no loss type of TRL; smoothing with the others that do not read it changes nothing either."""
    logs = log_probs(5, torch.float64)
    for loss_type in sorted(set(TRL_LOSSES) - set(TRL_SMOOTHED)):
        plain, smoothed = (
            values_and_slopes(trl_pair_by_pair(loss_type, {"label_smoothing": eps}), logs)[0] for eps in (0.0, 0.25)
        )
        assert np.array_equal(plain, smoothed), loss_type
        with pytest.raises(ValueError, match=f"label_smoothing is not used by loss_type '{loss_type}', though TRL"):
            ea.from_trl(loss_type, 0.1, label_smoothing=0.25)
    conservative = ea.DPO(0.1, label_smoothing=0.25).loss(*logs).numpy()
    sigmoid = values_and_slopes(trl_pair_by_pair("sigmoid", {"label_smoothing": 0.25}), logs)[0]
    assert np.abs(conservative - sigmoid).max() > 1e-2


def lengthy(seed: int = 0) -> tuple[list[torch.Tensor], tuple[list[int], list[int]]]:
    """Token log-probabilities (3, 6) of three pairs, reference sums (3,), and the lengths of winners and losers."""
    rng = np.random.default_rng(seed)
    lengths = ([6, 2, 3], [1, 4, 5])
    tokens = [torch.tensor(-rng.exponential(size=(3, 6))) for _ in range(2)]
    for x, counts in zip(tokens, lengths, strict=True):
        for row, count in zip(x, counts, strict=True):
            row[count:] = 0.0
    reference = [torch.tensor(-rng.exponential(3.0, size=3)) for _ in range(2)]
    return [*tokens, *reference], lengths


@pytest.mark.parametrize("loss_type", sorted(set(TRL_LOSSES) - {"sft"}))
def test_which_losses_divide_by_length(loss_type: str) -> None:
    """ipo and sigmoid_norm see averages over a response's tokens, all others sums."""
    (tokens_w, tokens_l, ref_w, ref_l), lengths = lengthy()
    settings = {"label_smoothing": 0.125} if loss_type in TRL_SMOOTHED else {}
    theirs = by_trl(loss_type, tokens_w, tokens_l, ref_w, ref_l, lengths, **settings)
    objective = ours(loss_type, DEFAULTS["beta"], settings)
    sums = [tokens_w.sum(dim=1), tokens_l.sum(dim=1), ref_w, ref_l]
    counts = [torch.tensor(x) for x in (lengths * 2)]
    means = [x / count for x, count in zip(sums, counts, strict=True)]
    from_sums, from_means = (float(objective.loss(*x).mean()) for x in (sums, means))
    expected, other = (from_means, from_sums) if loss_type in ("ipo", "sigmoid_norm") else (from_sums, from_means)
    assert float(theirs) == pytest.approx(expected, rel=1e-6 if loss_type == "exo_pair" else 1e-12)
    assert abs(float(theirs) - other) > 1e-4


def test_a_divergence_is_divided_by_length_after_it_is_taken() -> None:
    """TRL averages f'(u) of the whole response, which is not f' of the average."""
    (tokens_w, tokens_l, ref_w, ref_l), lengths = lengthy()
    counts = [torch.tensor(x) for x in lengths]
    theirs = by_trl("ipo", tokens_w, tokens_l, ref_w, ref_l, lengths, f_divergence_type="js_divergence")
    mu = ea.JensenShannon().mu
    scores = [mu(x.sum(dim=1) - r) / c for x, r, c in zip((tokens_w, tokens_l), (ref_w, ref_l), counts, strict=True)]
    nothing = torch.zeros_like(scores[0])  # IPO's square of the difference of any two scores
    ours = ea.IPO(DEFAULTS["beta"]).loss(*scores, nothing, nothing)
    assert float(theirs) == pytest.approx(float(ours.mean()), rel=1e-12)


def test_sft_averages_over_the_tokens_of_the_batch() -> None:
    """So a long winner counts more than a short one; the likelihood of the pair's winner, averaged, does not."""
    (tokens_w, tokens_l, ref_w, ref_l), lengths = lengthy()
    theirs = float(by_trl("sft", tokens_w, tokens_l, ref_w, ref_l, lengths))
    per_winner = ea.SFT(1.0).loss(tokens_w.sum(dim=1), tokens_l.sum(dim=1))
    assert theirs == pytest.approx(float(per_winner.sum()) / sum(lengths[0]), rel=1e-12)
    assert abs(theirs - float((per_winner / torch.tensor(lengths[0])).mean())) > 1e-2
    for divergence in TRL_DIVERGENCES:
        if divergence != "alpha_divergence":
            given = by_trl("sft", tokens_w, tokens_l, ref_w, ref_l, lengths, f_divergence_type=divergence)
            assert float(given) == theirs  # accepted and ignored
    with pytest.raises(ValueError, match="f_divergence_type is not used by loss_type 'sft'"):
        ea.from_trl("sft", 0.1, "forward_kl")


def test_alpha_divergence_is_clamped() -> None:
    """It does not run in float64, and beyond (alpha - 1) log u = 80 it has no gradient."""
    logs = log_probs(1, torch.float64)
    with pytest.raises(KeyError, match=r"torch\.float64"):
        trl_pair_by_pair("sigmoid", {"f_divergence_type": "alpha_divergence"})(*logs)
    far = [torch.tensor([x], dtype=torch.float32) for x in (-401.0, -1.0, -1.0, -1.0)]
    settings = {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.75, "beta": 1e-40}
    theirs = values_and_slopes(trl_pair_by_pair("sigmoid", settings), far)[1]
    settings.pop("beta")
    mine = values_and_slopes(ea.from_trl("sigmoid", 1e-40, **settings).loss, far)[1]
    assert theirs[0, 0] == 0.0
    assert mine[0, 0] < 0.0


def test_alpha_above_one_is_refused() -> None:
    """TRL runs it; our Alpha, like the f-DPO paper, does not have it."""
    logs = log_probs(1, torch.float32)
    given = {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 1.5}
    assert torch.isfinite(trl_pair_by_pair("sigmoid", given)(*logs)).all()
    with pytest.raises(ValueError, match=r"f_alpha_divergence_coef must be a number of at most 1, got 1\.5"):
        ea.from_trl("sigmoid", 0.1, **given)


FAR = {
    # settings, log-probabilities at which TRL overflows in float64
    "discopop": ("discopop", {"beta": 1.0}, (-1000.0, -1.0, -1.0, -1.0)),
    "forward_kl": ("sigmoid", {"beta": 1.0, "f_divergence_type": "forward_kl"}, (-1000.0, -1000.0, -1.0, -1.0)),
}


@pytest.mark.parametrize(("loss_type", "settings", "point"), FAR.values(), ids=FAR)
def test_where_trl_overflows(loss_type: str, settings: dict[str, Any], point: tuple[float, ...]) -> None:
    """nan from inf * 0 and from inf - inf; ours is finite there."""
    logs = [torch.tensor([x], dtype=torch.float64) for x in point]
    assert math.isnan(float(trl_pair_by_pair(loss_type, settings)(*logs)))
    options = {name: value for name, value in settings.items() if name != "beta"}
    mine = values_and_slopes(ea.from_trl(loss_type, settings["beta"], **options).loss, logs)
    assert all(np.isfinite(x).all() for x in mine)


def test_bco_has_no_reward_shift() -> None:
    """TRL's bco_pair is the paper's loss at delta = 0."""
    logs = log_probs(5, torch.float64)
    theirs = values_and_slopes(trl_pair_by_pair("bco_pair", {"beta": 0.5}), logs)[0]
    np.testing.assert_allclose(ea.BCO(0.5, reference_point=0.0).loss(*logs), theirs, rtol=1e-12)
    assert np.abs(ea.BCO(0.5, reference_point=0.3).loss(*logs).numpy() - theirs).max() > 1e-2


# ---------------------------------------------------------------------------------------------------- other trainers


def other_trainer(module: str, name: str, **attributes: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental parts announce themselves
        trainer = object.__new__(getattr(importlib.import_module(module), name))
    trainer.accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
    )
    for key, value in attributes.items():
        setattr(trainer, key, value)
    return trainer


@pytest.mark.parametrize(
    ("loss_type", "mine"), [("sigmoid", ea.BradleyTerry(0.3)), ("simpo", ea.SimPO(0.3, gamma=0.7))]
)
def test_cpo_trainer(loss_type: str, mine: ea.PairObjective) -> None:
    """Its preference terms; the likelihood beside them is a mean over tokens."""
    trainer = other_trainer(
        "trl.experimental.cpo",
        "CPOTrainer",
        loss_type=loss_type,
        alpha=0.0,
        beta=0.3,
        label_smoothing=0.0,
        simpo_gamma=0.7,
    )
    w, y, *_ = log_probs(20, torch.float64)
    np.testing.assert_allclose(mine.loss(w, y), trainer.cpo_loss(w, y)[0], rtol=1e-12)


def test_orpo_trainer() -> None:
    """The odds-ratio term, which it computes in float32 and returns with its sign left to the caller."""
    trainer = other_trainer("trl.experimental.orpo", "ORPOTrainer", beta=0.3)
    w, y, *_ = log_probs(20, torch.float64)
    odds = ea.ORPO(0.3).loss(w, y) - ea.SFT(0.3).loss(w, y)
    np.testing.assert_allclose(odds, -trainer.odds_ratio_loss(w, y)[0].double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("distance", [-0.5, 0.0, 0.8])
@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_kto_trainer(loss_type: str, distance: float) -> None:
    """A batch of a winner and a loser is the mean of two losses, ours their sum; KL estimates below 0 count as 0."""
    weights = {"desirable_weight": 1.3, "undesirable_weight": 0.6}
    objective = ea.KTO(0.3, **weights, reference_point=max(distance, 0.0) if loss_type == "kto" else 0.0)
    trainer = other_trainer(
        "trl.trainer.kto_trainer",
        "KTOTrainer",
        **weights,
        model=SimpleNamespace(training=False),
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        calculate_KL=loss_type == "kto",
        loss_type=loss_type,
        beta=0.3,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    mask = torch.tensor([[0, 1], [0, 1]])

    def by_trainer(w: torch.Tensor, y: torch.Tensor, r: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        policy = torch.stack([w, y])
        other = policy.detach() - 2.0  # of the responses that the batch's KL is estimated from
        inputs = {
            **{"input_ids": torch.zeros_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask},
            **{f"KL_{name}": mask for name in ("input_ids", "attention_mask", "completion_mask")},
            "label": torch.tensor([True, False]),
            "ref_logps": torch.stack([r, s]),
            "ref_KL_logps": other - distance,
        }
        answers = [FixedModel(other[:, None]), FixedModel(policy[:, None])] if loss_type == "kto" else []

        def model(**kwargs: Any) -> SimpleNamespace:
            return (answers.pop(0) if answers else FixedModel(policy[:, None]))(**kwargs)

        return trainer._compute_loss(model, inputs, return_outputs=False)

    logs = log_probs(10, torch.float64)
    theirs = values_and_slopes(lambda *x: torch.stack([by_trainer(*one) for one in zip(*x, strict=True)]), logs)
    for a, b in zip(values_and_slopes(objective.loss, logs), theirs, strict=True):
        np.testing.assert_allclose(a, 2 * b, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------------------------------------------- bad input


BAD_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown loss": ({"loss_type": "dpo"}, r"loss_type must be one of \['sigmoid', .*got 'dpo'"),
    "two losses": ({"loss_type": ["sigmoid", "sft"]}, r"loss_type must be one of .*several are not one loss"),
    "unknown divergence": ({"f_divergence_type": "kl"}, "f_divergence_type must be one of .*got 'kl'"),
    "divergence without difference": (
        {"loss_type": "nca_pair", "f_divergence_type": "forward_kl"},
        "f_divergence_type is not used by loss_type 'nca_pair'",
    ),
    "alpha alone": ({"f_alpha_divergence_coef": 0.5}, "f_alpha_divergence_coef is not used by f_divergence_type 'rev"),
    "alpha is text": (
        {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": "1"},
        "f_alpha_divergence_coef must be a number",
    ),
    "tau alone": ({"discopop_tau": 0.1}, "discopop_tau is not used by loss_type 'sigmoid'"),
    "exo without smoothing": ({"loss_type": "exo_pair"}, "label_smoothing must be a number in"),
    "robust beyond a half": ({"loss_type": "robust", "label_smoothing": 0.5}, "label_smoothing must be a number in"),
}


@pytest.mark.parametrize(("given", "message"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ea.from_trl(**{"loss_type": "sigmoid", "beta": 0.1, **given})
