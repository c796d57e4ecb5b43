"""The model of a training and its reference, as they are before the first step."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from accelerate import PartialState
from transformers import set_seed
from transformers.integrations import is_deepspeed_zero3_enabled

from . import modelling
from .config import PreferenceConfig
from .identity import weights_fingerprint
from .logs import tell
from .reference import ADAPTER_OFF, COPY, FIRST_ADAPTER, GIVEN, ReferencePolicy, add_first_adapter, copy_of, freeze
from .step import Rules


@dataclass(frozen=True)
class Models:
    """A model ready for training, its reference or None, and a hash of the weights that were given, or ""."""

    model: Any
    reference: ReferencePolicy | None
    weights: str


def make_models(
    rules: Rules,
    args: PreferenceConfig,
    model: Any,
    ref_model: Any,
    tokenizer: Any,
    peft_config: Any,
    quantization: Any,
) -> Models:
    """Load, check and adapt the model, and derive its reference from what was given.

    Raises:
        TypeError, ValueError: for models that do not fit together.
    """
    set_seed(args.seed)  # adapters begin with random weights
    if isinstance(model, str):
        model = modelling.load(model, args, quantization)
    elif quantization is not None:
        raise ValueError("quantization_config is not used by a model that is in memory already; give its name")
    modelling.check_causal(model)
    if isinstance(ref_model, str):
        ref_model = modelling.load(ref_model, args, quantization)
        modelling.check_causal(ref_model)
    modelling.check_vocabulary(model, ref_model, tokenizer)
    if args.ddp_find_unused_parameters is None and model.config.get_text_config() is not model.config:
        args.ddp_find_unused_parameters = True  # of a model that sees, texts leave the eyes without gradients
    wanted = args.save_strategy != "no" or args.precompute_ref_log_probs
    alone = PartialState().is_main_process or is_deepspeed_zero3_enabled()
    weights = weights_fingerprint(model) if wanted and alone else ""
    if args.disable_dropout:
        modelling.disable_dropout(model)
    needed = rules.reads_reference or args.precompute_ref_log_probs
    same = False
    if peft_config is not None:
        model, same = modelling.add_adapter(model, peft_config, args)
        if args.disable_dropout:
            modelling.disable_dropout(model)  # the adapter's own
    elif modelling.is_peft(model):
        _unfreeze(model)
    adapted = modelling.is_peft(model)
    beneath = adapted and modelling.trains_beneath(model)  # biases, which do not come back when the adapter is off
    kind = ADAPTER_OFF if same else FIRST_ADAPTER if adapted and not beneath else COPY
    modelling.prepare_to_train(model, args)
    if ref_model is not None:
        digest = weights_fingerprint(ref_model) if weights and hasattr(ref_model, "state_dict") else ""
        return Models(model, ReferencePolicy(GIVEN, freeze(ref_model), digest), weights)
    if not needed or args.use_ref_columns:
        return Models(model, None, weights)
    adapter = add_first_adapter(model) if kind == FIRST_ADAPTER else None
    if args.sync_ref_model and kind != COPY:
        raise ValueError("sync_ref_model is not used with an adapter, whose reference is no model of its own")
    sharded = bool(args.fsdp)
    # before training the model is its own reference; under FSDP it is in parts only once it trains
    copied = beneath if same else kind == COPY and (not args.precompute_ref_log_probs or sharded)
    reference = copy_of(model, share=not sharded) if copied else None
    if reference is not None and same:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Careful, disabling adapter layers")  # of biases that have been trained
            reference.base_model.disable_adapter_layers()
    return Models(model, ReferencePolicy(kind, reference, adapter=adapter), weights)


def _unfreeze(model: Any) -> None:
    """Train the adapter of a `PeftModel` that was loaded for inference; one that is frozen in part stays so."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        model.set_adapter(model.active_adapter)
        tell("model: its adapter was loaded frozen, and is trained; is_trainable=True loads it so")
