"""The functions that a user calls; the command line calls the same.

Heavy libraries are imported where they are needed, so that importing this answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.runner.asked import command_line, experiment_of, folder_of, session_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import pandas as pd

    from lab.comparison.comparison import Comparison
    from lab.comparison.noise import Setting
    from lab.experiment.budget import Budget
    from lab.experiment.experiment import Cell, Experiment, Named
    from lab.results.results import Results
    from lab.runner.gate import Decision
    from lab.runner.planning import Plan
    from lab.runner.record import PlanFile
    from lab.runner.stability.stable_rates import StableRates
    from lab.training.settings import Run
    from models.pretrained import Inspection


def run(
    experiment: Experiment | str,
    out: str | Path | None = None,
    sequential: bool = False,
    plan: str | Path | PlanFile | None = None,
    **mode: Any,
) -> Results:
    """Trains what is missing of an experiment (a value, a name or a file), writes the report, returns the results.

    Results go to `out`, results/<name> unless given. An experiment that tunes trains the grid of every arm first, in
    `out`/tuning; `out`/matched.json, if it is there (see `match`), gives every arm its steps. `sequential` adds seeds
    until every arm is decided or all are used (see `lab.runner.sequential`). `plan` is a file that says what is to be
    compared (`lab.results.analysis_plan`), hashed into the results before anything is trained. `mode` are fields of
    `lab.runner.mode.Mode`: execution, shards, data_on, retrain, track, profile, quiet. Started on several hosts (see
    `lab.training.devices.distributed.join`), all compute and the first writes. Raises ValueError for bad input, before
    anything is compiled, and OSError where the results cannot be written.
    """
    from lab.runner import matching, tuning
    from lab.runner import sequential as looks
    from lab.runner.mode import Mode

    asked = experiment_of(experiment)
    if sequential:
        looks.check(asked)
    session = session_of(asked, out, Mode(**mode), plan)
    directory, train = session.directory, session.train
    chosen, table = tuning.tuned(matching.matched(asked, directory), directory, train)
    if asked.tuning_rates and table is None and not session.mode.quiet:
        print(f"{directory} was begun at one learning rate and goes on at it; another --out tunes", file=sys.stderr)
    return looks.run_sequentially(chosen, directory, train) if sequential else train(chosen, directory)


def tune(experiment: Experiment | str, out: str | Path | None = None, quiet: bool = False) -> pd.DataFrame:
    """Trains the grid of every arm on its tuning seeds, in `out`/tuning (table: `lab.comparison.tuning.tuned`).

    `run` does this too where the experiment tunes. Raises ValueError where it does not, and what `run` raises.
    """
    from lab.runner import tuning
    from lab.runner.mode import Mode

    asked = experiment_of(experiment)
    if not asked.tuning_rates:
        raise ValueError(f"{asked.name} tunes nothing: give --tuning.learning-rates, the grid for every arm")
    session = session_of(asked, out, Mode(quiet=quiet))
    _, table = tuning.tuned(asked, session.directory, session.train)
    if table is None:
        raise ValueError(f"{session.directory} was begun at one learning rate and goes on at it: choose another --out")
    return table


def stable_rates(
    experiment: Experiment | str,
    low: float = 1e-3,
    high: float = 1.0,
    rounds: int = 5,
    out: str | Path | None = None,
    **mode: Any,
) -> StableRates:
    """The largest stable learning rate of every arm and seed of an experiment, between `low` and `high`: the table
    `thresholds`, and by `of_arms()` one rate for each arm. The experiment's own learning rates are not used.

    Brackets are halved `rounds` times on a logarithmic scale. `out` is results/NAME-stable-rates unless given; killed,
    the same call goes on. For what is stable, and the tables, see `lab.runner.stability.stable_rates`; for `mode`
    see `run`. Raises ValueError for rates that are not positive and ascending and for negative rounds, and what `run`
    raises.
    """
    from lab.runner.mode import Mode
    from lab.runner.stability import stable_rates as rates

    asked, search = experiment_of(experiment), rates.Search(low, high, rounds)
    search.check()
    folder = Path("results") / f"{asked.name}-stable-rates" if out is None else Path(out)
    return rates.stable_rates(session_of(asked, folder, Mode(**mode)), search)


def match(experiment: Experiment | str, out: str | Path | None = None) -> list[dict[str, Any]]:
    """Measures a training step of every arm and writes `out`/matched.json, by which `run` then gives each arm as many
    steps as take the baseline's time: see `lab.runner.matching.match`. Raises what `run` raises."""
    from lab.runner import matching
    from lab.runner.mode import Mode

    session = session_of(experiment_of(experiment), out, Mode())
    return matching.match(session.experiment, session.directory, session.mode)


