"""Adapters of public packages: each says what a loss is, and is held to it where the package is installed."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.adapters import MODULES, Ours, adapter, implementation, packages, stand_ins
from expo_analysis.adapters.borrowed import Missing, definitions, from_file, imported, version
from expo_analysis.adapters.implementation import Package, Pairs, as_function
from expo_analysis.adapters.without import WITHOUT
from expo_analysis.census import compare as comparing
from expo_analysis.census.compare import SINGLE, compare, remembered
from expo_analysis.own_loss import make_loss
from expo_analysis.testing.equal import drawn_pairs

PACKAGES = packages()


def few_pairs() -> dict[str, np.ndarray]:
    """Twenty pairs, near and far, to compare losses on."""
    return {name: numbers[:, :20] for name, numbers in drawn_pairs().items()}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_loss_is_what_its_adapter_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of ours that it names; or, where it says what a loss is instead, that. On a third of the census's pairs:
    most implementations take one at a time."""
    monkeypatch.setattr(comparing, "drawn_pairs", few_pairs)
    package = PACKAGES[name]
    if package.version is None:
        pytest.skip(f"{name} is not installed")
    for one in package.losses.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = compare(one, remembered(one))
        if one.really is not None:
            assert found.explained is not None and found.explained < SINGLE, one.name
        elif found.loss != str(one.ours) or found.relation == "differs":
            assert one.note, f"{one.name} is {found.loss}, {found.relation}, and its adapter does not say why"


def test_the_list_of_modules_is_complete() -> None:
    folder = Path(stand_ins.__file__).parent
    have = {path.stem for path in folder.glob("*.py") if "PACKAGE = Package(" in path.read_text()}
    assert have == set(MODULES)
    assert len(PACKAGES) == len(MODULES) and not set(PACKAGES) & set(WITHOUT)


@pytest.mark.parametrize("module", MODULES)
def test_where_a_package_is_missing_one_sentence_says_so(module: str) -> None:
    package = importlib.import_module(f"expo_analysis.adapters.{module}").PACKAGE
    if package.version is not None:
        pytest.skip(f"{package.name} is installed")
    for one in package.losses.values():
        with pytest.raises(Missing, match=f"^{package.name} is not installed: pip install {package.name}$"):
            one.loss()
    with pytest.raises(ValueError, match=f"{package.name} is not installed"):
        make_loss(f"expo_analysis.adapters.{module}:{one.name}")


def test_names_that_are_not_there_are_answered_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"package must be one of trl, torchtune, .*got 'trlx'"):
        adapter("trlx", "dpo")
    with pytest.raises(ValueError, match=r"loss must be one of torchtune's dpo, dpo_smoothed, rso, got 'ipo'"):
        implementation("torchtune", "ipo")
    with pytest.raises(ValueError, match="has no class or function 'ipo'"):
        make_loss("expo_analysis.adapters.torchtune:ipo")


@pytest.mark.parametrize(
    ("ours", "text", "code"),
    [
        (Ours("dpo"), "dpo", 'ea.objective("dpo", 2.0)'),
        (Ours("simpo", gamma=0.5), "simpo", 'ea.objective("simpo", 2.0, gamma=0.5)'),
        (
            Ours("dpo", label_smoothing=0.1),
            "dpo(label_smoothing=0.1)",
            'ea.objective("dpo", 2.0, label_smoothing=0.1)',
        ),
        (Ours("simpo", gamma=lambda lam: lam / 4), "simpo", 'ea.objective("simpo", 2.0, gamma=0.5)'),
        (Ours("ipo", of_means=True), "ipo of means", 'Ours("ipo", of_means=True).at(2.0)'),
    ],
)
def test_ours_prints_code_that_makes_it(ours: Ours, text: str, code: str) -> None:
    assert str(ours) == text and ours.code(2.0) == code
    pair = [np.array([x]) for x in (-1.0, -2.0, -3.0, -1.5)]
    data = {name: np.array([2.0]) for name in ours.at(2.0).data}
    made = eval(code, {"ea": ea, "Ours": Ours})
    assert made.loss(*pair, **data) == ours.at(2.0).loss(*pair, **data)


def test_of_means_divides_by_lengths() -> None:
    logps, lengths = [np.array([x]) for x in (-1.0, -2.0, -3.0, -1.5)], {"length_w": 4.0, "length_l": 2.0}
    mine = Ours("ipo", of_means=True).at(0.5).loss(*logps, **{key: np.array([x]) for key, x in lengths.items()})
    assert mine == pytest.approx(((-1 + 3) / 4 - (-2 + 1.5) / 2 - 1) ** 2)


# ------------------------------------------------------------------------------------------ what is borrowed, and how

