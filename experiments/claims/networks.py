"""The networks that the claims share: a decoder with three norms, an MLP that predicts the same text, and a classifier.

All read the standard library's source in bytes. Each is trained at two learning rates, which are not tuned for the
activations: the lower one is near the best of these networks, the higher one puts them under strain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from lab.comparison.outcomes import ends
from lab.experiment.budget import Budget
from lab.experiment.cell import Cell
from lab.experiment.experiment import Experiment, Named
from lab.results.results import Results
from lab.statistics.paired import paired_t
from lab.tasks.classification import TextClassification
from lab.tasks.language import CausalLanguage
from lab.tasks.next_token import NextToken
from lab.tasks.task import Stream, stream_key
from lab.training.settings import Run, Settings
from models.activations import activation
from models.classifier import Classifier
from models.mlp import MLP
from models.transformer import Transformer

Arms = Mapping[str, Sequence[Named]]
"""Grid -> activations."""
Networks = Mapping[str, Any]
DECODER, NORMS, PERCEPTRON, CLASSIFIER = "decoder", "norms", "mlp", "classifier"
WORDS = {DECODER: "decoder", PERCEPTRON: "MLP", CLASSIFIER: "classifier"}
STATES = ("init", "trained")


class Size(NamedTuple):
    """What a budget trains."""

    d_model: int
    n_layers: int
    context: int
    steps: int
    batch_size: int
    seeds: int
    data: str
    rates: tuple[float, float]


SIZES: dict[Budget, Size] = {
    "smoke": Size(16, 1, 16, 4, 4, 2, "stdlib", (6e-3, 3e-2)),
    "short": Size(64, 2, 64, 200, 8, 8, "stdlib", (6e-3, 3e-2)),
    "full": Size(512, 8, 256, 4_000, 64, 8, "eltec_eng", (1e-3, 5e-3)),
}
READ = 16
"""Bytes that the MLP reads."""


def grids(arms: Arms, budget: Budget) -> tuple[Experiment, ...]:
    """The experiments that train these activations, in the order of the networks."""
    every = {one.name: one for one in (_decoder(budget), _norms(budget), _perceptron(budget), _classifier(budget))}
    return tuple(replace(one, activations=tuple(arms[name])) for name, one in every.items() if name in arms)


def _decoder(budget: Budget) -> Experiment:
    size = SIZES[budget]
    return Experiment(
        name=DECODER,
        question="What does a decoder with LayerNorm learn?",
        task=CausalLanguage(size.data, size.context),
        model=Transformer(
            context=size.context,
            d_model=size.d_model,
            n_layers=size.n_layers,
            n_heads=max(2, size.d_model // 32),
            positions="rotary",
            bias=False,
            initialization="lecun",
        ),
        activations=("gelu",),
        seeds=tuple(range(size.seeds)),
        learning_rates=size.rates,
        settings=Settings(steps=size.steps, batch_size=size.batch_size),
    )


def _norms(budget: Budget) -> Experiment:
    same = _decoder(budget)
    return replace(
        same,
        name=NORMS,
        question="What does it learn with RMSNorm and without a norm?",
        axes=(("model.norm", ("rmsnorm", "none")),),
        learning_rates=same.learning_rates[:1],
    )


def _perceptron(budget: Budget) -> Experiment:
    size = SIZES[budget]
    read = min(READ, size.context)
    model = MLP(
        input_shape=(read,),
        widths=(2 * size.d_model,) * 4,
        outputs=256,
        vocab_size=256,
        embedding_dim=max(8, size.d_model // 4),
        initialization="lecun",
    )
    tokens = size.batch_size * size.context
    return Experiment(
        name=PERCEPTRON,
        question="What does an MLP without norm and residual learn of the same text?",
        task=NextToken(size.data, read),
        model=model,
        activations=("gelu",),
        seeds=tuple(range(size.seeds)),
        learning_rates=size.rates,
        settings=Settings(steps=size.steps, batch_size=min(tokens, 1024)),
    )


def _classifier(budget: Budget) -> Experiment:
    """English novels have no labels, so the classes are always the modules of the standard library."""
    size = SIZES[budget]
    task = TextClassification(classes=10, context=min(64, size.context), evaluation_texts=512)
    model = Classifier(
        context=task.context,
        d_model=size.d_model,
        n_layers=size.n_layers,
        n_heads=max(2, size.d_model // 32),
        positions="rotary",
        initialization="lecun",
        classes=task.classes,
        pooling="mean",
    )
    return Experiment(
        name=CLASSIFIER,
        question="How well does an encoder tell modules of the standard library?",
        task=task,
        model=model,
        activations=("gelu",),
        seeds=tuple(range(size.seeds)),
        learning_rates=size.rates[:1],
        settings=Settings(steps=size.steps, batch_size=2 * size.batch_size),
    )


@dataclass(frozen=True)
class Evidence:
    """What the claims are read from: results by grid, and what was measured, by name."""

    results: Mapping[str, Results]
    measured: Mapping[str, pd.DataFrame]

    @cached_property
    def losses(self) -> pd.DataFrame:
        """grid, activation, norm, learning_rate, seed and value: every run's validation loss at the last step, in nats;
        nan where it diverged, which leaves the parts of a claim that need it open."""
        found = []
        for name, one in self.results.items():
            rows = one.rows if "norm" in one.rows else one.rows.assign(norm="layernorm")
            axes = ["norm", "learning_rate"]
            last = ends(rows, "loss", "validation", int(rows["step"].max()), axes)
            found.append(last.assign(grid=name)[["grid", "activation", *axes, "seed", "value"]])
        return pd.concat(found, ignore_index=True)

    def rates(self, grid: str = DECODER) -> list[float]:
        """The learning rates of a grid, the lower one first."""
        return sorted(self.results[grid].rows["learning_rate"].unique())

    def loss(self, name: str, grid: str = DECODER, rate: int = 0, norm: str = "layernorm") -> pd.Series:
        """The losses of an activation by seed, at the lower (0) or the higher (1) learning rate."""
        grid = grid if norm == "layernorm" else NORMS
        rows = self.losses[(self.losses["grid"] == grid) & (self.losses["activation"] == name)]
        rows = rows[(rows["norm"] == norm) & (rows["learning_rate"] == self.rates(grid)[rate])]
        return rows.set_index("seed")["value"].sort_index()

    def difference(self, name: str, base: str = "gelu", **where: Any) -> np.ndarray:
        """The loss of an activation minus that of another, paired by seed."""
        return (self.loss(name, **where) - self.loss(base, **where)).to_numpy()

    def advantage(self, **where: Any) -> dict[str, float]:
        """The mean losses of gelu and relu, and relu minus gelu with its uncorrected interval."""
        t = paired_t(self.difference("relu", **where))
        means = {name: float(self.loss(name, **where).mean()) for name in ("gelu", "relu")}
        return means | {"advantage": float(t.mean), "low": float(t.low), "high": float(t.high)}


def among(*names: str, rate: int | None = 0) -> Any:
    """Which networks are measured: those with these names, at the lower (0), the higher (1) or both rates (None)."""

    def chosen(cell: Cell, run: Run) -> bool:
        rates = sorted({float(one.hyperparameters.learning_rate) for one in cell.runs})
        at = rate is None or float(run.hyperparameters.learning_rate) == rates[min(rate, len(rates) - 1)]
        return at and cell.activation.name in names

    return chosen


def batch_of(cell: Cell, test: Mapping[str, np.ndarray], size: int) -> dict[str, Any]:
    """A batch of the test split."""
    return jax.tree.map(jnp.asarray, cell.task.batch(test, 0, 0, size))


def states(cell: Cell, run: Run, variables: Networks, batch: Mapping[str, Any]) -> dict[str, Networks]:
    """The network's variables before and after training."""
    drawn = cell.model.init({"params": stream_key(run.seed, Stream.INIT)}, *cell.task.inputs(batch))
    return dict(zip(STATES, (drawn, jax.tree.map(jnp.asarray, variables)), strict=True))


def by_seed(rows: pd.DataFrame, column: str = "value", rate: int | None = None, **where: Any) -> pd.Series:
    """The mean of a column by seed, over the rows that have these values, at the lower (0) or higher (1) rate; nan if
    one of them is."""
    if rate is not None:
        where["learning_rate"] = sorted(rows["learning_rate"].unique())[rate]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows.groupby("seed")[column].agg(lambda values: values.mean(skipna=False)).sort_index()


def united(arms: Sequence[Arms]) -> dict[str, tuple[Named, ...]]:
    """All activations of every grid, without repetition, gelu first."""
    found: dict[str, dict[str, Named]] = {}
    for one in arms:
        for grid, names in one.items():
            known = found.setdefault(grid, {"gelu": "gelu"})
            known.update({activation(name).name: name for name in names})
    return {grid: tuple(names.values()) for grid, names in found.items()}
