"""EasyDeL: JAX functions."""

from __future__ import annotations

from typing import Any

from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import LOSS_TYPES, POINT, SMOOTHING, TAU

PACKAGE = Package(
    "easydel", "0.3.0", needs=("jax",), how="its definitions alone", remark="It asks for Python 3.13.", modules=("jax",)
)
__getattr__ = PACKAGE.function
TRAINERS = "easydel/trainers"
FOLDERS = {
    "dpo": "direct_preference_optimization_trainer",
    "cpo": "contrastive_preference_optimization_trainer",
    "bco": "binary_classifier_optimization_trainer",
    "kto": "kto_trainer",
    "orpo": "odds_ratio_preference_optimization_trainer",
}


def _found(room: str, *names: str) -> Any:
    import jax

    nn = jax.nn
    known = {"jax": jax, "jnp": jax.numpy, "lax": jax.lax, "relu": nn.relu, "sigmoid": nn.sigmoid}
    known |= {"log_sigmoid": nn.log_sigmoid, "logsigmoid": nn.log_sigmoid}
    return definitions("easydel", f"{TRAINERS}/{FOLDERS[room]}/_fn.py", *names, **known)


def _where(room: str, name: str) -> str:
    return f"easydel.trainers.{FOLDERS[room]}:{name}"


def _dpo(p: Pairs, beta: float, loss_type: str, smoothing: float = 0.0) -> Any:
    loss = _found("dpo", "get_loss_function").get_loss_function(loss_type, beta, smoothing)
    options = {"discopop_tau": TAU} if loss_type == "discopop" else {}
    return loss(*p.logps, beta, smoothing, **options)


def _cpo(p: Pairs, beta: float, loss_type: str, alpha: float = 0.0) -> Any:
    won, lost = (p.w, p.l) if p.length_w is None else (p.w / p.length_w, p.l / p.length_l)
    settings = {"label_smoothing": 0.0, "loss_type": loss_type, "simpo_gamma": 0.5, "alpha": alpha}
    return _found("cpo", "cpo_loss").cpo_loss(won, lost, beta=beta, **settings)[0]


def _unpaired(p: Pairs, f: Any) -> Any:
    """A function of log-probabilities, references and labels, of the two responses of each pair."""
    import jax
    import jax.numpy as jnp

    def alone(w: Any, l: Any, ref_w: Any, ref_l: Any) -> Any:  # noqa: E741
        return f(jnp.stack([w, l]), jnp.stack([ref_w, ref_l]), jnp.array([1.0, 0.0]))

    return jax.vmap(alone)(*p.logps)


def _kto(p: Pairs, beta: float, loss_type: str) -> Any:
    found = _found("kto", "kto_objective")
    found.kto_objective.__globals__["KTO_LOSS_TYPES"] = ("kto", "apo_zero_unpaired")

    def loss(logps: Any, references: Any, labels: Any) -> Any:
        given = {"desirable_weight": 1.0, "undesirable_weight": 1.0, "loss_type": loss_type}
        if loss_type == "kto":
            given |= {"policy_kl_logps": logps * 0 + POINT, "reference_kl_logps": references * 0}
        return found.kto_objective(logps, references, labels, beta=beta, **given)[0]

    return _unpaired(p, loss)


def _bco(p: Pairs, beta: float) -> Any:
    found = _found("bco", "compute_bco_loss")

    def loss(logps: Any, references: Any, labels: Any) -> Any:
        return found.compute_bco_loss(logps, references, labels, 1 - labels, beta=beta, delta=POINT)[0]

    return _unpaired(p, loss)


def _bco_of_one(p: Pairs, beta: float) -> Any:
    import jax

    loss = _found("dpo", "get_loss_function").get_loss_function("bco_pair", beta, 0.0)
    return jax.vmap(lambda *pair: loss(*(x.reshape(1) for x in pair), beta, 0.0).reshape(()))(*p.logps)


def _orpo(p: Pairs, beta: float) -> Any:
    """What its step subtracts from the likelihood, a mean over tokens."""
    won, lost = p.w / p.length_w, p.l / p.length_l
    return -won - _found("orpo", "odds_ratio_loss").odds_ratio_loss(beta, won, lost)[0]


for _type, _ours in LOSS_TYPES.items():
    if _type in ("bco_pair", "aot_unpaired"):
        continue
    PACKAGE.add(
        f"dpo_{_type}",
        f"DPOTrainer, {_type}",
        _where("dpo", "get_loss_function"),
        lambda p, beta, t=_type: _dpo(p, beta, t, SMOOTHING.get(t, 0.0)),
        _ours,
        by_batch=_type == "aot",
    )
PACKAGE.add(
    "dpo_aot_pair",
    "DPOTrainer, aot_pair",
    _where("dpo", "get_loss_function"),
    lambda p, beta: _dpo(p, beta, "aot_pair", SMOOTHING["aot_pair"]),
    LOSS_TYPES["aot_unpaired"],
    by_batch=True,
)
PACKAGE.add(
    "dpo_kto",
    "DPOTrainer, kto",
    _where("dpo", "get_loss_function"),
    lambda p, beta: _dpo(p, beta, "kto"),
    Ours("kto"),
    note="it is DPO, whatever its name",
)
PACKAGE.add(
    "dpo_bco_pair",
    "DPOTrainer, bco_pair, batches of one",
    _where("dpo", "get_loss_function"),
    _bco_of_one,
    Ours("bco"),
    note="its reference point is the mean reward of the batch, with its gradient: of one pair the loss is twice DPO's, "
    "at half of beta",
)
for _name, _title, _given, _ours, _reads in (
    ("cpo", "CPOTrainer, sigmoid", ("sigmoid",), Ours("bradley_terry"), ""),
    ("simpo", "CPOTrainer, simpo of means, simpo_gamma 0.5", ("simpo",), Ours("simpo", gamma=0.5), "lengths"),
    (
        *("alpha_po", "CPOTrainer, simpo of means, alpha 0.25", ("simpo", 0.25)),
        *(Ours("alpha_po", alpha=0.25, gamma=0.5), "lengths"),
    ),
):
    PACKAGE.add(
        _name,
        _title,
        _where("cpo", "cpo_loss"),
        lambda p, beta, g=_given: _cpo(p, beta, *g),
        _ours,
        reads=_reads,
    )
PACKAGE.add(
    "kto",
    f"KTOTrainer, KL estimate {POINT}",
    _where("kto", "kto_objective"),
    lambda p, beta: _kto(p, beta, "kto"),
    Ours("kto", reference_point=POINT),
)
PACKAGE.add(
    "apo_zero_unpaired",
    "KTOTrainer, apo_zero_unpaired",
    _where("kto", "kto_objective"),
    lambda p, beta: _kto(p, beta, "apo_zero_unpaired"),
    Ours("apo_zero"),
)
PACKAGE.add(
    "bco",
    f"BCOTrainer, delta {POINT}",
    _where("bco", "compute_bco_loss"),
    _bco,
    Ours("bco", reference_point=POINT),
)
PACKAGE.add(
    "orpo",
    "ORPOTrainer, odds of means",
    _where("orpo", "odds_ratio_loss"),
    _orpo,
    Ours("orpo"),
    reads="lengths",
)
