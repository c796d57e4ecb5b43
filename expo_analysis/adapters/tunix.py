"""Tunix: one JAX function for DPO and ORPO, of a model and a batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import ODDS_OF_SUMS, function_of, orpo_of_sums

PACKAGE = Package("google-tunix", "0.1.7", needs=("jax",), how="its definitions alone", modules=("jax",))
__getattr__ = PACKAGE.function
WHERE = "tunix.sft.dpo.dpo_trainer:dpo_loss_fn"


def _loss(p: Pairs, beta: float, algorithm: str, label_smoothing: float = 0.0) -> Any:
    import jax
    import jax.numpy as jnp

    def alone(w: Any, l: Any, ref_w: Any, ref_l: Any, length_w: Any) -> Any:  # noqa: E741
        known = {"jax": jax, "jnp": jnp, "compute_logps": lambda *inputs, **options: (w[None], l[None])}
        found = definitions("google-tunix", "tunix/sft/dpo/dpo_trainer.py", "dpo_loss_fn", **known)
        batch = SimpleNamespace(
            ref_chosen_logps=ref_w[None],
            ref_rejected_logps=ref_l[None],
            completion_mask=jnp.stack([length_w] * 2)[:, None],
        )
        for name in ("input_ids", "positions", "attention_mask", "logits_to_keep", "images"):
            setattr(batch, name, None)
        given = {"beta": beta, "lambda_orpo": beta, "label_smoothing": label_smoothing}
        return found.dpo_loss_fn(None, batch, algorithm=algorithm, **given)[0]

    lengths = jnp.ones_like(p.w) if p.length_w is None else p.length_w
    return jax.vmap(alone)(*p.logps, lengths)


PACKAGE.add("dpo", "dpo_loss_fn, dpo", WHERE, lambda p, beta: _loss(p, beta, "dpo"), Ours("dpo"))
PACKAGE.add(
    "dpo_smoothed",
    "dpo_loss_fn, dpo, label_smoothing 0.1",
    WHERE,
    lambda p, beta: _loss(p, beta, "dpo", 0.1),
    Ours("dpo", label_smoothing=0.1),
)
PACKAGE.add(
    "orpo",
    "dpo_loss_fn, orpo",
    WHERE,
    lambda p, beta: _loss(p, beta, "orpo"),
    Ours("orpo"),
    reads="lengths",
    really=function_of(orpo_of_sums, "lengths"),
    note=ODDS_OF_SUMS,
)
