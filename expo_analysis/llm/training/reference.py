"""The reference policy: a model that is given, a copy, the model without its adapter, or numbers that are stored.

The reference of a trainer that is given none is the model *as it is given*, never what lies on disk under its name:

=============  ======================================================================================================
kind           when, and what is in memory
=============  ======================================================================================================
given          ``ref_model`` was passed
copy           full fine-tuning, and adapters beside which biases are trained: a copy that is taken before training
adapter off    a new adapter (``peft_config``): the same weights, without the adapter
first adapter  a `PeftModel`, or an adapter whose initialisation changes the weights under it (PiSSA, OLoRA): a
               second adapter, a copy of the first as it was
stored         ``precompute_ref_log_probs``: log-probabilities that one of these gave before training
=============  ======================================================================================================
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.integrations import is_deepspeed_zero3_enabled

from ..data.sampling import without_dropout

GIVEN, COPY, ADAPTER_OFF, FIRST_ADAPTER = "given", "copy", "adapter off", "first adapter"
REF_ADAPTER = "ref"
"""The name of the second adapter, as in TRL; where a model has one, as of an earlier trainer, a number follows."""


@dataclass
class ReferencePolicy:
    """A reference, and how to call it.

    kind    one of the module's, but "stored"
    model   a model of its own, or None where the trained model answers without its adapter, or with its first one
    digest  of a model that was given, as it was; "" where it was not needed
    adapter the name of the first adapter's copy, or None
    """

    kind: str
    model: Any = None
    digest: str = ""
    adapter: str | None = None

    @property
    def derived(self) -> bool:
        """Whether it is the model that was given for training, so that the two are equal before the first step."""
        return self.kind != GIVEN

    @contextlib.contextmanager
    def answering(self, trained: Any, unwrap: Any) -> Iterator[Any]:
        """The model to call, in evaluation mode, without gradients, and with the right adapter.

        Args:
            trained: the model in training, wrapped or not.
            unwrap: the accelerator's ``unwrap_model``.
        """
        model = trained if self.model is None else self.model
        with torch.no_grad(), without_dropout(model), contextlib.ExitStack() as stack:
            if self.model is None and self.kind != COPY:
                stack.enter_context(_adapter(unwrap(trained), self.adapter))
            yield model


@contextlib.contextmanager
def _adapter(model: Any, name: str | None) -> Iterator[None]:
    """Another adapter of a PEFT model, or none."""
    if name is None:
        with model.disable_adapter():
            yield
        return
    with _as_trained(model):
        active = model.active_adapter
        model.set_adapter(name)
        try:
            yield
        finally:
            model.set_adapter(active)


@contextlib.contextmanager
def _as_trained(model: Any) -> Iterator[None]:
    """Keep what is trained: PEFT lets all of an adapter be trained that is made the active one."""
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, flag in trained:
            parameter.requires_grad_(flag)


def add_first_adapter(model: Any) -> str:
    """A second, frozen adapter of a PEFT model: a copy of the active one as it is now. Returns its name."""
    known, active = model.peft_config, model.active_adapter
    name = next(x for k in itertools.count(1) if (x := REF_ADAPTER if k == 1 else f"{REF_ADAPTER}_{k}") not in known)
    config = copy.deepcopy(model.peft_config[active])
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # another initialisation would change the weights under the adapters again
    with _as_trained(model):
        model.add_adapter(name, config)
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        with torch.no_grad():
            for path, tensor in tensors.items():
                twin = tensors.get(".".join(name if part == active else part for part in path.split(".")))
                if f".{active}" in path and twin is not None and twin is not tensor:
                    twin.copy_(tensor)
        model.set_adapter(active)
    return name


def copy_of(model: Any, share: bool) -> Any:
    """A frozen copy of a model.

    Args:
        share: whether it shares the parameters that are not trained, which nothing changes; not under FSDP, which
            moves them.

    Raises:
        ValueError: where this process has no weights to copy.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError(
            "the reference is a copy of the model, whose weights are in another process: set cpu_ram_efficient_loading "
            "to False in fsdp_config, or pass ref_model"
        )
    if is_deepspeed_zero3_enabled():
        return _gathered_copy(model)
    memo = {id(parameter): parameter for parameter in model.parameters() if share and not parameter.requires_grad}
    return freeze(copy.deepcopy(model, memo))


