"""Dying units and plasticity: which activations leave units without use, and which networks stop learning?

Command:  ablations study dying_units --budget short
Cost:     766 s of processor time (short) on an AMD EPYC, 39 minutes of 2 cores that had much other work: 1,595 runs in
          72 cells. Full: not run
Expected: (1) of ReLU networks of scalar inputs without biases, with L - 1 hidden layers of N units, 1 - (1 -
          2^-N)^(L-1) are 0 for inputs of one sign; 0.883 (N 2, L 10), 0.882 (N 3, L 20) and 0.297 (N 4, L 10) of 4,000
          draws were born dead, for which the closed form is an upper bound (Lu et al. 2019, arXiv:1903.06733); no
          network with GELU or leaky ReLU is; (2) units die at large learning rates with ReLU, and "neuron death is not
          only ReLU's" (arXiv:2406.09079); (3) slowly-changing regression as published: see experiments/plasticity.py;
          (4) differences between activations are small in training on one task and matter in continual learning
          (arXiv:2509.22562)

(2) Decoders of the standard library's source in bytes, at several learning rates, weight decays and depths, others as
in `BASE`. A unit is dead if its hidden value is 0, off if its pre-activation (of a gated layer, that of the gate) is
not positive, at each of 2,048 positions of the test text; it is dormant if its mean |h| is at most 0.025 of that of its
layer (Sokar et al. 2023, arXiv:2302.12902).
(4) Decoders that read one text after another, all steps at one learning rate. In each turn after the first the byte
values are exchanged by another permutation, so that all texts are equally hard. The loss in the second half of a turn,
of text that was never read before, is compared with that of a network that begins with this turn, with weights and an
optimizer's state of its own, and reads the same windows.

Short: (1) 4,000 draws; (2) width 32, 100 steps of 8 windows of 32 bytes, five seeds; (3) all seeds and steps that were
published, at the published rates with ReLU and at 0.01 with the others; (4) width 32, 2 layers, 6 turns of 100 steps
of 8 windows of 32 bytes, five seeds. Full: width 256, 4,000 steps of 32 windows of 128 bytes, English novels, and 12
turns of 1,000 steps on three corpora; the three published rates for all activations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.plasticity import experiment as plasticity
from lab.experiment.budget import Budget
from lab.experiment.cell import Cell
from lab.experiment.experiment import Experiment
from lab.experiment.study import Evaluate, Findings
from lab.probes.dying import born_dead, born_dead_of_one_sign, unit_shares
from lab.report.networks import dying_units as units
from lab.report.networks import plasticity as report
from lab.report.networks.plasticity import LINEAR, Published
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.tasks.in_turn import TextsInTurn
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Run, Settings
from models.transformer import Transformer

ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "relu2", "swiglu", "geglu")
BASELINE = "relu"
BORN = ("relu", "relu2", "reglu", "leaky_relu", "gelu", "silu", "swiglu", "geglu")
SIMULATED = {(2, 10): 0.883, (3, 20): 0.882, (4, 10): 0.297}
"""(N, L) -> share of 4,000 ReLU networks that were born dead."""
BASE = {"learning_rate": 1e-2, "weight_decay": 0.1, "n_layers": 2}
POSITIONS = 2048
RATE = 0.01
"""Of slowly-changing regression, at which all activations are compared."""
PUBLISHED = (
    Published("relu", 0.01, 0.62, 1.25),
    Published("relu", 0.003, 0.71, 1.10),
    Published("relu", 0.001, 0.84, 0.88),
    Published("tanh", 0.01, 0.43, 0.89),
    Published(LINEAR, 0.01, 0.87, 0.88),
)
"""Read from the figure of github.com/shibhansh/loss-of-plasticity, lop/slowly_changing_regression/plots."""
PUBLISHED_SEEDS, READING = 100, 0.03


class Size(NamedTuple):
    """What a budget trains and measures."""

    draws: int
    activations: tuple[str, ...]
    d_model: int
    depths: tuple[int, ...]
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    seeds: tuple[int, ...]
    task: CausalLanguage
    settings: Settings
    turns: TextsInTurn
    turn_rate: float
    learners: int
    """Seeds of slowly-changing regression."""
    examples: int


SIZES: dict[Budget, Size] = {
    "smoke": Size(
        200, ("relu", "swiglu"), 16, (2, 3), (1e-2,), (0.1, 1.0), (0, 1), CausalLanguage("stdlib", 16),
        Settings(steps=10, batch_size=4), TextsInTurn("stdlib", 16, turn_steps=4, turns=3), 1e-2, 3, 2_000,
    ),
    "short": Size(
        4_000, ACTIVATIONS, 32, (1, 2, 6), (1e-3, 1e-2, 1e-1), (0.0, 0.1, 1.0), (0, 1, 2, 3, 4),
        CausalLanguage("stdlib", 32), Settings(steps=100, batch_size=8),
        TextsInTurn("stdlib", 32, turn_steps=100, turns=6), 1e-2, 100, 1_000_000,
    ),
    "full": Size(
        4_000, ACTIVATIONS, 256, (2, 6, 12), (1e-4, 1e-3, 1e-2, 1e-1), (0.0, 0.1, 1.0), (0, 1, 2, 3, 4),
        CausalLanguage("eltec_eng", 128), Settings(steps=4_000, batch_size=32),
        TextsInTurn("eltec_eng", 128, more=("wikitext2", "stdlib"), turn_steps=1_000, turns=12), 1e-3, 100, 1_000_000,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class DyingUnits:
    """What is born dead, what dies, and what stops learning."""

    name: str = "dying_units"
    question: str = "Which activations leave units without use, and which networks stop learning new tasks?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """Decoders at several rates, decays and depths; online learners; and decoders that read texts in turn."""
        size = SIZES[budget]
        return (*_decoders(size), *_learners(size, budget), *_readers(size))

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Shares that are born dead, and shares of units of trained decoders."""
        size = SIZES[budget]
        grid, depth = _decoders(size)
        return {
            "born": pd.DataFrame([_born(name, *shape, size.draws) for name in BORN for shape in SIMULATED]),
            "shares": pd.concat([evaluate(one, _every, shares)[COLUMNS] for one in (grid, depth)], ignore_index=True),
            "learners": pd.concat(
                [evaluate(one, _every, of_bits) for one in _learners(size, budget) if one.model.widths],
                ignore_index=True,
            ),
            "constant": constants(size),
        }

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """All four questions, in their order."""
        born = units.born_table(measured["born"], SIMULATED)
        curves = errors(results)
        ends = report.ends(curves)
        constant = measured["constant"].set_index("seed")["value"]
        table = report.ends_table(ends, PUBLISHED, BASELINE, constant, measured["learners"])
        through, fresh = in_turns(results["in_turn"].rows), alone(results["fresh"].rows, "train")
        gaps = report.gaps(through, fresh)
        unread = report.gaps(
            ended(results["in_turn"].rows, int(gaps["turn"].max())), alone(results["fresh"].rows, "validation")
        )
        shares_found = measured["shares"]
        return Findings(
            (
                *units.born_verdicts(born),
                *units.shares_verdicts(shares_found, BASE),
                *report.reproduced(ends, PUBLISHED, PUBLISHED_SEEDS, READING),
                report.against_linear(ends, RATE),
                report.against_constant(table, RATE),
                *report.gap_verdicts(gaps, unread, BASELINE),
            ),
            {
                "born": Section(
                    "Born dead",
                    table=born,
                    notes=(
                        "width: N units of each hidden layer; depth: L layers, with the output; one_sign: share of "
                        "networks whose last hidden layer is 0 at the input 1; closed: its closed form; both: at 1 and "
                        "at -1, so that the network is born dead; simulated: that share in other simulations. "
                        "Intervals hold for the whole table (Bonferroni)",
                    ),
                ),
                "shares": Section(
                    "Dead, dormant and off by learning rate, weight decay and depth",
                    units.shares_figure(shares_found, BASE),
                    units.shares_table(shares_found, BASE),
                    (
                        "Means over layers; lines: means over seeds; bars: lowest to highest seed. Other factors at "
                        + ", ".join(f"{units.FACTORS[name]} {value:g}" for name, value in BASE.items()),
                        f"difference: from {BASELINE}, paired by seed, with its 95 % interval (d_low to d_high), not "
                        "corrected for their number; the verdicts are corrected by Holm's method",
                    ),
                ),
                "slowly_changing": Section(
                    "Slowly-changing regression",
                    report.error_figure(curves, PUBLISHED, BASELINE, RATE, constant.mean()),
                    table,
                    (
                        "Online squared error in bins of examples; bands: standard error; bars: what is published of "
                        "the first bin and of the last fifth",
                        "first, last: the first bin and the mean of the last fifth, with 95 % intervals over seeds; "
                        f"minus_linear, minus_{BASELINE}: differences of last, paired by seed, thus by problem; "
                        "minus_constant: from the best constant of every period, dotted in the figure; dead, off: "
                        "shares of the units at the end, on 2,048 inputs with random bits",
                    ),
                ),
                "texts_in_turn": Section(
                    "Texts in turn",
                    report.gaps_figure(through, gaps),
                    report.gaps_table(gaps, BASELINE),
                    (
                        "through: loss in the second half of the turn, before each update, of networks that have been "
                        "through all turns before, nats per byte; fresh: of networks that begin with it; gap: through "
                        f"minus fresh, paired by seed and by windows; minus_{BASELINE}: difference of gaps. 95 % "
                        "intervals, not corrected for their number",
                    ),
                ),
            },
        )


