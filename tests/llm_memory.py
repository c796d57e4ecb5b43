"""Peak resident memory of token-wise KL, in MiB above what the models take: run by test_llm_heads.py.

python -m tests.llm_memory TOKENS CHUNK
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

VOCABULARY = 32_000
ROWS = 8


def peak() -> float:
    """MiB."""
    from expo_analysis.llm.summary import peak_memory

    found = peak_memory()
    assert found is not None
    return found / 2**20


def main(tokens: int, chunk: int) -> float:
    """The rise over four steps on the same batch, of ``tokens`` tokens of responses."""
    import torch

    import expo_analysis as ea

    from . import llm_models as tiny
    from .llm_trainers import make

    torch.set_num_threads(1)
    length = tokens // ROWS
    data = tiny.pairs(ROWS // 2, longest=length - 1)
    words = {side: [" ".join(tiny.WORDS[k % 40] for k in range(start, start + length - 1)) for start in range(4)]
             for side, start in (("chosen", 0), ("rejected", 7))}  # fmt: skip
    words["rejected"] = [" ".join(reversed(text.split())) for text in words["rejected"]]
    data = tiny.Dataset.from_dict({"prompt": data["prompt"][:], **words})
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(
            ea.EXPO(0.3),
            Path(folder),
            model=tiny.llama(0, vocabulary=VOCABULARY),
            ref_model=tiny.llama(1, vocabulary=VOCABULARY),
            data=data,
            max_length=None,
            token_chunk_size=chunk,
            per_device_train_batch_size=ROWS // 2,
            optim="sgd",
        )
        batch = next(iter(trainer.get_train_dataloader()))
        assert int(batch["completion_mask"][:, 1:].sum()) == tokens
        before = peak()
        for _ in range(4):
            trainer.model.train()
            trainer.compute_loss(trainer.model, batch).backward()
            trainer.model.zero_grad()
        return peak() - before


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2])))
