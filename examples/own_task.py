"""A task of one's own: a frozen dataclass that loads examples, says what the model is given, and has a loss.

Run:  python examples/own_task.py
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from ablations import MLP, Dataset, Experiment, Settings, compare, run


@dataclass(frozen=True)
class Wave:
    """Fit a wave of two variables; how fast it oscillates is a field, which an experiment can vary."""

    frequency: float = 2.0

    def load(self):
        """Three splits of examples: fields of rows, by names that are the task's own."""
        points = np.random.default_rng(0).uniform(-1, 1, (6000, 2)).astype(np.float32)
        rows = {"point": points, "height": np.sin(self.frequency * np.pi * points.prod(axis=1))}
        cut = {"train": slice(0, 4000), "validation": slice(4000, 5000), "test": slice(5000, 6000)}
        return Dataset({split: {name: array[part] for name, array in rows.items()} for split, part in cut.items()})

    def inputs(self, batch):
        """What the model is called with."""
        return (batch["point"],)

    def loss(self, outputs, batch):
        """The mean squared error; the rest, such as batches and metrics, is as in ablations.Task."""
        return jnp.mean((outputs[:, 0] - batch["height"]) ** 2)


experiment = Experiment(
    name="own_task",
    question="Which activation fits a wave best?",
    task=Wave(),
    model=MLP(input_shape=(2,), widths=(64, 64), outputs=1, initialization="lecun"),
    activations=("gelu", "relu", "tanh", "snake"),
    baseline="gelu",
    seeds=(0, 1, 2, 3, 4),
    settings=Settings(steps=1000, batch_size=64),
    learning_rates=(3e-3,),  # leave it out and every arm is tuned, which takes three times as long
)

if __name__ == "__main__":
    results = run(experiment)
    print(compare(results.directory))
    print(f"report: {results.directory}/report.html")
