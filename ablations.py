"""The runner's face: the commands `ablations list, describe, tune, match, run, study, figures, swap, compare, report,
calibrate, data`, most of them also as functions.

    from ablations import compare, load, run

Heavy libraries are imported where they are needed, so that `ablations --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import pandas as pd

    from lab.cli.options import OptionsT
    from lab.comparison.comparison import Comparison
    from lab.experiment.experiment import Budget, Cell, Experiment, Named
    from lab.results.results import Results
    from lab.runner.mode import Mode
    from lab.runner.session import Session
    from lab.training.execution import Kind
    from lab.training.reading import Place
    from lab.training.settings import Run

PACKAGES = "ablations|experiments|lab|models"


def run(
    experiment: Experiment | str,
    out: str | Path | None = None,
    execution: Kind = "auto",
    shards: int = 1,
    data_on: Place = "auto",
    sequential: bool = False,
    retrain: bool = False,
    track: bool = False,
    profile: bool = False,
    quiet: bool = False,
) -> Results:
    """Trains what is missing of an experiment (a value, a name or a file) and writes the report; gives the results.

    Results go to `out`, results/<name> unless given. An experiment that tunes trains the grid of every arm first, in
    `out`/tuning; `out`/matched.json, if it is there (see `match`), gives every arm its steps. `sequential` trains
    the seeds in turn, until every arm is resolved or all seeds are used (see `lab.runner.sequential`). `execution` of
    the run axis is "auto", "vmap" or "map"; a single run is spread over `shards` devices. Training data lies `data_on`
    the "device" or the "host", which reads ahead; "auto" is by its size. `track` also writes TensorBoard files,
    `profile` a trace of a few steps of every cell, below the results. Started on several hosts (see
    `lab.training.distributed.join`), all compute and the first writes. Raises ValueError for bad input, before anything
    is compiled, and OSError where the results cannot be written.
    """
    from lab.runner import matching, tuning
    from lab.runner import sequential as looks
    from lab.runner.mode import Mode
    from lab.training.execution import Placement

    asked = _found(experiment)
    if sequential:
        looks.check(asked)
    mode = Mode(Placement(execution, shards, data_on), retrain, track, profile, quiet)
    session = _session(asked, out, mode)
    directory, train = session.directory, session.train
    chosen, _ = tuning.tuned(matching.matched(asked, directory), directory, train)
    return looks.run_sequentially(chosen, directory, train) if sequential else train(chosen, directory)


def tune(experiment: Experiment | str, out: str | Path | None = None, quiet: bool = False) -> pd.DataFrame:
    """Trains the grid of every arm on its tuning seeds, in `out`/tuning (table: `lab.comparison.tuning.tuned`).

    `run` does this too where the experiment tunes. Raises ValueError where it does not, and what `run` raises.
    """
    from lab.runner import tuning
    from lab.runner.mode import Mode

    asked = _found(experiment)
    if not asked.tuning.learning_rates:
        raise ValueError(f"{asked.name} tunes nothing: give --tuning.learning-rates, the grid for every arm")
    session = _session(asked, out, Mode(quiet=quiet))
    _, table = tuning.tuned(asked, session.directory, session.train)
    assert table is not None  # it tunes
    return table


def match(experiment: Experiment | str, out: str | Path | None = None) -> list[dict[str, Any]]:
    """Measures a training step of every arm and writes `out`/matched.json, by which `run` then gives each arm as many
    steps as take the baseline's time: see `lab.runner.matching.match`. Raises what `run` raises."""
    from lab.runner import matching
    from lab.runner.mode import Mode

    session = _session(_found(experiment), out, Mode())
    return matching.match(session.experiment, session.directory, session.mode.placement)


def _session(asked: Experiment, out: str | Path | None, mode: Mode) -> Session:
    """The experiment checked, and ready to be trained in the folder of its results."""
    from lab.data import catalogue
    from lab.runner import session

    return session.start(asked, _folder(asked, out), mode, _command(), catalogue.to_beat)


def _found(experiment: Experiment | str) -> Experiment:
    """The experiment itself, or the one of that name or file."""
    from lab.experiment.library import find

    return find(experiment) if isinstance(experiment, str) else experiment


def _folder(asked: Experiment, out: str | Path | None) -> Path:
    return Path(out) if out is not None else Path("results") / asked.name


def _command() -> str:
    """What makes the results again, as far as this process knows."""
    program, *arguments = sys.argv
    called = Path(program).stem == "ablations"
    return shlex.join(["ablations", *arguments]) if called else "ablations.run(...), from Python"


