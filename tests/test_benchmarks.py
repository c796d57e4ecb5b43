"""The benchmarks on a handful of problems: the solvers agree, and the report says what was measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

import expo_analysis as ea
from benchmarks import battles, ours, own_losses, prompts, scipy_bfgs
from benchmarks.problems import Problems, softmax

from .recorder import Recorder


@pytest.fixture(scope="module", params=[(4, 0.1), (7, 0.01), (3, 10.0)])
def problems(request: pytest.FixtureRequest) -> Problems:
    n, lam = request.param
    return Problems.random(n, 6, lam, seed=n)


def test_ours_solves_them(problems: Problems) -> None:
    theta, proven = ours.prepare(problems)()
    assert proven == 1
    assert problems.residual(softmax(theta)) < 1e-14


def test_the_residual_tells_what_is_not_solved(problems: Problems) -> None:
    assert problems.residual(problems.reference) > 1e-3
    assert problems.residual(problems.optimal) > 1e-5


def test_each_call_starts_afresh(problems: Problems) -> None:
    run = ours.prepare(problems)
    np.testing.assert_array_equal(run()[0], run()[0])


def test_gradient_given_to_scipy(problems: Problems) -> None:
    pairs = 2 * problems.pairs[0]
    wins = pairs * problems.preference[0]
    rest = (wins, pairs, wins.sum(axis=1), problems.reference[0], problems.lam)
    theta = problems.start[0] + 0.3 * np.arange(pairs.shape[0])
    _, gradient = scipy_bfgs.value_and_gradient(theta, *rest)
    numeric = approx_fprime(theta, lambda x: scipy_bfgs.value_and_gradient(x, *rest)[0], 1e-7)
    np.testing.assert_allclose(gradient, numeric, atol=1e-5 * (1 + problems.lam))


def test_scipy_agrees(problems: Problems) -> None:
    told = Recorder()
    theta, succeeded, seconds = scipy_bfgs.solve(problems, told, every=4)
    assert succeeded == 1
    assert seconds > 0
    assert told.fractions == [4 / 6, 1.0]
    np.testing.assert_allclose(softmax(theta), softmax(ours.prepare(problems)()[0]), atol=1e-6)


def test_own_losses_are_the_catalogues() -> None:
    rows = own_losses.compare(1, share=4_000)
    assert [row.loss for row in rows] == list(own_losses.LOSSES)
    assert all(row.same and row.own > [0] and row.ours > [0] for row in rows)
    assert all(row.cells[-1] == "yes" and len(row.cells) == len(own_losses.HEADER) for row in rows)


def test_other_losses_are_not_called_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_losses.LOSSES["DPO"][1]
    monkeypatch.setattr(own_losses, "LOSSES", {"IPO": (ea.IPO, own, 5)})
    assert not own_losses.compare(1)[0].same


def test_fits_of_battles_agree() -> None:
    """Each with a gradient of about 0, which the ones of other scores are not."""
    rows = {row.way: row for row in battles.compare(12, 3_000, 1)}
    assert {battles.OURS, "choix", "scikit-learn, lbfgs", "scikit-learn, newton-cholesky"} <= set(rows)
    assert all(row.gradient < 1e-6 and row.error < 1e-4 for row in rows.values())
    assert rows[battles.OURS].bound is not None and rows[battles.OURS].bound < 1e-12
    winner, loser = battles.rows_of(12, 3_000)
    assert battles.gradient(np.zeros(12), winner, loser) > 1e-2
    table = battles.lines(list(rows.values()))
    assert all(len(line) == len(battles.HEADER) for line in table) and table[1][0] == battles.OURS


def test_growth_is_measured_in_a_process_of_its_own() -> None:
    runs = [battles.growth("EXPO, λ = 0.001", 50, battles_) for battles_ in (500, 1_000)]
    assert all(run.status == "optimal" and run.bound < 1e-9 and 0 < run.gigabytes < 4 for run in runs)
    first, second = battles.growth_lines(runs)[1:]
    assert first[5] == "" and float(second[5]) == pytest.approx(np.log2(runs[1].cpu / runs[0].cpu), abs=0.01)


def test_optimistix_agrees(problems: Problems) -> None:
    pytest.importorskip("jax")
    pytest.importorskip("optimistix")
    from benchmarks import optimistix_newton

    theta, succeeded = optimistix_newton.prepare(problems)()
    assert succeeded == 1
    assert theta.dtype == np.float64
    np.testing.assert_allclose(softmax(theta), softmax(ours.prepare(problems)()[0]), rtol=0, atol=1e-13)


def test_a_newton_in_numpy_agrees(problems: Problems) -> None:
    from benchmarks import numpy_newton

    theta, ended = numpy_newton.prepare(problems)()
    assert ended == 1
    np.testing.assert_allclose(softmax(theta), softmax(ours.prepare(problems)()[0]), rtol=0, atol=1e-13)


def test_tables_of_ratios() -> None:
    pytest.importorskip("jax")
    pytest.importorskip("optimistix")
    from benchmarks import measure, report

    told = Recorder()
    rows = measure.compare(3, 5, 0.1, 2, True, told)
    assert [row.solver for row in rows] == [measure.OURS, measure.NUMPY, measure.OPTIMISTIX, measure.SCIPY]
    for solver, fractions in (
        (measure.OURS, [1 / 3, 2 / 3, 1]),
        (measure.NUMPY, [1 / 3, 2 / 3, 1]),
        (measure.OPTIMISTIX, [1 / 3, 2 / 3, 1]),
        (measure.SCIPY, [1]),
    ):
        assert [f for f, task in zip(told.fractions, told.task, strict=True) if task == solver] == fractions
    assert rows[0].distance == 0
    assert rows[1].distance < 1e-13 and rows[2].distance < 1e-13
    assert 0 < rows[3].distance < 1e-6
    lines = report.cells(rows)
    assert {len(line) for line in lines} == {len(report.HEADER)}
    ratio = report.HEADER.index("× ours")
    assert float(lines[0][ratio]) == 1
    assert float(lines[3][ratio]) == pytest.approx(rows[3].seconds / rows[0].seconds, abs=0.006)
    text = report.markdown({"Three responses": rows}, "python -m benchmarks", 0.0)
    assert all(f"| {' | '.join(line)} |" in text for line in lines)
    assert "Three responses" in text


@pytest.mark.slow
def test_the_plain_loop_trains_as_train_does() -> None:
    """Equal results are what the comparison of their times rests on; the loop goes on where it was."""
    from benchmarks import training

    progress: list[tuple[int, int]] = []
    for loss in training.LOSSES:
        one = training.sweep(loss, 2, 50, True, 50, lambda *at: progress.append(at))
        assert (one.loss, one.settings, one.timed) == (loss, 11, 100)
        assert one.steps == 277 * max(1, training.EPOCHS["preservation"][loss] // 50)
        assert one.distance < 1e-9
        assert one.ours > 0 and one.plain == pytest.approx(11 * one.steps * one.step_seconds)
    assert progress == [(1, 2), (2, 2)] * len(training.LOSSES)


def test_growth_counts_what_it_says() -> None:
    from benchmarks import training

    run = training.growth(3, 5, 40)
    assert (run.data_sets, run.n, run.steps) == (3, 5, 40) and run.seconds > 0


def test_tables_of_training() -> None:
    pytest.importorskip("jax")
    from benchmarks import report, training

    sweeps = [
        training.Sweep("dpo", 11, 1000, 100, 2.0, 0.01, 1e-9),
        training.Sweep("expo", 11, 500, 100, 1.0, 0.02, np.nan),
    ]
    lines = report.sweep_lines(sweeps)
    assert {len(line) for line in lines} == {len(report.SWEEP_HEADER)}
    assert lines[1][-4:] == ("2.00", "110", "55", "1.0e-09") and lines[2][-4:] == ("1.00", "110", "110", "")
    assert lines[3][0] == "all" and lines[3][-4:-1] == ("3.00", "220", "73") and lines[3][3] == "16,500"
    grown = report.growth_lines([training.Growth(10, 3, 200, 0.5)])
    assert grown[1] == ("10", "3", "200", "0.50", "2,500", "250.00")
    text = report.markdown({}, "python -m benchmarks", 0.0, {"Sweep": lines})
    assert "## Sweep" in text and "projected" in text and all(f"| {' | '.join(line)} |" in text for line in lines)


def test_every_prompt_of_few_comparisons_is_decided() -> None:
    """DPO has an optimum exactly where everybody won something from the others, and lost something to them."""
    rows = {loss: prompts.measure(loss, 400) for loss in ("DPO", "IPO")}
    assert all(row.decided and row.bound < 1e-9 and row.solving > 0 < row.counting for row in rows.values())
    _, counts = prompts.problems(400)
    assert counts.sum(axis=(1, 2)).tolist() == [6.0] * 400
    reach = np.linalg.matrix_power(counts + np.eye(4), 3) > 0
    assert rows["IPO"].optimal == 1 and rows["DPO"].optimal == reach.all(axis=(1, 2)).mean() < 0.5
    assert all(len(line) == len(prompts.HEADER) for line in prompts.lines(list(rows.values())))