def _decoders(size: Size) -> tuple[Experiment, Experiment]:
    """Rates times decays, and depths."""
    model = Transformer(
        context=size.task.context,
        d_model=size.d_model,
        n_layers=int(BASE["n_layers"]),
        n_heads=2,
        positions="rotary",
        bias=False,
        initialization="lecun",
        scan=True,
    )
    grid = Experiment(
        name="rates_and_decays",
        question="How many units die at every learning rate and weight decay?",
        task=size.task,
        model=model,
        activations=size.activations,
        baseline=BASELINE,
        axes=(("hyperparameters.weight_decay", size.weight_decays),),
        seeds=size.seeds,
        settings=size.settings,
        learning_rates=size.learning_rates,
    )
    depth = replace(
        grid,
        name="depths",
        question="How many units die at every depth?",
        axes=(("model.n_layers", tuple(depth for depth in size.depths if depth != BASE["n_layers"])),),
        hyperparameters=Hyperparameters(weight_decay=BASE["weight_decay"]),
        learning_rates=(BASE["learning_rate"],),
    )
    return grid, depth


def _learners(size: Size, budget: Budget) -> tuple[Experiment, ...]:
    """Slowly-changing regression: all activations at one rate, ReLU at the others, and the linear model."""
    all_at_one = replace(
        plasticity,
        name="slowly_changing",
        task=replace(plasticity.task, period=plasticity.task.period * size.examples // plasticity.settings.steps),
        activations=("relu", "tanh") if budget == "smoke" else plasticity.activations[:-1],
        seeds=plasticity.seeds[: size.learners],
        learning_rates=plasticity.learning_rates if budget == "full" else (RATE,),
        settings=replace(plasticity.settings, steps=size.examples, evaluate_every=size.examples // 50),
    )
    rates = replace(
        all_at_one,
        name="slowly_changing_rates",
        question="How does the learning rate change what ReLU still learns?",
        activations=(BASELINE,),
        learning_rates=tuple(rate for rate in plasticity.learning_rates if rate != RATE),
    )
    linear = replace(
        all_at_one,
        name="slowly_changing_linear",
        question="What does a linear model learn?",
        model=plasticity.model.clone(widths=()),
        activations=("identity",),
        baseline="identity",
        learning_rates=(RATE,),
    )
    return (all_at_one, linear) if budget == "full" else (all_at_one, rates, linear)


def _readers(size: Size) -> tuple[Experiment, Experiment]:
    """Decoders that go through all texts, and those that begin with one of them."""
    task = size.turns
    settings = replace(
        size.settings,
        steps=task.turn_steps * task.turns,
        evaluate_every=max(1, task.turn_steps // 2),
        schedule="constant",
        warmup_steps=0,
    )
    in_turn = replace(
        _decoders(size)[0],
        name="in_turn",
        question="What do decoders learn of a new text after others?",
        task=task,
        axes=(),
        settings=settings,
        learning_rates=(size.turn_rate,),
    )
    fresh = replace(
        in_turn,
        name="fresh",
        question="What do fresh decoders learn of the same texts?",
        task=replace(task, turns=1),
        axes=(("task.first", tuple(range(1, task.turns))),),
        settings=replace(settings, steps=task.turn_steps),
    )
    return in_turn, fresh


def _every(cell: Cell, run: Run) -> bool:
    return True


COLUMNS = ["activation", "learning_rate", "weight_decay", "n_layers", "seed", "layer", "dead", "dormant", "off"]
"""Of the measured shares."""


def _born(name: str, width: int, depth: int, draws: int) -> dict[str, Any]:
    """How many of some draws are dead at the input 1, and at 1 and -1; depth counts the output layer."""
    dead = born_dead(name, width, depth - 1, draws)
    counts = {"one_sign": int(dead[:, 0].sum()), "both": int(dead.all(axis=1).sum())}
    closed = born_dead_of_one_sign(width, depth - 1)
    return {"activation": name, "width": width, "depth": depth, "draws": draws, "closed": closed, **counts}


def shares(cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per layer: n_layers, weight_decay, and what `unit_shares` says on the test text."""
    batches = cell.task.evaluation_batches(test, POSITIONS // cell.task.context)
    batch = {name: jnp.asarray(field[0]) for name, field in batches.items()}
    found = unit_shares(cell.model, jax.tree.map(jnp.asarray, variables), *cell.task.inputs(batch))
    about = {"n_layers": cell.model.n_layers, "weight_decay": float(run.hyperparameters.weight_decay)}
    return [{**about, **row} for row in found]


def of_bits(cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """What `unit_shares` says of a learner on random bits."""
    bits = np.random.default_rng(0).integers(0, 2, (POSITIONS, *cell.model.input_shape)).astype(np.float32)
    return unit_shares(cell.model, jax.tree.map(jnp.asarray, variables), jnp.asarray(bits))


def constants(size: Size) -> pd.DataFrame:
    """seed and value: the mean squared error of the best constant of each period at the end of a learner's stream."""
    targets = plasticity.task.load().arrays["train"]["targets"][: size.learners]
    last = targets[:, round((1 - report.END) * targets.shape[1]) :]
    return pd.DataFrame({"seed": range(len(targets)), "value": last.var(axis=2).mean(axis=1)})


def errors(results: Mapping[str, Results]) -> pd.DataFrame:
    """activation, learning_rate, seed, step and value of the online error of all learners; that of the linear model is
    `LINEAR`. A bin that is not finite is nan."""
    parts = []
    for name, one in results.items():
        if name.startswith("slowly_changing"):
            rows = _losses(one.rows)
            parts.append(rows.assign(activation=LINEAR) if name.endswith(LINEAR) else rows)
    rows = pd.concat(parts, ignore_index=True)
    columns = ["activation", "learning_rate", "seed", "step", "value"]
    return rows.assign(value=rows["value"].where(np.isfinite(rows["value"])))[columns]


def _losses(rows: pd.DataFrame, split: str = "train") -> pd.DataFrame:
    return rows[(rows["split"] == split) & (rows["metric"] == "loss")]


def in_turns(rows: pd.DataFrame) -> pd.DataFrame:
    """activation, turn (from 1), seed and value: the loss of training in the second half of every turn."""
    own = _losses(rows)
    interval = own["step"].min()
    ends = own[own["step"] % (2 * interval) == 0]
    return ends.assign(turn=ends["step"] // (2 * interval))[["activation", "turn", "seed", "value"]]


def ended(rows: pd.DataFrame, turn: int) -> pd.DataFrame:
    """The same of the last turn, on text of validation."""
    own = _losses(rows, "validation")
    return own[own["step"] == own["step"].max()].assign(turn=turn)[["activation", "turn", "seed", "value"]]


def alone(rows: pd.DataFrame, split: str) -> pd.DataFrame:
    """The same of networks that begin with a turn."""
    own = _losses(rows, split)
    last = own[own["step"] == own["step"].max()]
    return last.assign(turn=last["first"] + 1)[["activation", "turn", "seed", "value"]]


study = DyingUnits()
