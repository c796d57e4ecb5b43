"""Everything about a model before it is trained: loading, tokenizer, adapters, dropout, what fits together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from datasets import Dataset
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase
from transformers.integrations import is_deepspeed_zero3_enabled

from ..models import adapter_base, check_has, find_model, folder_of_tokenizer, load_whole, with_adapter
from .adapted import check_modules
from .head import base_of
from .logs import tell


def check_given(model: Any, ref_model: Any, more: Mapping[str, Any]) -> None:
    """Raise for what is no model, nor the name of one, and for arguments of `Trainer` that have no meaning here.

    Args:
        more: arguments that are handed on to `transformers.Trainer`.

    Raises:
        TypeError: naming the argument.
        ValueError: for a function that makes models, or computes losses.
    """
    if more.get("model_init") is not None:
        raise ValueError("model_init is not used here, where the reference is the model as it is given: give model=f()")
    if more.get("compute_loss_func") is not None:
        raise ValueError("compute_loss_func is not used here: the loss is the objective's, which may be your own")
    for name, given in (("model", model), ("ref_model", ref_model)):
        if not isinstance(given, (str, nn.Module)) and not (name == "ref_model" and given is None):
            raise TypeError(f"{name} must be a model, or the name or folder of one, got {type(given).__name__}")


def find(given: Any, args: Any) -> Any:
    """What a model's name stands for, such as ``"smollm2"`` or a folder, as in `find_model`; a model as it is."""
    return find_model(given, (args.model_init_kwargs or {}).get("revision")) if isinstance(given, str) else given