def _gathered_copy(model: Any) -> Any:
    """The same under ZeRO-3, where every process has a part of each parameter."""
    import deepspeed

    parameters = list(model.parameters())
    with deepspeed.zero.GatheredParameters(parameters):
        state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    with deepspeed.zero.Init(enabled=False):
        made = type(model)(copy.deepcopy(model.config)).to(parameters[0].dtype)
    made.load_state_dict(state)
    return freeze(made)


def freeze(model: Any) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval()


def prepare(model: Any, accelerator: Any) -> Any:
    """A reference model as the processes of this training hold it: whole, or in parts under FSDP and ZeRO-3."""
    if str(accelerator.distributed_type).endswith("DEEPSPEED"):
        return _for_deepspeed(model, accelerator)
    if str(accelerator.distributed_type).endswith("FSDP"):
        return _for_fsdp(model, accelerator)
    placed = getattr(model, "hf_device_map", None) is not None or getattr(model, "is_quantized", False)
    return model if placed else model.to(accelerator.device)


def _for_deepspeed(model: Any, accelerator: Any) -> Any:
    import deepspeed

    config = copy.deepcopy(accelerator.state.deepspeed_plugin.deepspeed_config)
    for training_only in ("optimizer", "scheduler"):
        config.pop(training_only, None)
    zero = config["zero_optimization"]
    zero.pop("offload_optimizer", None)
    if zero["stage"] != 3:  # lower stages share what training adds to the weights, and not the weights
        zero["stage"] = 0
    engine, *_ = deepspeed.initialize(model=model, config=config)
    engine.eval()  # which returns nothing, unlike a module's
    return engine


def _for_fsdp(model: Any, accelerator: Any) -> Any:
    plugin = accelerator.state.fsdp_plugin
    if getattr(plugin, "fsdp_version", 1) == 2:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        fully_shard(
            model,
            reshard_after_forward=bool(plugin.reshard_after_forward),
            mp_policy=plugin.mixed_precision_policy or MixedPrecisionPolicy(),
        )
        return model.eval()
    from torch.distributed.fsdp import FullyShardedDataParallel

    plugin.set_auto_wrap_policy(model)
    return FullyShardedDataParallel(
        model,
        sharding_strategy=plugin.sharding_strategy or plugin.reshard_after_forward,
        cpu_offload=plugin.cpu_offload,
        auto_wrap_policy=plugin.auto_wrap_policy,
        mixed_precision=plugin.mixed_precision_policy,
        use_orig_params=plugin.use_orig_params,
        device_id=accelerator.device,
    ).eval()


class SyncReference(TrainerCallback):
    """TR-DPO: every few steps the reference moves towards the policy, pi_ref <- (1 - a) pi_ref + a pi, in the weights.

    Source: Gorbatovski et al. 2024, "Learn Your Reference Model for Real Good Alignment" (arXiv 2404.09656).
    """

    def __init__(self, reference: Any, unwrap: Any, alpha: float, steps: int) -> None:
        self.reference, self.unwrap, self.alpha, self.steps = reference, unwrap, alpha, steps

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Raise where a training goes on after its reference has moved: no checkpoint has that."""
        if state.global_step >= self.steps:
            raise ValueError(
                f"a training with sync_ref_model cannot be resumed after step {state.global_step}: its reference "
                f"has moved every {self.steps} steps, and checkpoints have the policy alone"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step % self.steps:
            return
        own, others = list(self.unwrap(model).parameters()), list(self.unwrap(self.reference).parameters())
        with torch.no_grad(), _gathered_for_writing([*own, *others]):
            for mine, theirs in zip(own, others, strict=True):
                if theirs is not mine:
                    theirs.lerp_(mine, self.alpha)


def _gathered_for_writing(parameters: list[Any]) -> Any:
    if not is_deepspeed_zero3_enabled():
        return contextlib.nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(parameters, modifier_rank=0)