def load(directory: str | Path) -> pd.DataFrame:
    """All curves of a results directory as one tidy table: experiment, cell, task, model, activation, one column an
    axis, seed, learning_rate, step, split (train, validation, test), metric (loss, bits_per_byte, ...), value.

    Raises FileNotFoundError if the directory holds no results, ValueError if a file in it is damaged.
    """
    from lab.results import results

    return results.read(Path(directory)).rows


def compare(
    directory: str | Path,
    baseline: str | None = None,
    metric: str | None = None,
    split: str | None = None,
    step: int | None = None,
    axis: str | None = None,
    over: str | None = None,
) -> Comparison:
    """The paired comparison of all activations with the baseline: see `lab.comparison.comparison.compare`.

    It is written down in the folder as a look (`lab.results.looks`). A report of another comparison than the
    experiment's own goes beside the experiment's report: `lab.report.report.write_beside`.
    """
    from lab.comparison import comparison, looks
    from lab.results import results

    found = results.read(Path(directory))
    compared = comparison.compare(found, baseline, metric, split, step, axis=axis, over=over)
    looks.record(found, compared)
    return compared


def gate(directory: str | Path, other: str | Path | None = None, plan: str | Path | None = None) -> Decision:
    """Whether results pass a plan's rules, or `other` results those of `directory`: see `lab.runner.gate.gate`."""
    from lab.runner import gate as gates

    return gates.gate(Path(directory), None if other is None else Path(other), None if plan is None else Path(plan))


def noise(directory: str | Path) -> tuple[Setting, ...]:
    """What the noise of every arm's difference to the baseline is made of: see `lab.comparison.noise.measure`."""
    from lab.comparison import noise as found
    from lab.results import results

    return found.measure(results.read(Path(directory)))


def plan(
    experiment: Experiment | str,
    budget: float | str,
    effect: float,
    pilot: str | Path | None = None,
    quiet: bool = False,
) -> Plan:
    """Which design of an experiment finds a difference `effect` of its metric with the highest probability in a time:
    seconds, or words such as "30m".

    Noise and cost are those of the results in `pilot`; unless given, a few seeds of every arm are trained into
    results/NAME-pilot, or found there. Raises what `lab.runner.planning.plan` and `run` raise.
    """
    from lab.experiment.duration import Duration
    from lab.results import results
    from lab.runner import planning

    asked = experiment_of(experiment)
    asked.check()
    seconds = Duration.read(budget) if isinstance(budget, str) else Duration(budget)
    if pilot is not None:
        return planning.plan(asked, seconds, effect, results.read(Path(pilot)))
    made = run(planning.pilot_of(asked), Path("results") / f"{asked.name}-pilot", quiet=quiet)
    return planning.plan(asked, seconds, effect, made)


