"""The last evaluation: on more examples than the curve, example by example, whatever interrupts or executes it."""

from dataclasses import replace
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from bigram import Bigram
from marks import slow_but

from lab.comparison.outcomes import of_curves
from lab.comparison.text_error import crossed_errors
from lab.experiment.experiment import grid
from lab.results.cells import CellDirectory
from lab.results.examples import CURVE, Examples, decoded, encoded, joined
from lab.results.results import Results
from lab.results.tables import read_arrow
from lab.statistics.crossed import by_document, crossed
from lab.tasks.audio.speech import SpokenDigits
from lab.tasks.images import ImageAutoencoding, ImageClassification
from lab.tasks.language import CausalLanguage
from lab.tasks.masked import MaskedLanguage
from lab.tasks.spans import SpanCorruption
from lab.tasks.tagging import TAGS, TweetTagging
from lab.tasks.task import Task, final_batches, measured, totals
from lab.tasks.windows import BLOCKS, MIN_DOCUMENTS
from lab.training import evaluation
from lab.training.devices.execution import Execution
from lab.training.evaluation import Batches
from lab.training.runs import Program
from lab.training.settings import Settings
from lab.training.train import train

LARGE = 2.0  # of the cost of training: 72 of the corpus' windows, of which the curve has 8


@pytest.fixture
def cell(experiment):
    asked = replace(experiment, model=Bigram(), settings=replace(experiment.settings, final_evaluation=LARGE))
    return grid(asked)[0]


def trained(cell, directory, **changes):
    settings = replace(cell.settings, **changes)
    train(cell.model, cell.task, settings, cell.runs, directory, cell.task.load())
    (wave,) = CellDirectory(directory).waves()
    return wave


def values(wave, split, step, metric="loss"):
    rows = wave.metrics()
    chosen = rows[(rows["split"] == split) & (rows["step"] == step) & (rows["metric"] == metric)]
    return chosen.sort_values("seed")["value"].to_numpy()


def test_the_last_evaluation_takes_at_most_its_share_of_the_forward_passes():
    settings = Settings(steps=300, batch_size=8)
    assert 2 * settings.final_examples <= 0.15 * 3 * 300 * 8 < 2 * (settings.final_examples + 1)
    assert Settings(final_evaluation=0.0).final_examples == 0