def is_peft(model: Any) -> bool:
    """Whether a model has adapters of PEFT around it."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def load(name: str, args: Any, quantization_config: Any = None) -> Any:
    """The model of a name, in float32 unless ``model_init_kwargs`` say otherwise; of an adapter, its base with it.

    Its class is the one that its configuration names, so that a model of text and images stays one.

    Raises:
        ValueError: for a quantisation that is given twice, or a dtype that is none.
        OSError: of transformers, for a name that is neither a folder nor a model of the Hub.
    """
    kwargs: dict[str, Any] = {"dtype": "float32", "trust_remote_code": args.trust_remote_code}
    kwargs |= args.model_init_kwargs or {}
    if quantization_config is not None:
        if "quantization_config" in kwargs:
            raise ValueError("quantization_config must be given once, to the trainer or in model_init_kwargs")
        kwargs["quantization_config"] = quantization_config
    dtype = kwargs["dtype"]
    if isinstance(dtype, str) and dtype != "auto":
        if not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ValueError(f"dtype in model_init_kwargs must be a dtype of torch or 'auto', got {dtype!r}")
        kwargs["dtype"] = getattr(torch, dtype)
    if args.parallel_mode.value == "distributed":
        kwargs["device_map"] = None  # every process has the model, or its part, on a device of its own
    base = adapter_base(name)
    files = base or name
    if base is not None:
        kwargs.pop("revision", None)  # which is the adapter's
    check_has("weights", files)
    config = _config(name, args)
    kinds = [getattr(transformers, kind, None) for kind in config.architectures or ()]
    kind = next((kind for kind in kinds if kind is not None), AutoModelForCausalLM)
    if kwargs["trust_remote_code"] and getattr(config, "auto_map", None):
        kind = AutoModelForCausalLM
    in_parts = is_deepspeed_zero3_enabled() or args.fsdp  # where processes load parts, or nothing
    model = kind.from_pretrained(files, **kwargs) if in_parts else load_whole(kind, files, **kwargs)
    if base is None:
        return model
    own_dtype = not is_deepspeed_zero3_enabled()  # which gathers parameters of one dtype together
    return with_adapter(model, name, is_trainable=True, autocast_adapter_dtype=own_dtype)


def load_processing_class(name: str, args: Any) -> Any:
    """The tokenizer, or the processor, that is stored with a model, of the same revision."""
    kwargs = {"trust_remote_code": args.trust_remote_code}
    if adapter_base(name) is None:
        kwargs |= {k: v for k, v in (args.model_init_kwargs or {}).items() if k == "revision"}
    name = folder_of_tokenizer(name)
    check_has("tokenizer", name)
    try:
        found = AutoProcessor.from_pretrained(name, **kwargs)
    except (OSError, ValueError, KeyError):
        found = None
    is_text = isinstance(found, PreTrainedTokenizerBase) or hasattr(found, "tokenizer")
    return found if is_text else AutoTokenizer.from_pretrained(name, **kwargs)


def tokenizer_of(processing_class: Any) -> Any:
    """The tokenizer of a processing class, with something to fill up batches with.

    Raises:
        TypeError: for what has none.
    """
    found = getattr(processing_class, "tokenizer", processing_class)
    if not isinstance(found, PreTrainedTokenizerBase):
        raise TypeError(f"processing_class must be a tokenizer, or have one, got {type(processing_class).__name__}")
    return found


def choose_tokenizer(processing_class: Any, model: Any, args: Any) -> tuple[Any, Any]:
    """A processing class, the one stored with the model if none is given, and its tokenizer."""
    if processing_class is None:
        processing_class = load_processing_class(model if isinstance(model, str) else model.config._name_or_path, args)
    return processing_class, tokenizer_of(processing_class)


def check_vocabulary(model: Any, ref_model: Any, tokenizer: Any) -> None:
    """Raise if the reference has another vocabulary than the model, or the tokenizer more tokens than either."""
    size = model.config.get_text_config().vocab_size
    if len(tokenizer) > size:
        raise ValueError(f"processing_class must have at most the model's {size} tokens, but it has {len(tokenizer)}")
    if ref_model is not None and hasattr(ref_model, "config"):
        other = ref_model.config.get_text_config().vocab_size
        if other != size:
            raise ValueError(f"ref_model must have the model's vocabulary of {size} tokens, but it has {other}")


def learned_positions(model: Any, args: Any) -> int | None:
    """How many positions a model, or the model of a name, has learned embeddings of; None where there is no limit."""
    limit, goes_on = _positions(model, args)
    return None if goes_on else limit


def rotary_positions(model: Any, args: Any) -> int | None:
    """For how many positions a model was made that has a formula for any; None where that is not known."""
    limit, goes_on = _positions(model, args)
    return limit if goes_on else None


def _positions(model: Any, args: Any) -> tuple[int | None, bool]:
    """How many positions a configuration names, and whether there are others beyond them."""
    config = _config(model, args) if isinstance(model, str) else model.config
    config = config.get_text_config()
    rotary = any(getattr(config, name, None) for name in ("rope_theta", "rope_parameters", "rope_scaling", "alibi"))
    return getattr(config, "n_positions", None) or getattr(config, "max_position_embeddings", None), rotary


def tell_of_positions(name: str, data: Any, limit: int | None, max_length: int | None) -> None:
    """Say that rows are longer than what a model with rotary positions was made for: it reads them, less well."""
    if limit is None or (max_length is not None and max_length <= limit) or not isinstance(data.rows, Dataset):
        return
    rows = data.rows.select_columns(list(data.feedback.token_columns))
    longest = max(len(row["prompt_ids"]) + max(map(len, data.feedback.values(row, "_ids").values())) for row in rows)
    if longest > limit:
        tell(
            f"{name}: its longest row has {longest} tokens, and the model was made for {limit} "
            f"(max_position_embeddings); max_length={limit} would cut such rows"
        )


def _config(name: str, args: Any) -> Any:
    kwargs = {"trust_remote_code": args.trust_remote_code} | (args.model_init_kwargs or {})
    base = adapter_base(name)
    known = {"trust_remote_code", "subfolder", "token", "cache_dir", "local_files_only"}
    known |= {"revision"} if base is None else set()
    return AutoConfig.from_pretrained(base or name, **{k: v for k, v in kwargs.items() if k in known})


def disable_dropout(model: Any) -> None:
    """Set every probability of dropout to 0: of modules, and of layers that keep it as a number."""
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def check_causal(model: Any) -> None:
    """Raise for a model that does not predict the next token from those before it alone.

    Raises:
        ValueError: naming the model's class.
    """
    name = type(base_of(model)).__name__
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(f"model {name} has an encoder beside its decoder; models of one sequence are trained here")
    if name.endswith("ForMaskedLM"):
        raise ValueError(f"model {name} sees the tokens that it is to predict; causal models are trained here")


def check_task_type(name: str, task: Any) -> None:
    """Raise for an adapter that is made for something else than the next token; None leaves it open."""
    task = getattr(task, "value", task)
    if task is not None and task != "CAUSAL_LM":
        raise ValueError(f"{name} must be 'CAUSAL_LM', as what is trained predicts the next token; got {task!r}")


def add_adapter(model: Any, config: Any, args: Any) -> tuple[Any, bool]:
    """The model with a new adapter, and whether the model without it is, and stays, the one that was given.

    It is not where an adapter's initialisation splits the weights in two and leaves the rest beneath (PiSSA, OLoRA).

    Raises:
        TypeError, ValueError: for what is no configuration of PEFT, and for a model that has an adapter already.
    """
    from peft import PeftConfig, get_peft_model

    if not isinstance(config, PeftConfig):
        raise TypeError(f"peft_config must be a configuration of PEFT, such as LoraConfig, got {type(config).__name__}")
    check_task_type("task_type in peft_config", config.task_type)
    if is_peft(model):
        raise ValueError(
            "peft_config must be left out for a model that has an adapter already: it is trained as it is, or merge it "
            "first (merge_and_unload)"
        )
    check_modules(model, config)
    plugin = getattr(args, "deepspeed_plugin", None)
    zero3 = plugin is not None and plugin.zero_stage == 3
    beneath = list(model.parameters())
    before = [_sums(parameter) for parameter in beneath]
    # ZeRO-3 gathers parameters of one dtype together
    made = get_peft_model(model, config, **({"autocast_adapter_dtype": False} if zero3 else {}))
    same = all(old == _sums(parameter) for old, parameter in zip(before, beneath, strict=True))
    return made, same and not isinstance(getattr(config, "init_lora_weights", True), str)


def trains_beneath(model: Any) -> bool:
    """Whether weights that are no part of a PEFT model's adapter are trained beside it, as with ``bias="all"``."""
    active = model.active_adapter
    return any(p.requires_grad and active not in name.split(".") for name, p in model.named_parameters())


