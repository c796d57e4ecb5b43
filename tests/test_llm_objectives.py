"""Which terms are minimised, with which weights, and how log-probabilities of tokens become those of responses."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import LAM, batch_of, first_log, make, token_distributions

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer, aggregate  # isort: skip
from expo_analysis.llm.training import objectives  # isort: skip
from expo_analysis.llm.training.aggregation import scale, shared_length_weights  # isort: skip
from expo_analysis.llm.training.objectives import describe, make_mixture  # isort: skip


def log_sigmoid(x: Any) -> Any:
    return torch.nn.functional.logsigmoid(x)


def losses_of(trainer: PreferenceTrainer) -> torch.Tensor:
    return trainer.engine.losses(trainer.model, batch_of(trainer), at_start=False).preference.detach().double()


def plain(trainer: PreferenceTrainer) -> tuple[Any, Any, Any, Any, Any, Any]:
    """log pi_w, log pi_l, the same under the reference (sums), and both lengths, by plain logits."""
    batch, found = batch_of(trainer), []
    for model in (trainer.model, trainer.ref_model):
        if model is None:
            found += [None, None]
            continue
        _, of_tokens, mask = token_distributions(model, batch)
        found += [*(of_tokens * mask).sum(1).detach().chunk(2)]
    lengths = batch["completion_mask"][:, 1:].sum(1).double()
    return (*found, *lengths.chunk(2))


FORMULAS: dict[str, tuple[Any, Any]] = {
    # sums, as their papers have them
    "dpo": (ea.DPO(LAM), lambda w, y, rw, ry, nw, ny: -log_sigmoid(LAM * (w - y - rw + ry))),
    "expo": (ea.EXPO(LAM), lambda w, y, rw, ry, nw, ny: -log_sigmoid(w - y)),
    # means
    "ipo": (ea.IPO(LAM), lambda w, y, rw, ry, nw, ny: ((w - rw) / nw - (y - ry) / ny - 1 / (2 * LAM)) ** 2),
    "simpo": (ea.SimPO(LAM, gamma=0.7), lambda w, y, rw, ry, nw, ny: -log_sigmoid(LAM * (w / nw - y / ny) - 0.7)),
    "orpo": (
        ea.ORPO(LAM),
        lambda w, y, rw, ry, nw, ny: (
            -w / nw - LAM * log_sigmoid(torch.log(1 / torch.expm1(-w / nw)) - torch.log(1 / torch.expm1(-y / ny)))
        ),
    ),
    "length_normalised_dpo": (
        ea.LengthNormalisedDPO(LAM),
        lambda w, y, rw, ry, nw, ny: -log_sigmoid(LAM * ((w - rw) / nw - (y - ry) / ny)),
    ),
    "alpha_po": (
        ea.AlphaPO(LAM, alpha=0.5, gamma=0.2),
        lambda w, y, rw, ry, nw, ny: (
            -log_sigmoid(LAM * (torch.exp(-0.5 * y / ny) - torch.exp(-0.5 * w / nw)) / 0.5 - 0.2)
        ),
    ),
    "simper": (ea.SimPER(LAM), lambda w, y, rw, ry, nw, ny: torch.exp(y / ny) - torch.exp(w / nw)),
    # sums
    "dpo_shift": (
        ea.DPOShift(LAM, shift=0.5),
        lambda w, y, rw, ry, nw, ny: -log_sigmoid(LAM * (w - rw - 0.5 * (y - ry))),
    ),
    "cal_dpo": (
        ea.CalDPO(LAM),
        lambda w, y, rw, ry, nw, ny: (
            -log_sigmoid(w - rw - y + ry) + 0.5 * ((w - rw - 0.5 / LAM) ** 2 + (y - ry + 0.5 / LAM) ** 2)
        ),
    ),
    # a sum and a mean
    "cpo": (ea.CPO(LAM, alpha=0.5), lambda w, y, rw, ry, nw, ny: -log_sigmoid(LAM * (w - y)) - 0.5 * w / nw),
    "rpo": (ea.RPO(LAM, alpha=2.0), lambda w, y, rw, ry, nw, ny: -log_sigmoid(LAM * (w - y - rw + ry)) - 2 * w / nw),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_objective_as_its_paper_aggregates(name: str, tmp_path: Path) -> None:
    objective, formula = FORMULAS[name]
    needed = objective.claims.needs_reference or name == "expo"
    trainer = make(objective, tmp_path, ref_model=tiny.llama(1) if needed else None)
    expected = formula(*plain(trainer))
    torch.testing.assert_close(losses_of(trainer), expected, rtol=1e-5, atol=1e-5)
    lengths = plain(trainer)[4]
    assert len(set(lengths.tolist())) > 1  # sums and means are not proportional


@pytest.mark.parametrize("how", ["sum", "mean"])
@pytest.mark.parametrize("name", ["ipo", "simpo", "cpo", "rpo", "dpo", "length_normalised_dpo"])
def test_an_aggregation_that_is_asked_for_wins(name: str, how: str, tmp_path: Path) -> None:
    objective, _ = FORMULAS[name]
    reference = tiny.llama(1) if objective.claims.needs_reference else None
    trainer = make(objective, tmp_path, ref_model=reference, aggregation=how)
    w, y, rw, ry, nw, ny = plain(trainer)
    if how == "mean":
        w, y = w / nw, y / ny
        rw, ry = (None, None) if rw is None else (rw / nw, ry / ny)
    references = () if rw is None or not objective.claims.needs_reference else (rw, ry)
    torch.testing.assert_close(losses_of(trainer), objective.loss(w, y, *references), rtol=1e-5, atol=1e-5)
    assert trainer.mixture.notes == ()


def test_what_was_chosen_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for objective, words in (
        (ea.SimPO(LAM), "SimPO on means over tokens: so its formula has it"),
        (ea.ORPO(LAM), "ORPO on means over tokens: so its formula has it"),
        (ea.AlphaPO(LAM), "AlphaPO on means over tokens: so its formula has it"),
        (ea.SimPER(LAM), "SimPER on means over tokens: so its formula has it"),
        (ea.LengthNormalisedDPO(LAM), "LengthNormalisedDPO on means over tokens: so its formula has it"),
        (ea.IPO(LAM), "IPO on means over tokens: its authors average"),
        (ea.CPO(LAM), "CPO: its preference term sums log-probabilities over tokens, its likelihood averages them"),
        (ea.KTO(LAM), "KTO with reference_point = 0: it is not estimated from the batch"),
        (ea.BCO(LAM), "BCO with reference_point = 0"),
        (ea.EXPO(LAM), "regulariser estimated by token_kl: it leaves the reference alone"),
    ):
        caplog.clear()
        make(objective, tmp_path)
        assert sum(words in record.getMessage() for record in caplog.records) == 1, words
    caplog.clear()
    make(ea.DPO(LAM), tmp_path)
    assert not caplog.records


def test_a_formula_of_ones_own_is_not_taken_for_its_parents(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Mine(ea.CPO):
        name = "mine"

        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
            return (logp_w - logp_l) ** 2

    assert [term.aggregation for term in make_mixture(Mine(LAM), None).terms] == ["sum"]
    for kind in (ea.IPO, ea.SimPO, ea.ORPO, ea.AlphaPO, ea.SimPER, ea.LengthNormalisedDPO):
        assert [term.aggregation for term in make_mixture(kind(LAM), None).terms] == ["mean"]


@dataclass(frozen=True)
class OneMean(ea.PairObjective):
    """DPO of sums beside a likelihood that is averaged over tokens, as Pang et al. have it: both in one formula."""

    name = "one_mean"

    @property
    def terms(self) -> Any:
        t = ea.terms
        return t.Logistic()(self.lam * t.hbar) + 2.0 * t.Linear(-1.0)(t.per_token(t.log_pi_w))


@dataclass(frozen=True)
class ByLengths(ea.PairObjective):
    """The same as a bare formula."""

    name = "by_lengths"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any, length_w: Any) -> Any:
        return -log_sigmoid(self.lam * (logp_w - logp_l - ref_logp_w + ref_logp_l)) - 2 * logp_w / length_w


def test_a_formula_with_sums_and_means(tmp_path: Path) -> None:
    """Only what is divided by lengths is averaged; in all of it, where that is asked for."""
    _, formula = FORMULAS["rpo"]
    for kind in (OneMean, ByLengths):
        trainer = make(kind(LAM), tmp_path, ref_model=tiny.llama(1))
        torch.testing.assert_close(losses_of(trainer), formula(*plain(trainer)), rtol=1e-5, atol=1e-5)
    for how in ("mean", "sum"):
        trainer = make(OneMean(LAM), tmp_path, ref_model=tiny.llama(1), aggregation=how)
        w, y, rw, ry, nw, ny = plain(trainer)
        nw, ny = (nw, ny) if how == "mean" else (1.0, 1.0)
        expected = -log_sigmoid(LAM * ((w - rw) / nw - (y - ry) / ny)) - 2 * w / nw
        torch.testing.assert_close(losses_of(trainer), expected, rtol=1e-5, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- mixtures


def test_a_mixture_is_the_weighted_sum(tmp_path: Path) -> None:
    """MPO's three losses, each as if it were alone."""
    parts = [(0.8, ea.DPO(LAM)), (0.2, ea.BCO(0.5)), (1.0, ea.SFT(LAM))]
    how = ["sum", "sum", "mean"]
    mixed = make(parts, tmp_path, ref_model=tiny.llama(1), aggregation=how)
    alone = [
        weight
        * losses_of(
            make(
                objective,
                tmp_path,
                ref_model=tiny.llama(1) if objective.claims.needs_reference else None,
                aggregation=a,
            )
        )
        for (weight, objective), a in zip(parts, how, strict=True)
    ]
    torch.testing.assert_close(losses_of(mixed), sum(alone), rtol=1e-6, atol=1e-6)
    assert str(mixed.mixture).startswith("0.8 DPO(lam=0.3") and mixed.objective == ea.DPO(LAM)