SOURCE = """
import a_package_that_nobody_has

TEMPERATURE = 2.0

def scaled(gap, beta):
    return beta * gap / TEMPERATURE

class Trainer(a_package_that_nobody_has.Base):
    @a_package_that_nobody_has.logged
    def loss(self, won: a_package_that_nobody_has.Tensor, lost) -> a_package_that_nobody_has.Tensor:
        return torch.nn.functional.softplus(-scaled(won - lost, self.beta))
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A distribution whose file cannot be imported, and one that can."""
    record = tmp_path / "somebodys_losses-1.2.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-losses\nVersion: 1.2\n")
    package = tmp_path / "somebodys_losses"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('no GPU')\n")
    (package / "trainer.py").write_text(SOURCE)
    (package / "plain.py").write_text("def dpo(gap):\n    return -gap\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "somebodys-losses"


def test_definitions_are_compiled_alone(installed: str) -> None:
    names = ("TEMPERATURE", "scaled", "Trainer.loss")
    found = definitions(installed, "somebodys_losses/trainer.py", *names, torch=torch)
    trainer = Pairs(1, 2, 3, 4).__class__  # any object: the method is a function of self
    own = type("Own", (), {"beta": 4.0})()
    assert trainer is Pairs and float(found.loss(own, torch.tensor(1.0), torch.tensor(0.5))) == pytest.approx(
        float(torch.nn.functional.softplus(torch.tensor(-1.0)))
    )


def test_a_file_is_loaded_without_its_package(installed: str) -> None:
    assert from_file(installed, "somebodys_losses/plain.py").dpo(3) == -3
    assert version(installed) == "1.2"


def test_what_cannot_be_borrowed_is_said(installed: str) -> None:
    for call, message in (
        (lambda: from_file(installed, "somebodys_losses/trainer.py"), "cannot be loaded alone.*nobody_has"),
        (lambda: from_file(installed, "somebodys_losses/gone.py"), "somebodys-losses 1.2 has no file .*gone.py"),
        (lambda: definitions(installed, "somebodys_losses/plain.py", "kto"), "plain.py .*1.2 defines no kto"),
        (lambda: definitions(installed, "somebodys_losses/trainer.py", "Trainer.kto"), "defines no Trainer.kto"),
        (lambda: imported(installed, "somebodys_losses"), "import somebodys_losses .* fails: RuntimeError: no GPU"),
        (lambda: imported("no-such-losses", "x"), "no-such-losses is not installed: pip install no-such-losses"),
        (lambda: from_file("no-such-losses", "x.py"), "no-such-losses is not installed"),
    ):
        with pytest.raises(Missing, match=message):
            call()


def test_an_adapter_is_a_loss_for_the_command_line(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from expo_analysis.adapters import torchtune

    mine = Package(installed, "1.2")
    mine.add("hinge", "hinge", "x", lambda p, beta: torch.relu(1 - beta * (p.ratios[0] - p.ratios[1])), Ours("hinge"))
    monkeypatch.setattr(torchtune, "__getattr__", mine.function)
    made = make_loss("expo_analysis.adapters.torchtune:hinge", 0.5)
    pair = [np.array([x]) for x in (-1.0, -2.0, -3.0, -1.5)]
    assert made.loss(*pair) == ea.Hinge(0.5).loss(*pair)


# ---------------------------------------------------------------------------------------------------------- stand-ins


@pytest.mark.parametrize("prompt", [1, 3])
def test_logits_have_the_log_probabilities_that_are_asked_for(prompt: int) -> None:
    logps, lengths = torch.tensor([-3.0, -0.01], dtype=torch.float64), torch.tensor([4.0, 2.0], dtype=torch.float64)
    ids, labels, logits = stand_ins.sequences(logps, lengths, prompt)
    log_probs = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    counted = labels[:, 1:] != stand_ins.IGNORED
    assert torch.allclose((log_probs * counted).sum(1), logps, rtol=1e-14)
    assert counted.sum(1).tolist() == [4, 2] and (labels[:, :prompt] == stand_ins.IGNORED).all()
    assert torch.allclose(log_probs[:, : prompt - 1].exp(), torch.full((2, prompt - 1), 0.5, dtype=torch.float64))


def test_tokens_share_a_response_evenly() -> None:
    logps = torch.tensor([-3.0, -1.0], requires_grad=True)
    shares, there = stand_ins.tokens(logps, torch.tensor([3.0, 1.0]))
    assert shares.tolist() == [[-1, -1, -1], [-1, 0, 0]] and there.tolist() == [[1, 1, 1], [1, 0, 0]]
    shares.sum().backward()
    assert logps.grad is not None and logps.grad.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("reads", "data"), [("", ()), ("lengths", ("length_l", "length_w")), ("rewards", ("reward_l", "reward_w"))]
)
def test_an_adapter_gets_what_it_reads(reads: str, data: tuple[str, ...]) -> None:
    def adapted(p: Pairs, beta: float) -> torch.Tensor:
        further = {"": 0.0, "lengths": p.length_w, "rewards": p.reward_w}[reads]
        return beta * (p.w + 2 * p.l + 3 * p.ref_w + 4 * p.ref_l) + further

    made = ea.from_function(as_function(adapted, reads), 2.0)
    assert made.data == data
    pair = [np.array([x]) for x in (1.0, 10.0, 100.0, 1000.0)]
    given = {name: np.array([7.0 if name.endswith("w") else 5.0]) for name in data}
    assert made.loss(*pair, **given) == 2 * 4321 + (7 if data else 0)