def study(
    asked: Any,
    budget: Budget = "short",
    out: str | Path | None = None,
    quiet: bool = False,
    only: Sequence[str] = (),
) -> Path:
    """Carries out a study or makes the figures of a paper (a name, or the value itself); returns the page.

    What is missing is trained first; killed, the same call goes on. `out` is results/NAME/BUDGET unless given. Of a
    paper, `only` chooses figures, and one whose data are not available is left out with a sentence. Raises ValueError
    for bad input, and what `run` raises.
    """
    from lab.experiment.library import study as find_study
    from lab.runner import record, studies
    from lab.runner.mode import Mode

    asked = find_study(asked) if isinstance(asked, str) else asked
    folder = Path(out) if out is not None else Path("results") / asked.name / budget
    plan_file = record.plan_of(asked.name)
    train = partial(run, quiet=quiet, plan=plan_file)
    start = partial(session_of, mode=Mode(quiet=quiet), plan=plan_file)
    return studies.carry_out(asked, budget, folder, train, start, only)


def figures(
    paper: Any, budget: Budget = "short", only: Sequence[str] = (), out: str | Path | None = None, quiet: bool = False
) -> Path:
    """Makes the figures of a paper: the same as `study`."""
    return study(paper, budget, out, quiet, only)


def swap(
    directory: str | Path,
    activation: Named | None = None,
    norm: str | None = None,
    text: str | Path | None = None,
    steps: int = 0,
    seeds: Sequence[int] = (),
    learning_rate: float | None = None,
    ignore: Sequence[str] = (),
    out: str | Path | None = None,
    quiet: bool = False,
    experiment: Experiment | str | None = None,
) -> pd.DataFrame:
    """Gives a trained network, a cell of ours or a Hugging Face folder, another activation, norm or both, and measures
    the drift without training: rows of seed, change, measure and value, those of a layer also with stack and layer.

    `out`, results/swap unless given, gets the page index.html and drift.json. With `steps`, the changed networks and
    the unchanged one are trained on alike, below `out`. A cell with a model, task or activation of one's own needs the
    `experiment` (a value or its file) that defines it. For the rest see `lab.runner.networks.swaps.Swap`; raises what
    `lab.runner.networks.swaps.swap` raises.
    """
    from lab.runner import dispatch
    from lab.runner.networks import swaps
    from lab.training.runs import use_all_cores, use_compilation_cache

    use_all_cores()
    use_compilation_cache()
    told = None if text is None else str(text)
    asked = swaps.Swap(
        Path(directory),
        activation,
        norm,
        told,
        steps,
        tuple(seeds),
        learning_rate,
        tuple(ignore),
        None if experiment is None else experiment_of(experiment),
    )
    folder = Path(out) if out is not None else Path("results") / "swap"
    return swaps.swap(asked, folder, dispatch.load, partial(run, quiet=quiet), command_line())


def quantize(
    directory: str | Path,
    recipes: Sequence[str] = (),
    texts: Sequence[str | Path] = (),
    margin: float = 0.001,
    ignore: Sequence[str] = (),
    out: str | Path | None = None,
    experiment: Experiment | str | None = None,
) -> dict[str, Any]:
    """Quantizes the trained networks of results, of one cell or of a Hugging Face folder, by recipes of
    `lab.surgery.quantization.RECIPES` (all unless given), and compares each with itself in float; also with each site
    kept in float in turn.

    The page index.html and quantization.json go to `out`: DIRECTORY/quantization unless given, and for a Hugging Face
    folder results/quantize. Gives what the JSON file holds. For the rest see
    `lab.runner.networks.quantization.Quantize`; raises what `lab.runner.networks.quantization.quantize` raises.
    """
    from lab.runner import dispatch
    from lab.runner.networks import quantization
    from lab.training.runs import use_all_cores, use_compilation_cache

    use_all_cores()
    use_compilation_cache()
    own = None if experiment is None else experiment_of(experiment)
    named = tuple(map(str, texts))
    asked = quantization.Quantize(Path(directory), tuple(recipes), named, margin, tuple(ignore), own)
    return quantization.quantize(asked, None if out is None else Path(out), dispatch.load, command_line())