@pytest.mark.parametrize("share", [-0.1, float("inf"), float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=r"settings\.final_evaluation is"):
        Settings(final_evaluation=share).check()


def test_the_last_value_is_the_mean_over_many_windows_and_the_curve_keeps_its_own(cell, tmp_path):
    wave, before = trained(cell, tmp_path / "large"), trained(cell, tmp_path / "small", final_evaluation=0.0)
    for split in ("validation", "test"):
        kept = wave.examples(split, "loss")
        assert kept.values.shape == (3, cell.settings.final_examples)
        assert kept.weight.size > cell.task.evaluation_windows
        mean = np.average(kept.values.astype(float), axis=1, weights=kept.weight)
        np.testing.assert_allclose(values(wave, split, 6), mean, rtol=1e-5)
    np.testing.assert_allclose(values(wave, CURVE, 6), values(before, "validation", 6), rtol=1e-6)
    np.testing.assert_allclose(values(wave, "validation", 4), values(before, "validation", 4), rtol=1e-6)
    assert not np.allclose(values(wave, "validation", 6), values(before, "validation", 6), rtol=1e-4)
    assert CURVE not in set(before.metrics()["split"])
    assert before.examples("validation", "loss").weight.size == cell.task.evaluation_windows


@pytest.mark.parametrize("after", slow_but((4,), (2, 4, 6)))
def test_resumed_equals_uninterrupted_example_by_example(cell, tmp_path, after):
    class Killed(Exception):
        pass

    def watch(at, rows):
        if at >= after:
            raise Killed

    arguments = (cell.model, cell.task, cell.settings, cell.runs)
    with pytest.raises(Killed):
        train(*arguments, tmp_path / "killed", cell.task.load(), watch=watch)
    left, right = trained(cell, tmp_path / "killed"), trained(cell, tmp_path / "whole")
    assert (left.path / "examples.parquet").read_bytes() == (right.path / "examples.parquet").read_bytes()


def test_a_deleted_file_of_examples_is_made_again_from_the_checkpoint(cell, tmp_path):
    wave = trained(cell, tmp_path)
    content = (wave.path / "examples.parquet").read_bytes()
    (wave.path / "examples.parquet").unlink()
    assert not wave.done
    again = trained(cell, tmp_path)
    assert again.done
    assert (again.path / "examples.parquet").read_bytes() == content


def test_a_wave_of_an_earlier_version_is_done_without_examples(cell, tmp_path):
    wave = trained(cell, tmp_path, final_evaluation=0.0)
    (wave.path / "examples.parquet").unlink()
    (wave.path / "done").write_text("true\n")
    assert wave.done
    assert CellDirectory(tmp_path).examples("validation", "loss") is None


def last(cell, execution=None):
    program = Program(
        cell.model, cell.task, cell.settings, cell.runs, cell.task.load(), execution or Execution("map", 1)
    )
    return program.evaluate_last(program.init(), "validation")


EXECUTIONS = (Execution("vmap", 1), Execution("map", 2), Execution("map", 1, shards=2), Execution("vmap", 3))


@pytest.mark.parametrize("execution", slow_but(EXECUTIONS[1:3], EXECUTIONS))
def test_execution_does_not_change_an_example(cell, execution):
    (metrics, examples), (alone, expected) = last(cell, execution), last(cell)
    np.testing.assert_allclose(metrics["loss"], alone["loss"], rtol=1e-5)
    np.testing.assert_allclose(examples["loss"].values, expected["loss"].values, rtol=1e-5)
    assert examples["loss"].values.std() > 0.01


def test_portions_give_what_the_whole_gives(cell, monkeypatch):
    metrics, examples = last(cell)
    size = cell.settings.batch_size * (9 + 4 * 8 + 4 * 8)  # bytes of a batch: tokens, bytes and weight
    monkeypatch.setattr(evaluation, "PORTION_BYTES", size)
    program = Program(cell.model, cell.task, cell.settings, cell.runs, cell.task.load(), Execution("map", 1))
    assert program.evaluation.length == 1
    in_portions, each = program.evaluate_last(program.init(), "validation")
    np.testing.assert_allclose(in_portions["loss"], metrics["loss"], rtol=1e-6)
    np.testing.assert_array_equal(each["loss"].values, examples["loss"].values)


def test_padding_is_no_example():
    weight = np.ones((2, 3), np.float32)
    batches = Batches.of({"weight": weight})
    parts = [
        {"loss": (np.full((1, 1, 3), part, np.float32), np.array([[[1, 1, 1 - part]]], np.float32))} for part in (0, 1)
    ]
    found = evaluation.by_example(parts, batches)["loss"]
    assert found.values.tolist() == [[0, 0, 0, 1, 1]]
    assert found.document.tolist() == [0, 1, 2, 3, 4]


class Plain:
    """A user's task: what the protocol asks for, and nothing beside it."""

    directions: ClassVar[dict[str, str]] = {}

    def __init__(self, task, **own):
        asked = [name for name in dir(Task) if not name.startswith("_")]
        self.__dict__ |= {name: getattr(task, name, None) for name in asked} | own


def arrays(size=400):
    rng = np.random.default_rng(0)
    return {"tokens": rng.integers(0, 256, size).astype(np.uint8), "bytes": np.ones(size, np.uint8)}


CASES = [
    (CausalLanguage(context=8, evaluation_windows=6), arrays(), (8, 256)),
    (MaskedLanguage(context=8, evaluation_windows=6), arrays(), (8, 257)),
    (SpanCorruption(context=8, evaluation_windows=6), arrays(), (3, 260)),
    (ImageClassification(), {"image": np.ones((5, 4, 4, 1), np.uint8), "label": np.arange(5, dtype=np.int32)}, (10,)),
    (ImageAutoencoding(), {"image": np.arange(80, dtype=np.uint8).reshape(5, 4, 4, 1)}, (16,)),
    (TweetTagging(), {"words": np.ones((5, 3), np.int32), "tag": np.arange(5, dtype=np.int32)}, (TAGS,)),
    (
        SpokenDigits(frames=4, context=1),
        {"features": np.ones((5, 4, 26), np.float32), "label": np.array([[1, 1, -1, -1]] * 5, np.int32)},
        (4, 10),
    ),
]


@pytest.mark.parametrize(("task", "fields", "shape"), CASES, ids=lambda value: type(value).__name__)
def test_the_examples_of_a_batch_add_up_to_its_metrics(task, fields, shape):
    batches = task.evaluation_batches(fields, 4)
    batch = {name: jnp.asarray(rows[-1]) for name, rows in batches.items()}
    shape = (4, task.target_length, task.vocab_size) if isinstance(task, SpanCorruption) else (4, *shape)
    outputs = jax.random.normal(jax.random.key(0), shape)
    whole, examples = measured(task, outputs, batch)
    assert all(value.shape == weight.shape == (4,) for value, weight in examples.values())
    assert all(weight[-1] == 0 for _, weight in examples.values())  # the last is padding
    for name, (value, weight) in totals(examples).items():
        np.testing.assert_allclose(value, task.metrics(outputs, batch)[name][0], rtol=1e-5)
        np.testing.assert_allclose(weight, whole[name][1], rtol=1e-6)
    _, by_default = measured(Plain(task), outputs, batch)
    for name, (value, _) in by_default.items():
        np.testing.assert_allclose(value, examples[name][0], rtol=1e-5, atol=1e-6)


def test_of_outputs_that_are_no_array_a_users_task_tells_of_no_single_example():
    task = Plain(CausalLanguage(), metrics=lambda outputs, batch: {"loss": (jnp.zeros(()), jnp.ones(()))})
    assert measured(task, {"logits": 1}, {})[1] == {}


def test_a_task_without_a_choice_of_its_own_is_evaluated_as_its_curve_is():
    task = CausalLanguage(context=8, evaluation_windows=6)
    few = final_batches(Plain(task), arrays(), 2, 30)
    assert few["tokens"].shape[:2] == (3, 2)
    assert final_batches(task, arrays(), 2, 30)["tokens"].shape[:2] == (15, 2)
    assert final_batches(task, arrays(), 2, 2)["tokens"].shape[:2] == (3, 2)  # never fewer than the curve
    everything = replace(task, evaluation_windows=0)
    assert final_batches(everything, arrays(), 2, 2)["weight"].sum() == 399


def test_windows_lie_in_the_documents_of_their_first_targets():
    ends = np.arange(1, MIN_DOCUMENTS + 1) * 20
    task = CausalLanguage(context=8, evaluation_windows=0)
    found = task.evaluation_batches({**arrays(), "ends": ends}, 50)["document"][0]
    first = np.arange(50) * 8 + 1  # the byte that a window first predicts
    np.testing.assert_array_equal(found, first // 20)


def test_text_of_few_documents_is_cut_into_blocks():
    task = CausalLanguage(context=2, evaluation_windows=0)
    found = task.evaluation_batches({**arrays(), "ends": np.array([400])}, 200)["document"][0]
    assert np.unique(found).size == BLOCKS
    assert (np.diff(found) >= 0).all()


def rows_of(cells):
    columns = ["cell", "step", "split", "metric", "value"]
    return pd.DataFrame(cells, columns=columns)


def test_a_curve_ends_on_its_own_examples():
    rows = rows_of([
        ("a", 5, "validation", "loss", 3.0),
        ("a", 9, "validation", "loss", 1.0),
        ("a", 9, CURVE, "loss", 2.0),
        ("a", 9, "test", "loss", 5.0),
        ("b", 9, "validation", "loss", 4.0),
    ])  # fmt: skip
    found = of_curves(rows)
    assert set(found["split"]) == {"validation", "test"}
    assert sorted(found["value"]) == [2.0, 3.0, 4.0, 5.0]


def table(seed, runs=3, examples=40):
    rng = np.random.default_rng(seed)
    losses = rng.normal(size=(runs, examples)).astype(np.float32)
    described = pd.DataFrame({"seed": range(runs), "learning_rate": 1e-3})
    return Examples(losses, np.full(examples, 8.0), np.arange(examples) // 2, described)


def test_examples_are_read_as_they_were_written(tmp_path):
    one = table(0)
    (tmp_path / "examples.parquet").write_bytes(encoded({"validation": {"loss": one}}))
    stored = read_arrow(tmp_path / "examples.parquet")
    found = decoded(stored, "validation", "loss")
    np.testing.assert_array_equal(found.values, one.values)
    np.testing.assert_array_equal(found.document, one.document)
    assert decoded(stored, "test", "loss") is None
    assert joined([([{"seed": 0}], one), ([{"seed": 1}], replace(one, weight=one.weight * 2))]) is None


class Kept(Results):
    def examples(self, cell, split="validation", metric="loss"):
        return {"arm": table(1), "base": table(2)}.get(cell) if (split, metric) == ("validation", "loss") else None


def outcome(cell, seeds, diverged=()):
    marks = [seed in diverged for seed in seeds]
    return pd.DataFrame({"seed": seeds, "cell": cell, "value": 1.0, "diverged": marks}).set_index("seed")


def test_the_error_over_seeds_and_text_is_of_the_pairs_that_trained():
    cells = tuple({"cell": name, "settings": {"steps": 9}} for name in ("arm", "base"))
    results = Kept(None, {}, cells, None, None)
    errors = partial(crossed_errors, results)
    found = errors(outcome("arm", [2, 0, 1], [1]), outcome("base", [0, 1, 2]), "validation", "loss", 9)
    differences = (table(1).values.astype(float) - table(2).values)[[0, 2]]
    expected = crossed(*by_document(differences, table(1).document, table(1).weight))
    np.testing.assert_allclose(found.se_seeds_and_text, expected.se_seeds_and_text)
    np.testing.assert_allclose(found.mean, differences.mean())
    pair = outcome("arm", [0, 1]), outcome("base", [0, 1])
    assert errors(*pair, "validation", "loss", 5) is None  # not the last step
    assert errors(*pair, "validation", "perplexity", 9) is None
    assert errors(outcome("arm", [0]), outcome("base", [0]), "validation", "loss", 9) is None


def test_large_seeds_are_told_apart(monkeypatch):
    cells = tuple({"cell": name, "settings": {"steps": 9}} for name in ("arm", "base"))
    seeds = [1_000_000, 1_000_001, 1_000_002]
    kept = {name: replace(table(k), runs=table(k).runs.assign(seed=seeds)) for k, name in enumerate(("arm", "base"))}
    monkeypatch.setattr(Results, "examples", lambda self, cell, *_: kept[cell])
    pair = (outcome(name, seeds[::-1]) for name in ("arm", "base"))
    found = crossed_errors(Results(None, {}, cells, None, None), *pair, "validation", "loss", 9)
    np.testing.assert_allclose(found.mean, (kept["arm"].values - kept["base"].values).mean(), rtol=1e-5)
