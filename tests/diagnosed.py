"""Trainings of tiny models, sound ones and ones with a planted fault, whose logs `diagnose` is tested on.

    python -m tests.diagnosed FOLDER [--world 0] [NAME ...]

trains them (a few seconds each) and writes the log of each into a folder of its name. The committed logs, in
tests/files/diagnose, are those of world 0. Thresholds were set on worlds 1 to 3, which have other languages, other
preferences, other data and other seeds; from world 6 on responses are longer.

A world: sentences of a Markov chain over 40 words, which a Llama of two layers learns first; of two responses the one
with more words of a set is chosen.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import llm_models as tiny

import expo_analysis as ea  # isort: skip
from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer  # isort: skip
from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # isort: skip

WORDS = len(tiny.WORDS)
RATE = 4e-4
"""A sound learning rate here."""


class World:
    """A language, a model that has learned it, and preferences."""

    def __init__(self, number: int) -> None:
        self.rng = np.random.default_rng(1000 + number)
        self.following = np.stack([self.rng.permutation(WORDS)[:4] for _ in range(WORDS)])
        self.liked = self.rng.permutation(WORDS)[: WORDS // 2]
        self.model_seed = 10 * number
        self.length = 8 if number < 6 else 14
        self.weights = self._learned(self.model_seed, 400)

    def sentence(self, first: int, length: int) -> list[int]:
        found = [first]
        for _ in range(length):
            found.append(int(self.rng.choice(self.following[found[-1]], p=[0.55, 0.25, 0.15, 0.05])))
        return found[1:]

    def _learned(self, seed: int, steps: int) -> dict[str, torch.Tensor]:
        """The weights of a Llama after some steps on sentences; words are tokens 3, 4, ..."""
        model = tiny.llama(seed, hidden_size=32, intermediate_size=64, initializer_range=0.05)
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            rows = [self.sentence(int(self.rng.integers(WORDS)), 12) for _ in range(32)]
            ids = torch.tensor(rows) + 3
            loss = model(input_ids=ids, labels=ids).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    def model(self) -> Any:
        made = tiny.llama(0, hidden_size=32, intermediate_size=64)
        made.load_state_dict(self.weights)
        return made

    def another(self) -> Any:
        """A model of the same language that has learned less."""
        made = tiny.llama(0, hidden_size=32, intermediate_size=64)
        made.load_state_dict(self._learned(self.model_seed + 5, 40))
        return made

    def pairs(self, count: int, flips: float = 0.0) -> Any:
        """Prompts with two responses; the chosen one has more of the liked words, but for a share of flips."""
        columns: dict[str, list[Any]] = {"prompt": [], "chosen": [], "rejected": []}
        while len(columns["prompt"]) < count:
            prompt = self.sentence(int(self.rng.integers(WORDS)), 3)
            both = [self.sentence(prompt[-1], self.length) for _ in range(2)]
            score = [np.isin(own, self.liked).sum() for own in both]
            if abs(score[0] - score[1]) < 2:
                continue
            better = int(score[1] > score[0]) ^ int(self.rng.random() < flips)
            texts = [prompt, both[better], both[1 - better]]
            for name, ids in zip(columns, texts, strict=True):
                role = "user" if name == "prompt" else "assistant"
                content = " ".join(tiny.WORDS[k] for k in ids)
                columns[name].append([{"role": role, "content": content}])
        return tiny.Dataset.from_dict(columns)


def swapped(data: Any) -> Any:
    """The same pairs with chosen and rejected exchanged."""
    return data.rename_columns({"chosen": "rejected", "rejected": "chosen"})


def strange() -> Any:
    """A tokenizer that has its words in another order: what a model reads under the wrong one."""
    return tiny.tokenizer(list(np.random.default_rng(5).permutation(tiny.WORDS)))


def config(kind: Any, **given: Any) -> Any:
    usual = {"per_device_train_batch_size": 8, "learning_rate": 2e-3, "max_steps": 80, "eval_strategy": "no"}
    usual |= {"logging_first_step": True, "logging_steps": 4}
    return kind(**tiny.settings(Path(tempfile.mkdtemp()), **usual | given))


EVALUATED = {"eval_strategy": "steps", "eval_steps": 10, "per_device_eval_batch_size": 32}


def ours(world: World, loss: Any, train: Any, held: Any = None, **given: Any) -> Any:
    args = config(PreferenceConfig, **(EVALUATED if held is not None else {}) | given)
    data = {"train_dataset": train, "eval_dataset": held, "processing_class": tiny.tokenizer()}
    return PreferenceTrainer(world.model(), loss, args, **data)


def trl(world: World, train: Any, held: Any = None, reference: Any = None, words: Any = None, **given: Any) -> Any:
    args = config(DPOConfig, **(EVALUATED if held is not None else {}) | given)
    data = {"train_dataset": train, "eval_dataset": held, "processing_class": words or tiny.tokenizer()}
    return DPOTrainer(world.model(), reference or world.model(), args=args, **data)


def kto(world: World, **given: Any) -> Any:
    args = config(KTOConfig, **{"beta": 0.3, "max_steps": 80} | given)
    data = {"train_dataset": world.pairs(300), "processing_class": tiny.tokenizer()}
    return KTOTrainer(world.model(), world.model(), args=args, **data)


def orpo(world: World, **given: Any) -> Any:
    args = config(ORPOConfig, **{"beta": 0.2, "max_length": 64} | given)
    data = {"train_dataset": world.pairs(640), "processing_class": tiny.tokenizer()}
    return ORPOTrainer(world.model(), args=args, **data)


SOUND: dict[str, Callable[[World], Any]] = {
    "sound dpo": lambda w: ours(w, ea.DPO(0.3), w.pairs(640), w.pairs(128), learning_rate=RATE),
    "sound expo": lambda w: ours(w, ea.EXPO(0.1), w.pairs(640), w.pairs(128), learning_rate=RATE),
    "sound ipo": lambda w: ours(w, ea.IPO(0.1), w.pairs(640), learning_rate=RATE, aggregation="sum"),
    "sound trl dpo": lambda w: trl(
        w, w.pairs(640), w.pairs(128), beta=0.3, learning_rate=RATE, logging_steps=5, logging_first_step=False
    ),
    "sound trl ipo": lambda w: trl(w, w.pairs(640), beta=0.3, learning_rate=RATE, loss_type=["ipo"]),
    "sound orpo": lambda w: orpo(w, learning_rate=RATE),
}
PLANTED: dict[str, Callable[[World], Any]] = {
    "wrong reference": lambda w: trl(w, w.pairs(640), reference=w.another(), beta=0.3, learning_rate=RATE),
    "labels swapped": lambda w: trl(w, swapped(w.pairs(640)), w.pairs(128), beta=0.3, learning_rate=RATE),
    "noisy labels": lambda w: ours(
        w,
        ea.DPO(1.0),
        w.pairs(2400, flips=0.25),
        w.pairs(256, flips=0.25),
        max_steps=300,
        eval_steps=30,
        learning_rate=RATE,
        logging_steps=10,
    ),
    "lambda too small": lambda w: trl(w, w.pairs(640), w.pairs(128), beta=1e-3),
    "lambda too large": lambda w: ours(w, ea.DPO(10.0), w.pairs(640), learning_rate=3e-4),
    "lambda too large (expo)": lambda w: ours(w, ea.EXPO(20.0), w.pairs(640), learning_rate=RATE),
    "learning rate too high": lambda w: trl(w, w.pairs(640), beta=0.3, learning_rate=0.3),
    "nothing moves": lambda w: trl(w, w.pairs(640), beta=0.3, learning_rate=1e-7),
    "wrong template": lambda w: trl(w, w.pairs(640), words=strange(), beta=0.3, learning_rate=RATE),
    "saturated": lambda w: ours(w, ea.DPO(1.0), w.pairs(32), max_steps=150, learning_rate=3e-3),
    "overfit": lambda w: ours(
        w, ea.DPO(1.0), w.pairs(40, flips=0.2), w.pairs(128, flips=0.2), max_steps=150, eval_steps=15
    ),
    "KL at its clamp": lambda w: kto(w),
}
"""By name; what is before a bracket is the check that has to find it."""


def log_of(trainer: Any) -> dict[str, Any]:
    """What the trainer writes as trainer_state.json, with five digits."""
    trainer.train()
    state = json.loads(json.dumps(trainer.state.__dict__, default=lambda x: None))
    kept = ("epoch", "global_step", "max_steps", "num_train_epochs", "train_batch_size")
    dropped = ("runtime", "per_second", "total_flos", "train_loss")
    history = [
        {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in entry.items()
         if not any(word in key for word in dropped)}
        for entry in state["log_history"]
    ]  # fmt: skip
    return {key: state[key] for key in kept if key in state} | {"log_history": [e for e in history if len(e) > 2]}


def write(name: str, make: Callable[[World], Any], world: World, folder: Path) -> None:
    trainer = make(world)
    own = folder / name.replace(" ", "_").replace("(", "").replace(")", "")
    own.mkdir(parents=True, exist_ok=True)
    state = log_of(trainer)
    lines = ",\n  ".join(json.dumps(entry) for entry in state.pop("log_history"))
    head = json.dumps(state)[:-1]
    (own / "trainer_state.json").write_text(f'{head}, "log_history": [\n  {lines}\n]}}\n')
    if isinstance(trainer, PreferenceTrainer):
        parts = trainer.identity.parts(trainer)
        kept = {key: parts[key] for key in ("objective", "aggregation")}
        (own / "preference_training.json").write_text(json.dumps(kept) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--world", type=int, default=0)
    given = parser.parse_args()
    runs = SOUND | PLANTED
    world = World(given.world)
    for name in given.names or runs:
        world.rng = np.random.default_rng([given.world, list(runs).index(name)])
        with contextlib.redirect_stdout(sys.stderr):
            write(name, runs[name], world, given.folder)


if __name__ == "__main__":
    main()