def test_a_mixture_from_settings(tmp_path: Path) -> None:
    given = {
        "objective": ["dpo", "bco", "sft"],
        "objective_weights": [0.8, 0.2, 1.0],
        "objective_options": '{"bco": {"reference_point": 0.5}}',
        "aggregation": ["sum", "sum", "mean"],
        "beta": 0.2,
    }
    trainer = make(None, tmp_path, ref_model=tiny.llama(1), **given)
    assert [(t.weight, t.objective, t.aggregation) for t in trainer.mixture.terms] == [
        (0.8, ea.DPO(0.2), "sum"),
        (0.2, ea.BCO(0.2, reference_point=0.5), "sum"),
        (1.0, ea.SFT(0.2), "mean"),
    ]
    assert trainer.args.to_dict()["objective"] == ["dpo", "bco", "sft"]


def test_a_regulariser_in_a_mixture(tmp_path: Path) -> None:
    """Its strength is weight times lambda."""
    mixed = make([(2.0, ea.EXPO(LAM)), (0.5, ea.DPO(0.1))], tmp_path, ref_model=tiny.llama(1))
    alone = make(ea.EXPO(LAM), tmp_path, ref_model=tiny.llama(1))
    batch = batch_of(mixed)
    both = [trainer.engine.losses(trainer.model, batch, at_start=False).regulariser for trainer in (mixed, alone)]
    torch.testing.assert_close(both[0], both[1])
    dpo = losses_of(make(ea.DPO(0.1), tmp_path, ref_model=tiny.llama(1)))
    expected = 2 * losses_of(alone) + 0.5 * dpo + 2 * LAM * both[0].double()
    with torch.no_grad():
        assert mixed.compute_loss(mixed.model, batch).item() == pytest.approx(expected.mean().item(), rel=1e-5)