def _sums(parameter: torch.Tensor) -> tuple[float, ...]:
    """Two numbers that change when a parameter does; none of one that has no values."""
    if parameter.is_meta:
        return ()
    flat = parameter.detach().flatten()
    return float(flat.sum(dtype=torch.float64)), float(flat[::7].sum(dtype=torch.float64))


def prepare_to_train(model: Any, args: Any) -> None:
    """What training needs: of adapters gradients at the input of checkpointed layers, a dtype beside 4-bit weights.

    Of a model that cannot compute activations anew, they are kept: its numbers are the same.

    Raises:
        ValueError: for a model without an adapter, none of whose parameters is trained.
    """
    if args.gradient_checkpointing and not getattr(base_of(model), "supports_gradient_checkpointing", True):
        tell(f"gradient_checkpointing has no effect on {type(base_of(model)).__name__}, which has none")
        args.gradient_checkpointing = False
        if hasattr(args, "activation_checkpointing"):
            args.activation_checkpointing = False
    if not is_peft(model):
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError("model has nothing to train: none of its parameters requires a gradient")
        return
    if args.gradient_checkpointing:
        model.enable_input_require_grads()
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        for name, parameter in model.named_parameters():
            if (
                parameter.requires_grad and "lora_magnitude_vector" not in name
            ):  # DoRA's steps are too small for bfloat16
                parameter.data = parameter.data.to(torch.bfloat16)


def router_coefficient(model: Any, args: Any) -> float:
    """The weight of a mixture of experts' load-balancing loss, as TRL has it: the model's own unless another is given.

    Raises:
        ValueError: for a weight beside a model that has no such loss.
    """
    config = base_of(model).config.get_text_config()
    has_router = hasattr(config, "output_router_logits")
    if args.router_aux_loss_coef and not has_router:
        raise ValueError(
            f"router_aux_loss_coef is not used by {type(base_of(model)).__name__}, which is no mixture of experts that "
            f"returns its router's logits; got {args.router_aux_loss_coef}"
        )
    own = (
        getattr(config, "router_aux_loss_coef", 0.0) if args.router_aux_loss_coef is None else args.router_aux_loss_coef
    )
    return float(own or 0.0) if has_router else 0.0
