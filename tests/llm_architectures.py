"""Every causal language model of the installed transformers, as small as its configuration allows."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch

from . import llm_models as tiny

import transformers  # isort: skip (needs the environment of llm_models)
from transformers import PreTrainedModel  # isort: skip
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # isort: skip

VOCABULARY = len(tiny.WORDS) + 3
LARGEST = 6_000_000
"""Parameters of the largest model that is made: what cannot be made small is left out, by name."""

SIZES: dict[str, Any] = {
    **{"vocab_size": VOCABULARY, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1, "initializer_range": 0.5},
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8},
    **{"num_key_value_heads": 2, "max_position_embeddings": 128, "init_std": 0.5, "ffn_dim": 32, "d_ff": 32},
    # older names of the same
    **{"n_positions": 128, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_layers": 2, "n_heads": 2, "d_model": 16},
    **{"emb_dim": 16, "max_seq_len": 128, "rotary_dim": 4, "num_layers": 2, "num_heads": 2, "d_inner": 32, "d_head": 8},
    **{"decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "encoder_layers": 1},
    **{"encoder_attention_heads": 2, "encoder_ffn_dim": 32, "attention_heads": 2, "word_embed_proj_dim": 16},
    # attention through a bottleneck
    **{"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 8},
    **{"index_n_heads": 2, "index_head_dim": 8, "index_topk": 64, "dim_model_base": 16},
    # mixtures of experts
    **{"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "top_k": 2},
    **{"moe_intermediate_size": 16, "moe_topk": 2, "n_group": 1, "topk_group": 1, "num_experts_per_token": 2},
    **{"expert_ffn_hidden_size": 16, "ffn_hidden_size": 32, "zero_expert_num": 2, "shared_intermediate_size": 16},
    **{"shared_expert_intermediate_size": 16, "n_shared_experts": 1, "first_k_dense_replace": 1},
    # families of encoders, which read forward only if they are told to
    **{"is_decoder": True, "causal": True},
    # states
    **{"state_size": 4, "conv_kernel": 2, "chunk_size": 16, "mamba_d_state": 4, "mamba_n_heads": 4, "mamba_d_head": 8},
    **{"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 4, "n_groups": 1, "lru_width": 16},
    **{"n_mamba_heads": 4, "mamba_n_groups": 1, "mamba_dt_rank": 4, "attention_window_size": 64},
}
OWN: dict[str, dict[str, Any]] = {
    "Mamba2ForCausalLM": {"num_heads": 4},
    "Gemma4ForCausalLM": {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 4},
    "Gemma3nForCausalLM": {"num_kv_shared_layers": 0, "vocab_size_per_layer_input": VOCABULARY},
    "Lfm2MoeForCausalLM": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "XmodForCausalLM": {"default_language": "en_XX"},
    "FalconForCausalLM": {"head_dim": None},
    "RoCBertForCausalLM": {"pronunciation_vocab_size": 10, "shape_vocab_size": 10, "pronunciation_embed_dim": 4,
                           "shape_embed_dim": 4},
    "Dots1ForCausalLM": {"n_routed_experts": 4, "n_shared_experts": 1},
    "XLMWithLMHeadModel": {"n_langs": 1, "n_words": VOCABULARY},
    "BambaForCausalLM": {"attn_layer_indices": [1]},
    "GraniteMoeHybridForCausalLM": {"layer_types": ["mamba", "attention"]},
    "ZayaForCausalLM": {"num_experts_per_tok": 1},
    "xLSTMForCausalLM": {"v_head_dim": None},
    "FalconH1ForCausalLM": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8},
    "GPTNeoForCausalLM": {"attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "ZambaForCausalLM": {"layers_block_type": ["mamba", "hybrid"]},
    "Zamba2ForCausalLM": {"layers_block_type": ["mamba", "hybrid"]},
    "ProphetNetForCausalLM": {"num_hidden_layers": None, "num_encoder_layers": 1, "num_decoder_layers": 2},
    "XLNetLMHeadModel": {"max_position_embeddings": None},
    "LongcatFlashForCausalLM": {"num_key_value_heads": None, "head_dim": None},
    "Gemma4AssistantForCausalLM": {"hidden_size_per_layer_input": 0},
}  # fmt: skip


def names() -> list[str]:
    """The classes, by name."""
    found = []
    for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        found += [name] if isinstance(name, str) else list(name)
    return sorted(dict.fromkeys(found))


def settings_of(kind: Any, config: Any) -> dict[str, Any]:
    """Of `SIZES`, what a configuration knows."""
    known = set(inspect.signature(config.__init__).parameters)
    if dataclasses.is_dataclass(config):
        known |= {field.name for field in dataclasses.fields(config)}
    known |= {name for name in SIZES if hasattr(config, name)}
    found = {name: value for name, value in SIZES.items() if name in known} | OWN.get(kind.__name__, {})
    return {name: value for name, value in found.items() if value is not None}


class NotSmall(Exception):
    """An architecture that is not made, and why."""


def build(name: str, seed: int = 0, **changes: Any) -> Any:
    """A model of a class with random weights that make its logits differ, in evaluation mode.

    Args:
        **changes: other settings than these, of those that its configuration knows.

    Raises:
        NotSmall: where these sizes are not what its configuration takes.
    """
    try:
        kind: type[PreTrainedModel] = getattr(transformers, name)
        settings = settings_of(kind, kind.config_class)
        made = kind.config_class(**settings | {key: value for key, value in changes.items() if key in settings})
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in kind(made).parameters())
        if size > LARGEST:
            raise NotSmall(f"{size} parameters")
        torch.manual_seed(seed)
        model = kind(made).eval()
    except NotSmall:
        raise
    except Exception as error:  # of any library that an architecture needs
        raise NotSmall(f"{type(error).__name__}: {error}") from None
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter.std() < 0.3:
                parameter.mul_(0.3 / max(float(parameter.std()), 1e-3))
            elif parameter.ndim == 1 and parameter.numel() > 1:  # scales that are all 1 hide what they do
                parameter.add_(0.3 * torch.rand_like(parameter))
    return model