def choose(
    *directories: str | Path,
    limits: Mapping[str, float] | None = None,
    objectives: Sequence[str] = (),
    recipe: str = "w8a8",
    batch: int = 32,
    out: str | Path | None = None,
    experiment: Experiment | str | None = None,
    stable_rates: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Which arm of results to take under limits, such as {"latency_ms": 2, "int8_loss": 0.002}: measures the int8 loss,
    latency, memory and parameters of all trained networks, and finds the Pareto front with its uncertainty.

    The page index.html and choice.json go to `out`: DIRECTORY/choice of the first directory unless given.
    `stable_rates` is the table of `stable_rates(...).of_arms()`, in place of the rates that were tried. Gives what the
    JSON file holds. For the rest see `lab.runner.networks.selection.Select`; raises what
    `lab.runner.networks.selection.choose` raises.
    """
    from lab.runner import dispatch
    from lab.runner.networks import selection
    from lab.training.runs import use_all_cores, use_compilation_cache

    use_all_cores()
    use_compilation_cache()
    own = None if experiment is None else experiment_of(experiment)
    paths = tuple(map(Path, directories))
    asked = selection.Select(paths, dict(limits or {}), tuple(objectives), recipe, batch, own, stable_rates)
    return selection.choose(asked, None if out is None else Path(out), dispatch.load, command_line())


def inspect(directory: str | Path, ignore: Sequence[str] = ()) -> Inspection:
    """What the network of a Hugging Face folder is: see `models.pretrained.inspect`."""
    from models import pretrained

    return pretrained.inspect(directory, tuple(ignore))


def telemetry(directory: str | Path, text: str | Path | None = None, ignore: Sequence[str] = ()) -> pd.DataFrame:
    """What happens inside networks, by layer and site: the table of `load` with these two columns more, of a results
    directory whose experiment was run with `telemetry`; with a `text`, that of a Hugging Face folder on its first
    windows: layer, site, metric, value.

    Raises FileNotFoundError if there is nothing of that kind, ValueError if a file is damaged, if nothing was recorded,
    or if the network reads no text.
    """
    if text is not None:
        from lab.runner import dispatch
        from lab.runner.networks import inside

        return inside.of_pretrained(Path(directory), Path(text), dispatch.load, tuple(ignore))
    from lab.results import results

    rows = results.read(Path(directory)).telemetry
    if rows.empty:
        raise ValueError(f"{directory} has no telemetry: run its experiment with --telemetry --retrain")
    return rows


def evaluate(
    experiment: Experiment | str,
    function: Callable[[Cell, Run, Any, Mapping[str, np.ndarray]], list[dict[str, Any]]],
    out: str | Path | None = None,
    where: Callable[[Cell, Run], bool] = lambda cell, run: True,
) -> pd.DataFrame:
    """What a function says of the trained networks of an experiment, one row after another.

    `function(cell, run, variables, test)` gives rows of one network: `cell.model.apply(variables, ...)` computes with
    it, `test` are the arrays of the test split. Each row is preceded by the network's activation, axes, seed and
    learning rate. `where(cell, run)` chooses networks. Raises ValueError for a network that is not trained yet.
    """
    from lab.runner.networks.networks import evaluated

    asked = experiment_of(experiment)
    return evaluated(asked, folder_of(asked, out), function, where)


def describe(experiment: Experiment | str) -> pd.DataFrame:
    """The cells of an experiment, and of its tuning, before anything is compiled: runs, parameters, forward FLOPs a
    token, memory in MB, estimated minutes of training (three forward passes a step at half of the measured
    matrix-product rate).

    Raises ValueError for bad input.
    """
    from lab.probes.machine import matmul_rate
    from lab.runner import dispatch
    from lab.runner.estimate import estimate
    from lab.training.runs import use_all_cores

    use_all_cores()
    asked = experiment_of(experiment)
    asked.check(dispatch.load)
    return estimate(asked, matmul_rate())
