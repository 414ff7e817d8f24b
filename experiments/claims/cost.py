"""GELU is expensive to compute.

Commonly made as its disadvantage: the error function is said to be slow, and approximations by tanh or a sigmoid to be
faster. The cost of the activation by itself is not that of a network, where it is fused with its neighbours beside the
matrix products. All numbers are of the machine that made them, which the table names.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.claims.claim import GeluClaim, Grids
from experiments.claims.networks import DECODER, Evidence
from lab.comparison.networks.claim import Part
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.experiment.study import Evaluate
from lab.probes import latency
from models.activations import activation
from models.model import with_activation

NAMES = ("relu", "gelu", "gelu_tanh", "gelu_quick")
ROUNDS: dict[Budget, int] = {"smoke": 3, "short": 101, "full": 201}
ROWS = 8192
"""So many that a call takes ten times as long as its dispatch."""
MATTERS = np.log(1.05)
"""5 % of the time."""


def measure(evaluate: Evaluate, grids: Grids, budget: Budget) -> dict[str, pd.DataFrame]:
    """Milliseconds of both passes of each activation, alone and within the network, all in every round."""
    kinds = {"alone": alone, "network": network}
    sides = [(name, where) for name in NAMES for where in kinds]
    times = 1e3 * latency.seconds([kinds[where](name, grids[DECODER]) for name, where in sides], ROUNDS[budget])
    rows = [
        {"activation": name, "where": where, "round": number, "value": value}
        for (name, where), values in zip(sides, times, strict=True)
        for number, value in enumerate(values)
    ]
    return {"cost_times": pd.DataFrame(rows).assign(device=jax.devices()[0].device_kind)}


def alone(name: str, experiment: Experiment) -> latency.Program:
    """The compiled forward and backward pass of an activation, on the hidden values of `ROWS` positions of the
    decoder."""
    f, model = activation(name), experiment.model
    shape = (ROWS, 4 * model.d_model)
    x, cotangent = (jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0)))

    def passes(x: Any, cotangent: Any) -> Any:
        value, backward = jax.vjp(f, x)
        return value, backward(cotangent)

    return latency.program(passes, x, cotangent)


def network(name: str, experiment: Experiment) -> latency.Program:
    """The compiled forward and backward pass of the decoder, on random bytes."""
    task, model = experiment.task, with_activation(experiment.model, activation(name))
    tokens = jax.random.randint(jax.random.key(0), (experiment.settings.batch_size, model.context + 1), 0, 256)
    batch = {"tokens": tokens}
    variables = model.init(jax.random.key(0), *task.inputs(batch))

    def loss(variables: Any, batch: Any) -> Any:
        return jnp.asarray(task.loss(model.apply(variables, *task.inputs(batch)), batch))

    return latency.program(jax.value_and_grad(loss), variables, batch)


def parts(evidence: Evidence) -> list[Part]:
    """Ratios of times in each round: GELU to ReLU, then to its approximations."""
    times = evidence.measured["cost_times"].pivot_table("value", ["where", "round"], "activation")

    def ratio(where: str, base: str) -> Part:
        at = times.loc[where]
        values = np.log(at["gelu"].to_numpy() / at[base].to_numpy())
        words = "by itself" if where == "alone" else "within the network"
        return Part(f"time of gelu / {base}, {words}", values, MATTERS, unit="x", centre="median")

    return [
        ratio("network", "relu"),
        ratio("alone", "relu"),
        ratio("network", "gelu_tanh"),
        ratio("alone", "gelu_tanh"),
        ratio("network", "gelu_quick"),
        ratio("alone", "gelu_quick"),
    ]


def details(evidence: Evidence) -> pd.DataFrame:
    """Median and quartiles of the milliseconds, by activation and where."""
    rows = evidence.measured["cost_times"].groupby(["where", "activation", "device"], sort=False)["value"]
    quartiles = {"lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75}
    return pd.DataFrame({f"{name}_ms": rows.quantile(share) for name, share in quartiles.items()}).reset_index()


claim = GeluClaim(
    name="cost",
    statement="GELU costs more time than ReLU and than its approximations",
    made="lists of GELU's disadvantages, and texts that recommend the form by tanh",
    control="relu, gelu_tanh, gelu_quick",
    measured=(
        "milliseconds of a compiled forward and backward pass, of the activation by itself and of the decoder, without "
        "the optimizer; all in every round, ratios within a round, medians with intervals of order statistics. Of the "
        "machine in the table"
    ),
    varies="what it is compared with, and on where",
    arms={DECODER: ("gelu",)},
    parts=parts,
    measure=measure,
    details=details,
)