def load(directory: str | Path) -> pd.DataFrame:
    """All curves of a results directory as one tidy table: experiment, cell, task, model, activation, one column an
    axis, seed, learning_rate, step, split (train, validation, test), metric (loss, bits_per_byte, ...), value.

    Raises FileNotFoundError if the directory holds no results, ValueError if a file in it is damaged.
    """
    from lab.results import results

    return results.read(Path(directory)).rows


def compare(directory: str | Path, baseline: str | None = None, metric: str | None = None) -> Comparison:
    """The paired comparison of all activations with the baseline: see `lab.comparison.comparison.compare`."""
    from lab.comparison import comparison
    from lab.results import results

    return comparison.compare(results.read(Path(directory)), baseline, metric)


def figures(
    paper: Any, budget: Budget = "short", only: Sequence[str] = (), out: str | Path | None = None, quiet: bool = False
) -> Path:
    """Makes the figures of a paper (a name, or the value that `lab.experiment.library.paper` gives) and their page.

    What is missing is trained first, below `out`/experiments; killed, the same call goes on. `out` is
    results/NAME/BUDGET unless given. Beside the page index.html are every figure (svg) with its table (csv), and in
    `saved` the rows they are drawn from. A figure whose data are not to be had is left out with a sentence. Raises
    ValueError for bad input, OSError where the results cannot be written.
    """
    from dataclasses import fields

    from lab.experiment.library import paper as find_paper
    from lab.files.choices import check_choice
    from lab.runner import studies

    asked = find_paper(paper) if isinstance(paper, str) else paper
    names = [field.name for field in fields(asked)]
    for one in only:
        check_choice("--only", one, names)
    chosen = [one for one in names if one in only or not only]
    folder = Path(out) if out is not None else Path("results") / asked.name / budget
    return studies.reproduce(asked, budget, chosen, folder, partial(run, quiet=quiet))


def study(asked: Any, budget: Budget = "short", out: str | Path | None = None, quiet: bool = False) -> Path:
    """Carries out a study (a name, or a `lab.experiment.study.Study`) and writes its page; returns the path.

    Every experiment is trained in a folder of its own below `out`, results/NAME/BUDGET unless given; killed, the same
    call goes on. Raises what `run` raises.
    """
    from lab.experiment.library import study as find_study
    from lab.runner import studies

    asked = find_study(asked) if isinstance(asked, str) else asked
    folder = Path(out) if out is not None else Path("results") / asked.name / budget
    return studies.carry_out(asked, budget, folder, partial(run, quiet=quiet))


