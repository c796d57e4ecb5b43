"""Language models by name: ``"smollm2"``, a folder of a model or of an adapter, or a model of the Hub."""

from __future__ import annotations

import difflib
import json
import re
import warnings
from pathlib import Path
from typing import Any

from .._files import from_home
from .smollm2 import SMOLLM2, smollm2_folder

MODEL, ADAPTER = "config.json", "adapter_config.json"
"""What the folder of a model has, and that of an adapter."""

WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""The weights of a whole model."""

PARTS = {
    "weights": (("*.safetensors", "*.bin", "*.gguf"), "model.safetensors"),
    "tokenizer": (("tokenizer*", "vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json"), "tokenizer.json"),
}
"""What the folder of a model must have: the files that it may be in, and one of them for an example."""

HUB_NAME = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?")

SECONDS = 10
"""How long the Hub may take to say whether it has a model."""


def load_model(name: str, **kwargs: Any) -> Any:
    """A causal language model in evaluation mode; of an adapter, its base model with the adapter on it.

    Args:
        name: ``"smollm2"``, a local folder, or a model of the Hub.
        **kwargs: of `AutoModelForCausalLM.from_pretrained`; the default of ``dtype`` is ``"float32"``.

    Raises:
        ValueError: naming the model, where ``"smollm2"`` is asked for and what it needs is not installed, or where a
            folder is missing or is none of a model; for a model that predicts tokens from later ones too.
        OSError: from transformers, for a model of the Hub that cannot be had.

    Example:
        >>> model = load_model("out/dpo")  # doctest: +SKIP
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.integrations import is_deepspeed_zero3_enabled

    from .causality import check_reads_forward

    folder = resolve_model(name)
    base = adapter_base(folder)
    check_has("weights", base or folder)
    known = {key: value for key, value in kwargs.items() if key in ("trust_remote_code", "revision", "subfolder")}
    if getattr(AutoConfig.from_pretrained(base or folder, **known), "is_encoder_decoder", False):
        raise ValueError(f"model {name!r} has an encoder beside its decoder; models of one sequence are accepted")
    loaded = load_whole(AutoModelForCausalLM, base or folder, **{"dtype": "float32"} | kwargs)
    loaded = (loaded if base is None else with_adapter(loaded, folder)).eval()
    if not is_deepspeed_zero3_enabled():  # which has no whole weights here; a trainer tries its models itself
        check_reads_forward(loaded)
    return loaded


def with_adapter(base: Any, folder: str, **kwargs: Any) -> Any:
    """A base model with the adapter of a folder on it; arguments are those of `PeftModel.from_pretrained`."""
    from peft import PeftModel

    with warnings.catch_warnings():  # PEFT reads what transformers is about to rename
        warnings.simplefilter("ignore", FutureWarning)
        return PeftModel.from_pretrained(base, folder, **kwargs)


def load_whole(kind: Any, name: str, **kwargs: Any) -> Any:
    """What ``kind.from_pretrained`` gives, where its files have all of its weights.

    transformers draws those that are missing at random, and only warns: a head, of a model that was saved without one.

    Raises:
        ValueError: naming the model, and the first weight that is missing.
    """
    loaded, info = kind.from_pretrained(name, **kwargs | {"output_loading_info": True})
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        more = f" and {len(missing) - 1} more weights" if len(missing) > 1 else ""
        raise ValueError(
            f"model {name!r}: its files lack {missing[0]}{more} of {type(loaded).__name__}: these would be random"
        )
    return loaded


def load_tokenizer(name: str, **kwargs: Any) -> Any:
    """The tokenizer that belongs to a model; arguments and errors are those of `load_model`."""
    from transformers import AutoTokenizer

    folder = folder_of_tokenizer(resolve_model(name))
    check_has("tokenizer", folder)
    return AutoTokenizer.from_pretrained(folder, **kwargs)


def folder_of_tokenizer(folder: str) -> str:
    """Where the tokenizer of a resolved model is: of an adapter that has none of its own, at its base."""
    base = adapter_base(folder)
    return folder if base is None or any(Path(folder).glob("tokenizer*")) else base


def check_has(part: str, name: str | None) -> None:
    """Raise for the folder of a model that lacks one of `PARTS`: transformers would look elsewhere, or make one up.

    Raises:
        ValueError: naming the folder and the part; of a model of the Hub nothing is known here.
    """
    patterns, example = PARTS[part]
    folder = Path(name or "")
    if name and folder.is_dir() and not any(path for pattern in patterns for path in folder.glob(pattern)):
        raise ValueError(f"model {name!r}: the folder has no {part}, such as {example}")


