"""The model card: what was minimised, how, on what, and by which versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from ...losses import EXPO
from .modelling import is_peft
from .objectives import Mixture
from .regulariser import CONSERVES

CITATION = """\
@inproceedings{hu2025explicit,
    title     = {{Explicit Preference Optimization: No Need for an Implicit Reward Model}},
    author    = {Xiangkun Hu and Lemin Kong and Tong He and David Wipf},
    year      = 2025,
    booktitle = {Proceedings of the 42nd International Conference on Machine Learning, ICML 2025},
}"""

PREFERENCE_TUNING = "preference-optimization"
LIBRARIES = ("expo-analysis", "transformers", "torch", "datasets", "peft")


def tags(mixture: Mixture) -> list[str]:
    """``expo-analysis`` and the names of the losses."""
    return ["expo-analysis", PREFERENCE_TUNING, *dict.fromkeys(objective.name for _, objective in mixture.given)]


def write(
    trainer: Any, model_name: str | None = None, dataset_name: str | None = None, tags: Any = None, **more: Any
) -> None:
    """Write the card of a `PreferenceTrainer`'s model into its output folder.

    Args:
        model_name: the card's title; if None, the name of the folder or of the repository.
        dataset_name: the data as the card is to call them; if None, where they came from.
        tags: further tags, one or a list.
        **more: language, license and finetuned_from, as in `transformers.Trainer.create_model_card`.
    """
    folder = Path(trainer.args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    title = model_name or (trainer.args.hub_model_id or folder.resolve().name).split("/")[-1]
    given = [tags] if isinstance(tags, str) else list(tags or ())
    base = str(more.get("finetuned_from") or getattr(trainer.model.config, "_name_or_path", "") or "")
    on_hub = bool(base) and not Path(base).exists()
    data = ModelCardData(
        library_name="peft" if is_peft(trainer.model) else "transformers",
        tags=[*own_tags(trainer), *given],
        base_model=base if on_hub else None,
        language=more.get("language"),
        license=more.get("license"),
        model_name=title,
    )
    lines = [
        "---",
        data.to_yaml().strip(),
        "---",
        "",
        f"# {title}",
        "",
        f"{_kind(trainer, base, on_hub)}, fine-tuned on preferences by expo-analysis. What was minimised, per row:",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts(trainer, dataset_name)),
        "",
    ]
    if any(isinstance(objective, EXPO) for _, objective in trainer.mixture.given):
        lines += ["EXPO: [arXiv 2506.07492](https://arxiv.org/abs/2506.07492)", "", "```bibtex", CITATION, "```", ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
    if is_peft(trainer.model):  # adds what PEFT says of every adapter
        trainer.accelerator.unwrap_model(trainer.model).create_or_update_model_card(str(folder))


def own_tags(trainer: Any) -> list[str]:
    """The tags of a trainer's model."""
    return tags(trainer.mixture)


def _kind(trainer: Any, base: str, on_hub: bool) -> str:
    name = type(trainer.accelerator.unwrap_model(trainer.model)).__name__
    return f"[{base}](https://huggingface.co/{base})" if on_hub else f"A {name}"


def facts(trainer: Any, dataset_name: str | None = None) -> Iterator[tuple[str, str]]:
    """What a reader has to know to do the same again."""
    mixture, rules, args = trainer.mixture, trainer.rules, trainer.args
    yield "loss", f"`{mixture}`"
    yield "λ", ", ".join(f"{objective.lam:g} ({objective.name})" for _, objective in mixture.given)
    how = ", ".join(f"{term.aggregation} ({term.label or term.objective.name})" for term in mixture.terms)
    yield "from tokens to responses", how
    if rules.estimator is not None:
        along = " along reference samples" if rules.on_samples else ""
        yield "regulariser", f"{rules.estimator}{along}: {CONSERVES[rules.estimator]}"
    if rules.reads_reference:
        yield "reference", _reference(trainer)
    if rules.ld_alpha is not None:
        yield "weight of tokens beyond the shared length", f"{rules.ld_alpha:g}"
    if rules.use_weighting:
        yield "pairs weighted by", "the policy's probability of both responses"
    if rules.router_coef:
        yield "weight of the load-balancing loss", f"{rules.router_coef:g}"
    data = trainer.data
    rows = f", {len(data.rows)} {data.feedback.name}" if hasattr(data.rows, "__len__") else ", a stream"
    yield (
        "data",
        (dataset_name or data.source) + rows + (f", fingerprint `{data.fingerprint}`" if data.fingerprint else ""),
    )
    size = args.train_batch_size * args.gradient_accumulation_steps * trainer.accelerator.num_processes
    rate = f"learning rate {args.learning_rate:g} ({args.lr_scheduler_type.value})"
    rows = f"{size} {trainer.data.feedback.name} a step"
    yield "training", f"{trainer.state.global_step} steps, {rate}, {rows}, seed {args.seed}"
    yield "versions", ", ".join(f"{name} {version}" for name in LIBRARIES if (version := _version(name)))


def _reference(trainer: Any) -> str:
    if trainer.args.use_ref_columns:
        return "log-probabilities that came with the data"
    stored = "; log-probabilities computed before training" if trainer.args.precompute_ref_log_probs else ""
    return {
        "given": "another model, given to the trainer",
        "copy": "the model before training",
        "adapter off": "the model without the adapter",
        "first adapter": "the model with its adapter as it was before training",
    }[trainer.engine.reference.kind] + stored


@cache
def _version(name: str) -> str | None:
    """Read once: a card is written with each checkpoint."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
