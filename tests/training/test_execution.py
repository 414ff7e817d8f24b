"""How runs and batches are laid out: by rules, with the same numbers."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bigram import Bigram

from lab.experiment.experiment import grid
from lab.experiment.fields import with_fields
from lab.tasks.slowly_changing import SlowlyChanging
from lab.training.devices.execution import Execution, _parts
from lab.training.devices.placement import Placement
from lab.training.runs import Program
from lab.training.settings import Settings
from models.mlp import MLP
from models.transformer import Transformer

TOKENS = {"tokens": np.random.default_rng(0).integers(256, size=5000, dtype=np.uint8)}


@pytest.mark.parametrize(
    ("examples", "rows", "size", "expected"),
    [
        (12, 64, 2**17, 2),  # 8 examples of 128 kB fit a megabyte, 12 do not; parts of 6 are 384 rows
        (16, 128, 2**19, 8),  # two fit, and are 256 rows
        (16, 64, 2**16, 1),
        (16, 64, 2**20, 4),  # one would fit, but parts of 64 rows are too small
        (7, 64, 2**19, 1),  # seven parts or none
        (4, 1, 2**20, 1),
        (8, 0, 0, 1),  # a model without hidden values
    ],
)
def test_parts_fit_the_cache_and_are_not_too_small(examples, rows, size, expected):
    assert _parts(examples, rows, size) == expected


def chosen(model, task, arrays, accumulate=1):
    return (
        Execution("map", jax.device_count())
        .with_parts(model, task, Settings(batch_size=16, accumulate=accumulate), arrays)
        .parts
    )


def test_a_wide_model_has_its_batch_in_parts_unless_they_would_differ(experiment):
    wide = Transformer(vocab_size=256, context=128, d_model=256, n_layers=1)
    task = replace(grid(experiment)[0].task, context=128)
    assert chosen(wide, task, TOKENS) == 8
    assert chosen(wide.clone(scan=True), task, TOKENS) == 8
    assert chosen(wide, task, TOKENS, accumulate=4) == 2
    assert chosen(wide.clone(d_model=16), task, TOKENS) == 1
    assert chosen(wide.clone(dropout=0.1), task, TOKENS) == 1
    for other in (Execution("vmap", jax.device_count()), Execution("map", 1)):  # one run has the threads of all cores
        assert other.with_parts(wide, task, Settings(batch_size=16), TOKENS) == other


@pytest.mark.parametrize(("width", "batch", "expected"), [(5, 1, "vmap"), (5, 16, "map"), (64, 1, "map")])
def test_runs_of_tiny_steps_are_trained_together(width, batch, expected):
    task = SlowlyChanging(changes=1, problems=1)
    model = MLP(input_shape=(20,), widths=(width,), outputs=1)
    given = (100, model, task, Settings(batch_size=batch), task.load().arrays["train"])
    assert Execution.fitting(Placement(), *given).kind == expected
    assert Execution.fitting(Placement("map"), *given).kind == "map"
    assert Execution.fitting(Placement("vmap"), *given).kind == "vmap"


class Counting(nn.Module):
    """Has large hidden values and, if it counts, something beside its parameters that training changes."""

    counts: bool

    @nn.compact
    def __call__(self, tokens, *, train=False):
        x = nn.Embed(256, 2048)(tokens)
        self.sow("intermediates", "hidden", x)
        if self.counts:
            self.variable("statistics", "mean", jnp.zeros, ())
        return x


def test_statistics_are_those_of_the_whole_batch(experiment):
    task = replace(grid(experiment)[0].task, context=128)
    assert chosen(Counting(False), task, TOKENS) > 1
    assert chosen(Counting(True), task, TOKENS) == 1


@pytest.mark.slow
def test_parts_give_the_numbers_of_the_whole(experiment):
    cell = grid(with_fields(experiment, {"settings.batch_size": 6, "model": Bigram()}))[0]
    dataset = cell.task.load()

    def trained(parts):
        program = Program(
            cell.model, cell.task, cell.settings, cell.runs[:1], dataset, Execution("map", 1, parts=parts)
        )
        return program.train_interval(program.init(), 0, 3)

    (whole, loss), (split, loss_of_parts) = trained(1), trained(3)
    np.testing.assert_allclose(loss["loss"], loss_of_parts["loss"], rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), whole.parameters, split.parameters)