def context_of(name: str) -> int | None:
    """The most tokens of prompt and response together that a model reads, where its configuration knows a limit."""
    from transformers import AutoConfig

    folder = resolve_model(name)
    config = AutoConfig.from_pretrained(adapter_base(folder) or folder)
    limit: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit


def without_progress_bars() -> None:
    """Let transformers draw none of its own in this process."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def resolve_model(name: str) -> str:
    """What `from_pretrained` takes for this name: the folder of the converted model for ``"smollm2"``, else the name.

    What exists here is never looked up on the Hub, and neither is what can only be a path.

    Raises:
        ValueError: naming the model, where ``"smollm2"`` is asked for and what it needs is not installed, where a
            folder has no model, and for a path without a folder.
    """
    if name == SMOLLM2:
        return str(smollm2_folder())
    path = from_home(name)
    if path.is_dir():
        if not any((path / file).is_file() for file in (MODEL, ADAPTER)):
            found = [file for file in path.glob("checkpoint-*/*") if file.name in (MODEL, ADAPTER)]
            newest = max(found, key=lambda file: file.stat().st_mtime).parent if found else None
            hint = f"; did you mean {str(newest)!r}?" if newest else ""
            raise ValueError(f"model {name!r}: the folder has neither {MODEL} nor {ADAPTER}{hint}")
        return str(path)
    if path.exists():
        raise ValueError(f"model {name!r}: it is a file; give the folder of a model")
    of_a_folder_here = "/" in name and Path(name.split("/")[0]).is_dir()
    is_path = path.is_absolute() or name.startswith((".", "~")) or "\\" in name or of_a_folder_here
    if is_path or not HUB_NAME.fullmatch(name):
        raise ValueError(f"model {name!r}: there is no such folder{_close_to(path)}")
    return name


def find_model(name: str, revision: str | None = None) -> str:
    """As `resolve_model`, and for a model of the Hub, that it can be had: asked once, within seconds.

    Raises:
        ValueError: naming the model and what is wrong.
    """
    found = resolve_model(name)
    base = adapter_base(found)
    if base is not None:
        find_model(base)
    if Path(found).is_dir():
        return found
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(try_to_load_from_cache(found, MODEL, revision=revision), str):
        return found
    hint = "" if "/" in name else _close_to(Path(name))
    try:
        info = HfApi().model_info(found, revision=revision, timeout=SECONDS)
    except GatedRepoError:
        raise ValueError(f"model {name!r}: it must be asked for on the Hub, and `hf auth login` be run") from None
    except RevisionNotFoundError:
        raise ValueError(f"model {name!r}: the Hub has no revision {revision!r} of it") from None
    except RepositoryNotFoundError:
        raise ValueError(f"model {name!r}: there is no such folder here, and no such model on the Hub{hint}") from None
    except Exception:  # offline, a timeout: each release of the Hub's client has other names for these
        raise ValueError(f"model {name!r}: there is no such folder here, and the Hub cannot be reached{hint}") from None
    files = {file.rfilename for file in info.siblings or ()}
    if ADAPTER in files and MODEL not in files:
        raise ValueError(
            f"model {name!r} is an adapter on the Hub: fetch it with `hf download {name} --local-dir FOLDER`, and give "
            "the folder"
        )
    return found


def adapter_base(folder: str | Path) -> str | None:
    """The base model of an adapter in a folder; None for whatever else there is.

    Raises:
        ValueError: naming the file, where it names no base model, or one that is not there.
    """
    file = Path(folder) / ADAPTER
    if not file.is_file() or any(path for pattern in WEIGHTS for path in Path(folder).glob(pattern)):
        return None
    try:
        base = json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise ValueError(f"{file}: it names no base_model_name_or_path, so that there is nothing to put the adapter on")
    try:
        return resolve_model(base)
    except ValueError as error:
        raise ValueError(f"{file}: of its base_model_name_or_path: {error}") from None


def _close_to(path: Path) -> str:
    """A question about a model that is nearly called so: here, or the one that needs no internet."""
    try:
        others = [other.name for other in path.parent.iterdir() if other.is_dir()]
    except OSError:
        return f": there is no folder {str(path.parent)!r}"
    own = [SMOLLM2] if path.parent == Path() else []
    close = difflib.get_close_matches(path.name, own + sorted(others), n=1, cutoff=0.75)
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close else ""