def swap(
    directory: str | Path,
    activation: Named | None = None,
    norm: str | None = None,
    text: str | Path | None = None,
    steps: int = 0,
    seeds: Sequence[int] = (),
    learning_rate: float | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Gives a trained network, a cell of ours or a Hugging Face folder, another activation, norm or both, and measures
    the drift without training: rows of seed, change, measure and value, those of a layer also with stack and layer.

    `out`, results/swap unless given, gets the page index.html and drift.json. With `steps`, the changed networks and
    the unchanged one are trained on alike, below `out`. For the rest see `lab.runner.swaps.Swap`; raises what
    `lab.runner.swaps.swap` raises.
    """
    from lab.runner import dispatch, swaps
    from lab.training.runs import use_all_cores, use_compilation_cache

    use_all_cores()
    use_compilation_cache()
    asked = swaps.Swap(
        Path(directory), activation, norm, None if text is None else str(text), steps, tuple(seeds), learning_rate
    )
    folder = Path(out) if out is not None else Path("results") / "swap"
    return swaps.swap(asked, folder, dispatch.load, partial(run, quiet=quiet), _command())


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
    from lab.runner.networks import evaluated

    asked = _found(experiment)
    return evaluated(asked, _folder(asked, out), function, where)


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
    asked = _found(experiment)
    asked.check(dispatch.load)
    return estimate(asked, matmul_rate())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Gives the exit code: 0, 2 for bad input (one sentence on stderr), 130 when interrupted,
    141 when nobody reads what it prints."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how a scheduler says Ctrl-C
    try:
        known, rest = _parser().parse_known_args(arguments)
        if rest:
            raise ValueError(f"ablations {known.command} takes no '{rest[0]}' (see ablations {known.command} --help)")
        known.function(known)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # whoever reads has enough: `ablations list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in the buffer goes nowhere
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("ablations: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except OSError as error:
        return _refuse(f"{error.strerror}: {error.filename}" if error.filename else str(error))
    except ValueError as error:
        if not _deliberate(error):
            raise
        return _refuse(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ablations", description="Which activation should this network use, and why?")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(function=function)
        return sub

    command("list", _list, "List the experiments.")
    for name, function, text in (
        ("describe", _describe, "Show cells, runs, parameters, FLOPs, memory and estimated time; compile nothing."),
        ("run", _run, "Train what is missing of an experiment, compare, and write the report."),
        ("tune", _tune, "Train the tuning grid of every arm and show what each is given; run does it too."),
        ("match", _match, "Measure a step of every arm: run then trains each as long as the baseline."),
    ):
        sub = command(name, function, text)
        sub.usage = f"ablations {name} NAME [--FIELD VALUE ...]"
        sub.epilog = f"Fields and their values: ablations {name} NAME --help"
        sub.add_argument("name", metavar="NAME", nargs="?", help="an experiment of the list, or path/to/file.py")
        sub.add_argument("options", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    sub = command("compare", _compare, "Compare every activation with the baseline.")
    sub.add_argument("directory", metavar="DIR", type=Path)
    sub.add_argument("--baseline", metavar="NAME", help="activation to compare with, if not the experiment's own")
    sub.add_argument("--metric", metavar="NAME", help="metric to compare, if not the experiment's own")
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sub = command("report", _report, "Write DIR/report.html again; of two folders, a page that says what differs.")
    sub.add_argument("directory", metavar="DIR", type=Path)
    sub.add_argument(
        "other", metavar="OTHER", type=Path, nargs="?", help="results of the same experiment, made elsewhere"
    )
    sub.add_argument("--out", metavar="FILE", type=Path, help="the page; OTHER/contrast.html, or DIR/report.html")
    sub = command("figures", _figures, "Make the figures of a paper, with the paper's curves under ours.")
    sub.usage = "ablations figures NAME [--budget BUDGET] [--only FIGURE ...] [--out DIR]"
    sub.epilog = "What the paper leaves open: ablations figures NAME --help"
    sub.add_argument("name", metavar="NAME", nargs="?", help="gelu_paper")
    sub.add_argument("options", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    sub = command("calibrate", _calibrate, "Simulate experiments and show how well the statistics keep their level.")
    sub.add_argument("--experiments", metavar="N", type=int, default=20_000, help="simulated experiments of each kind")
    sub.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("results/calibration"), help="where the table goes"
    )
    sub = command("study", _study, "Carry out a study: all its experiments, and one page that says what they show.")
    sub.add_argument("name", metavar="NAME", help="a study of the list")
    sub.add_argument("--budget", choices=("smoke", "short", "full"), default="short", help="smoke, short or full")
    sub.add_argument("--out", metavar="DIR", type=Path, help="the folder of the results; results/NAME/BUDGET")
    sub = command("swap", _swap, "Change a trained network's activation or norm, and measure the drift by layer.")
    sub.add_argument("directory", metavar="DIR", type=Path, help="a cell of results, or a Hugging Face folder")
    sub.add_argument("--activation", metavar="NAME", help="the activation that it is to have")
    sub.add_argument("--norm", metavar="NAME", help="the norm that it is to have: layernorm or rmsnorm")
    sub.add_argument("--text", metavar="FILE", help="a text to measure on, if not what the network's task tests on")
    sub.add_argument("--steps", metavar="N", type=int, default=0, help="train on for so many steps; 0: not at all")
    sub.add_argument("--seeds", metavar="N", type=int, nargs="+", default=(), help="seeds of training on")
    sub.add_argument("--learning-rate", metavar="X", type=float, help="peak of training on")
    sub.add_argument("--out", metavar="DIR", type=Path, help="the folder of the results; results/swap")
    sub = command("data", _data, "List the data sets; prepare one, or check its files and its content.")
    sub.add_argument("action", choices=("list", "prepare", "check"), help="list, prepare NAME or check NAME")
    sub.add_argument("name", metavar="NAME", nargs="?", help="a set of the list, text:GLOB, or a name of TFDS")
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """Bad input in one sentence, without the usage."""
        raise ValueError(f"{message} (see {self.prog} --help)")


def _list(known: argparse.Namespace) -> None:
    from lab.cli import terminal
    from lab.experiment.library import catalogue, papers, studies

    terminal.show_names({"experiments (run)": catalogue(), "studies (study)": studies(), "papers (figures)": papers()})


def _run(known: argparse.Namespace) -> None:
    from dataclasses import fields

    from lab.cli import terminal
    from lab.cli.options import RunOptions
    from lab.probes.machine import matmul_rate
    from lab.training import distributed

    options = _options(RunOptions, known)
    found = run(
        **{
            field.name: getattr(options, field.name)
            for field in fields(options)
            if field.name not in ("axis", "init_from")
        }
    )
    if not distributed.first():
        return
    try:
        terminal.show_comparison(found)
    except ValueError as error:  # one activation alone, say: it was trained all the same
        print(f"no comparison: {error}")
    terminal.show_speed(found, matmul_rate())
    print(f"report: {found.directory / 'report.html'}")


def _tune(known: argparse.Namespace) -> None:
    from lab.cli import terminal
    from lab.cli.options import StoredOptions

    options = _options(StoredOptions, known)
    terminal.show_tuning(tune(options.experiment, options.out))


def _match(known: argparse.Namespace) -> None:
    from lab.cli import terminal
    from lab.cli.options import StoredOptions

    options = _options(StoredOptions, known)
    terminal.show_matched(match(options.experiment, options.out))


def _describe(known: argparse.Namespace) -> None:
    from lab.cli import terminal
    from lab.cli.options import Options

    asked = _options(Options, known).experiment
    terminal.show_cells(asked, describe(asked))


def _compare(known: argparse.Namespace) -> None:
    if known.json:
        print(json.dumps(compare(known.directory, known.baseline, known.metric).to_dict(), indent=2, allow_nan=False))
        return
    from lab.cli import terminal
    from lab.results import results

    terminal.show_comparison(results.read(known.directory), known.baseline, known.metric)


def _report(known: argparse.Namespace) -> None:
    from lab.report import contrast, report
    from lab.results import results

    first = results.read(known.directory)
    if known.other is None:
        print(report.write(first, known.out))
    else:
        print(contrast.write(first, results.read(known.other), known.out or known.other / "contrast.html"))


def _figures(known: argparse.Namespace) -> None:
    from lab.cli.options import FigureOptions, read
    from lab.experiment.library import paper, papers

    if known.name is None:
        raise ValueError(f"ablations figures needs the name of a paper: {', '.join(papers())}")
    options = read(FigureOptions(paper(known.name)), known.options, f"ablations figures {known.name}")
    print(f"page: {figures(options.figures, options.budget, options.only, options.out)}")


def _calibrate(known: argparse.Namespace) -> None:
    from lab.cli import terminal
    from lab.report import calibration, calibration_page

    if known.experiments < 100:
        raise ValueError(f"--experiments is {known.experiments}: a rate takes at least 100")
    rates = calibration.calibrate(known.experiments)
    terminal.show_calibration(rates)
    page = calibration_page.write(rates, known.experiments, _command(), known.out / "index.html")
    print(f"page: {page}")


def _study(known: argparse.Namespace) -> None:
    print(f"page: {study(known.name, known.budget, known.out)}")


def _swap(known: argparse.Namespace) -> None:
    from lab.cli import terminal

    asked = {name: value for name, value in vars(known).items() if name not in ("command", "function")}
    terminal.show_drift(swap(**asked))
    print(f"page: {(known.out or Path('results/swap')) / 'index.html'}")


def _data(known: argparse.Namespace) -> None:
    from lab.cli import terminal
    from lab.data import catalogue

    if (known.name is None) != (known.action == "list"):
        raise ValueError("ablations data is followed by list, prepare NAME or check NAME")
    if known.action == "list":
        terminal.show_sets(catalogue.listed())
        return
    if known.action == "prepare":
        catalogue.load(known.name)
    print("\n".join(catalogue.described(known.name)))


def _options(kind: type[OptionsT], known: argparse.Namespace) -> OptionsT:
    """The experiment that a command names, with the fields that the rest of the line sets."""
    from lab.cli.options import parse
    from lab.experiment.library import find

    command = f"ablations {known.command}"
    if known.name is None:
        raise ValueError(f"{command} needs the name of an experiment or a file (see ablations list)")
    return parse(kind, find(known.name), known.options, f"{command} {known.name}")


def _refuse(sentence: str) -> int:
    print(f"ablations: {' '.join(sentence.split())}", file=sys.stderr)
    return 2


def _deliberate(error: ValueError) -> bool:
    """Whether a line of ours raised it to refuse an input; that of a library or of a user's file keeps its trace."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return re.match(rf"({PACKAGES}|__main__)(\.|$)", frame.f_globals["__name__"]) is not None


if __name__ == "__main__":
    sys.exit(main())