BAD: dict[str, tuple[Any, Any, str]] = {
    "empty": ([], None, "objective must have at least one entry"),
    "weight": (
        [(-1.0, ea.DPO(LAM))],
        None,
        "the weight of an objective must be a finite number of at least 0, got -1.0",
    ),
    "no weight": ([(0.0, ea.DPO(LAM)), (0.0, ea.SFT(LAM))], None, "must be above 0 for one .* at least, and all are 0"),
    "no loss": ([ea.DPO(LAM), 3], None, "objective must be a loss of pairs.*got 3"),
    "two regularisers": ([ea.EXPO(LAM), ea.SPO(LAM)], None, r"one explicit regulariser at most.*\['EXPO', 'SPO'\]"),
    "aggregations": (
        [ea.DPO(LAM), ea.SFT(LAM)],
        ["sum"],
        "aggregation must be one for all objectives, or one for each",
    ),
    "token mean": (ea.DPO(LAM), "token_mean", r"aggregation must be one of \['sum', 'mean'\], got 'token_mean'"),
}


@pytest.mark.parametrize(("given", "how", "message"), BAD.values(), ids=BAD)
def test_bad_mixtures(given: Any, how: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make_mixture(given, how)


def test_an_objective_of_weight_0_is_left_out_and_said(tmp_path: Path) -> None:
    """TRL trains with such a weight; what the objective would read is not asked for, and the others keep their ways."""
    given = [(0.0, ea.EXPO(LAM)), (0.8, ea.DPO(LAM)), (1.0, ea.SFT(LAM))]
    found, alone = make_mixture(given, ["sum", "mean", "token_mean"]), make_mixture(given[1:], ["mean", "token_mean"])
    assert (found.terms, found.given) == (alone.terms, alone.given) and found.regulariser is None
    assert found.notes == (f"{describe(ea.EXPO(LAM))} has the weight 0, and is left out", *alone.notes)
    weights = {"objective": ["dpo", "sft"], "objective_weights": [1.0, 0.0], "max_steps": 1}
    first = make(None, tmp_path, **weights)
    first.train()
    plain = make(ea.DPO(0.1), tmp_path, max_steps=1)
    plain.train()
    assert first_log(first)["loss"] == first_log(plain)["loss"]


def test_a_model_in_the_place_of_the_objective_is_not_printed(tmp_path: Path) -> None:
    """TRL's order of arguments: model, ref_model."""
    with pytest.raises(TypeError, match="objective must be a loss of pairs") as caught:
        PreferenceTrainer(tiny.llama(0), tiny.llama(1), PreferenceConfig(**tiny.settings(tmp_path)))
    assert len(str(caught.value)) < 200


def test_descriptions_are_the_same_in_every_process() -> None:
    def smooth(margin: Any, lam: Any) -> Any:
        return margin**2

    text = describe(ea.QPO(LAM, psi=smooth, mu=math.log))
    assert "0x" not in text and "smooth" in text
    assert describe(ea.DPO(LAM)) == repr(ea.DPO(LAM))


# --------------------------------------------------------------------------------------------------------- one args


def test_the_same_settings_serve_many_lambdas(tmp_path: Path) -> None:
    """Nothing is written into them."""
    args = PreferenceConfig(**tiny.settings(tmp_path, max_steps=1))
    before = {name: value for name, value in vars(args).items()}
    for lam in (0.1, 0.3, 1.0):
        for objective in (ea.DPO(lam), ea.EXPO(lam)):
            trainer = PreferenceTrainer(
                tiny.llama(0), objective, args, train_dataset=tiny.pairs(4), processing_class=tiny.tokenizer()
            )
            trainer.train()
            assert trainer.objective.lam == lam
    assert vars(args) == before


# ------------------------------------------------------------------------------------------------ tokens and pairs


@pytest.mark.parametrize("seed", range(10))
def test_aggregation_by_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, mask = torch.tensor(rng.normal(size=(4, 7))), torch.tensor(rng.integers(0, 2, size=(4, 7)))
    values[mask == 0] = float(rng.choice([np.inf, np.nan, 5.0]))  # what stands beside a response does not matter
    for how in ("sum", "mean"):
        for row, found in enumerate(aggregate(values, mask, how).tolist()):
            kept = [v for v, m in zip(values[row].tolist(), mask[row].tolist(), strict=True) if m]
            assert found == pytest.approx(sum(kept) / (max(len(kept), 1) if how == "mean" else 1))
    totals = torch.tensor([2.0, 3.0])
    assert scale(totals, torch.tensor([4, 0]), "mean").tolist() == [0.5, 3.0]


@pytest.mark.parametrize("seed", range(10))
def test_weights_beyond_the_shared_length_by_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = torch.tensor(rng.integers(0, 2, size=(6, 9)))
    alpha = float(rng.random())
    found = shared_length_weights(mask, alpha)
    for pair in range(3):
        rows = [mask[pair].tolist(), mask[pair + 3].tolist()]
        shared = min(map(sum, rows))
        for row, values in zip((pair, pair + 3), rows, strict=True):
            count, expected = 0, []
            for value in values:
                count += value
                expected.append((1.0 if count <= shared else alpha) * value)
            assert found[row].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_length_desensitised_dpo(alpha: float, tmp_path: Path) -> None:
    trainer = make(ea.DPO(LAM), tmp_path, ref_model=tiny.llama(1), ld_alpha=alpha)
    batch, sums = batch_of(trainer), []
    for model in (trainer.model, trainer.ref_model):
        _, of_tokens, mask = token_distributions(model, batch)
        lengths = mask.sum(1)
        shared = torch.minimum(*lengths.chunk(2)).repeat(2)
        for row in range(len(mask)):
            kept = of_tokens[row][mask[row] == 1]
            sums.append(kept[: shared[row]].sum() + alpha * kept[shared[row] :].sum())
    w, y, rw, ry = torch.stack(sums).view(2, 2, -1).flatten(0, 1)
    torch.testing.assert_close(losses_of(trainer), -log_sigmoid(LAM * (w - y - rw + ry)), rtol=1e-5, atol=1e-6)


def test_under_ld_alpha_what_is_said_of_whole_sequences_is_left_out(tmp_path: Path) -> None:
    """log pi has its weights; and sums that the data bring have not."""
    trainers = (make(ea.DPO(LAM), tmp_path, ref_model=tiny.llama(1), max_steps=1, ld_alpha=x) for x in (None, 0.3))
    names = [set(first_log(trainer)) for trainer in trainers if trainer.train()]
    assert {name.split("/")[0] for name in names[0] - names[1]} == {"mass", "kl_estimate"} and not names[1] - names[0]
    data = tiny.pairs(8).add_column("ref_chosen_logps", [-1.0] * 8).add_column("ref_rejected_logps", [-1.0] * 8)
    with pytest.raises(ValueError, match="ld_alpha is not used with use_ref_columns, whose sums are over all tokens"):
        make(ea.DPO(LAM), tmp_path, data=data, ld_alpha=0.3, use_ref_columns=True)


def test_a_loss_that_couples_pairs_takes_no_weights(tmp_path: Path) -> None:
    data = tiny.pairs(4).add_column("weight", [3.0, 1.0, 1.0, 1.0])
    with pytest.raises(
        ValueError, match=r"train_dataset must not have the column 'weight' for .*AOT.*couples the pairs"
    ):
        make(ea.AOT(LAM), tmp_path, data=data)


def test_pairs_weighted_by_their_probability(tmp_path: Path) -> None:
    """WPO, eq. 2: (prod_t pi(y_t) / sum_v pi_v^2)^(1/|y|) of both responses; it is no part of the gradient."""
    weighted = make(ea.DPO(LAM), tmp_path, ref_model=tiny.llama(1), use_weighting=True)
    alone = losses_of(make(ea.DPO(LAM), tmp_path, ref_model=tiny.llama(1)))
    logp, of_tokens, mask = token_distributions(weighted.model, batch_of(weighted))
    aligned = ((of_tokens - (2 * logp).logsumexp(-1)) * mask).sum(1) / mask.sum(1)
    weights = aligned.view(2, -1).sum(0).exp()
    torch.testing.assert_close(losses_of(weighted), weights.detach() * alone, rtol=1e-5, atol=1e-7)
    assert weights.max() / weights.min() > 1.5
    with pytest.raises(ValueError, match="use_weighting is not used by a loss that couples pairs"):
        make(ea.AOT(LAM), tmp_path, use_weighting=True)


# ------------------------------------------------------------------------------------- TRL's other trainers, one pair


def trl_trainer(kind: str) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "orpo":
            module = pytest.importorskip("trl.experimental.orpo")
            return module.ORPOTrainer, module.ORPOConfig
        module = pytest.importorskip("trl.experimental.cpo")
        return module.CPOTrainer, module.CPOConfig


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "cpo": (ea.CPO(LAM, alpha=1.0), {"cpo_alpha": 1.0}),
    "simpo": (ea.SimPO(LAM, gamma=0.5), {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": 0.5}),
    "alphapo": (
        ea.AlphaPO(LAM, alpha=0.25, gamma=0.5),
        {"loss_type": "alphapo", "cpo_alpha": 0.0, "simpo_gamma": 0.5, "alpha": 0.25},
    ),
    "orpo": (ea.ORPO(LAM), {}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_the_losses_of_trls_other_trainers(name: str, tmp_path: Path) -> None:
    """With one pair in a batch, so that a mean over the batch's tokens is one over a response's."""
    objective, given = CASES[name]
    trainer_kind, config_kind = trl_trainer(name)
    shared = tiny.settings(tmp_path, max_steps=12, per_device_train_batch_size=1, learning_rate=5e-3)
    # TRL's ORPO trainer takes the likelihood of prompts too; a prompt of one token has none
    data = tiny.pairs(12).map(lambda row: {"prompt": row["prompt"].split()[0] + " "})
    ours = PreferenceTrainer(
        tiny.llama(0), objective, PreferenceConfig(**shared), train_dataset=data, processing_class=tiny.tokenizer()
    )
    args = config_kind(**shared, beta=LAM, max_length=64, **given)
    theirs = trainer_kind(tiny.llama(0), args=args, train_dataset=data, processing_class=tiny.tokenizer())
    found = []
    for trainer in (ours, theirs):
        trainer.train()
        found.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
    assert first_log(ours)["loss"] == found[0][0]


def test_a_formula_written_anew_is_another_loss() -> None:
    """What is known of a class does not hold for one below it with another formula."""

    class Renamed(ea.SimPO):
        name = "renamed"

    class Own(ea.SimPO):
        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
            return logp_l - logp_w

    assert [objectives.has_formula_of(loss(1.0), ea.SimPO) for loss in (ea.SimPO, Renamed, Own, ea.DPO)] == [
        *(True, True, False, False)
    ]
