"""The commands: what each is called, what it takes, and what it does. Heavy libraries are imported inside."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.cli import arguments as takes


@dataclass(frozen=True)
class Command:
    """A command of the command line."""

    summary: str
    """What it does, one sentence."""
    arguments: type
    """What it takes: see `lab.cli.arguments`."""
    function: Callable[[Any], int | None]
    """The function that executes it; may return the exit code."""
    subject: str = ""
    """What its first word names, whose fields are options too: an experiment or a study."""
    hidden: bool = False
    """Whether the list of commands leaves it out: another name of the previous release."""


def list_all(asked: takes.NoArguments) -> None:
    """Experiments and studies by name."""
    from lab.cli import terminal
    from lab.experiment.library import catalogue, studies

    terminal.show_names({"experiments (ablations run NAME)": catalogue(), "studies (ablations study NAME)": studies()})


def describe(asked: takes.ExperimentArguments) -> None:
    """The cells of an experiment before anything is compiled."""
    from lab.cli import terminal
    from lab.runner import interface

    terminal.show_cells(asked.experiment, interface.describe(asked.experiment))


def run(asked: takes.RunArguments) -> None:
    """Trains, compares and reports."""
    from lab.cli import terminal
    from lab.comparison import comparison
    from lab.files.damaged import DamagedFileError
    from lab.probes.machine import matmul_rate
    from lab.report import report as page
    from lab.runner import interface
    from lab.training.devices import distributed

    found = interface.run(asked.experiment, asked.out, asked.sequential, asked.plan, **asdict(asked.mode))
    if not distributed.first():
        return
    experiment = asked.experiment
    report = found.directory / "report.html"
    try:
        compared = comparison.compare(found, experiment.reference, experiment.metric, experiment.split)
        terminal.show_comparison(found, compared)
        report = page.place(found, compared)
    except DamagedFileError:
        raise
    except ValueError as error:  # one activation alone, say: it was trained all the same
        print(f"no comparison: {error}")
    terminal.show_speed(found, matmul_rate())
    print(f"report: {report}")


def tune(asked: takes.StoredArguments) -> None:
    """Trains the tuning grid alone."""
    from lab.cli import terminal
    from lab.runner import interface

    terminal.show_tuning(interface.tune(asked.experiment, asked.out))


def match(asked: takes.StoredArguments) -> None:
    """Measures a step of every arm."""
    from lab.cli import terminal
    from lab.runner import interface

    terminal.show_matched(interface.match(asked.experiment, asked.out))


def compare(asked: takes.CompareArguments) -> None:
    """The comparison as a table or as JSON; another than the experiment's own also as a report of its own."""
    from lab.cli import terminal
    from lab.comparison import comparison, looks
    from lab.results import results

    given = (asked.baseline, asked.metric, asked.split, asked.step)
    found = results.read(asked.directory)
    compared = comparison.compare(found, *given, axis=asked.axis, over=asked.over)
    looks.record(found, compared)
    if asked.json:
        print(json.dumps(compared.to_dict(), indent=2, allow_nan=False))
        return
    terminal.show_comparison(found, compared)
    if any(value is not None for value in (*given, asked.axis, asked.over)):
        from lab.report import report as page

        print(f"report: {page.write_beside(found, compared)}")


def gate(asked: takes.GateArguments) -> int:
    """Whether the rules of a plan hold, as JSON and as exit code."""
    from lab.runner import interface

    decision = interface.gate(asked.directory, asked.other, asked.plan)
    print(json.dumps(decision.to_dict(), indent=2))
    return decision.exit_code


def noise(asked: takes.NoiseArguments) -> None:
    """The variance components of every arm's difference to the baseline."""
    from lab.cli import terminal
    from lab.runner import interface

    settings = interface.noise(asked.directory)
    if asked.json:
        print(json.dumps([setting.to_dict() for setting in settings], indent=2, allow_nan=False))
        return
    terminal.show_noise(settings)


def plan(asked: takes.PlanArguments) -> None:
    """The designs that fit into a time, and which one to choose."""
    from lab.cli import terminal
    from lab.runner import interface

    found = interface.plan(asked.experiment, asked.budget, asked.effect, asked.pilot, quiet=asked.json)
    if asked.json:
        print(json.dumps(found.to_dict(), indent=2, allow_nan=False))
        return
    terminal.show_plan(found)


def report(asked: takes.ReportArguments) -> None:
    """Writes the report again, or what differs between two folders."""
    from lab.report import contrast
    from lab.report import report as page
    from lab.results import results

    first = results.read(asked.directory)
    if asked.other is None:
        print(page.write(first, asked.out))
    else:
        print(contrast.write(first, results.read(asked.other), asked.out or asked.other / "contrast.html"))


def study(asked: takes.StudyArguments) -> None:
    """Carries out a study, or makes the figures of a paper."""
    from lab.runner import interface

    print(f"page: {interface.study(asked.study, asked.budget, asked.out, only=asked.only)}")


def swap(asked: takes.SwapArguments) -> None:
    """Changes a trained network and measures the drift."""
    from lab.cli import terminal
    from lab.runner import interface

    terminal.show_drift(interface.swap(**vars(asked)))
    print(f"page: {(asked.out or Path('results/swap')) / 'index.html'}")


def quantize(asked: takes.QuantizeArguments) -> None:
    """Quantizes trained networks and compares them with themselves in float."""
    from lab.cli import terminal
    from lab.runner import interface

    given = (asked.recipe, asked.text, asked.margin, asked.ignore, asked.out, asked.experiment)
    record = interface.quantize(asked.directory, *given)
    if asked.json:
        print(json.dumps(record, indent=2, allow_nan=False))
        return
    terminal.show_quantization(record)


def choose(asked: takes.ChooseArguments) -> None:
    """Chooses an arm of results under limits."""
    from lab.cli import terminal
    from lab.runner import interface

    limits = {
        "latency_ms": asked.latency,
        "latency_batch_ms": asked.latency_batch,
        "memory_mb": asked.memory,
        "parameters": asked.parameters,
        "int8_loss": asked.int8_loss,
        "stable_rate": asked.stable_rate,
    }
    record = interface.choose(
        *asked.directories,
        limits={name: bound for name, bound in limits.items() if bound is not None},
        objectives=asked.objective,
        recipe=asked.recipe,
        batch=asked.batch,
        out=asked.out,
        experiment=asked.experiment,
    )
    if asked.json:
        print(json.dumps(record, indent=2, allow_nan=False))
        return
    terminal.show_choice(record)


def inspect(asked: takes.InspectArguments) -> None:
    """Says what a checkpoint uses, and what another activation would cost it."""
    from lab.cli import terminal
    from lab.runner import interface

    found = interface.inspect(asked.directory, asked.ignore).to_dict()
    rows = inside = None
    if asked.text is not None:
        inside = interface.telemetry(asked.directory, asked.text, asked.ignore)
    if asked.against is not None:
        rows = interface.swap(asked.directory, asked.against, text=asked.text, ignore=asked.ignore, out=asked.out)
    if asked.json:
        drift = {} if rows is None else {"against": asked.against, "drift": json.loads(rows.to_json(orient="records"))}
        drift |= {} if inside is None else {"telemetry": json.loads(inside.to_json(orient="records"))}
        print(json.dumps(found | drift, indent=2, allow_nan=False))
        return
    terminal.show_inspection(found)
    if inside is not None:
        terminal.show_telemetry(inside)
    if rows is not None:
        print(f"\nwith {asked.against}:")
        terminal.show_drift(rows)
        print(f"page: {(asked.out or Path('results/swap')) / 'index.html'}")


def calibrate(asked: takes.CalibrateArguments) -> None:
    """Simulates experiments with a known truth."""
    from lab.cli import terminal
    from lab.report.studies import calibration, calibration_page, promises
    from lab.runner.asked import command_line

    if asked.experiments < 100:
        raise ValueError(f"--experiments is {asked.experiments}: a rate takes at least 100")
    kept = promises.promises(asked.experiments)
    terminal.show_calibration(kept)
    rates = calibration.calibrate(asked.experiments)
    terminal.show_calibration(rates)
    page = calibration_page.write(rates, kept, asked.experiments, command_line(), asked.out / "index.html")
    print(f"page: {page}")


def data(asked: takes.DataArguments) -> None:
    """Lists, prepares or checks data sets."""
    from lab.cli import terminal
    from lab.data import catalogue

    if (asked.name is None) != (asked.action == "list"):
        raise ValueError("ablations data is followed by list, prepare NAME or check NAME")
    if asked.name is None:
        terminal.show_sets(catalogue.listed())
        return
    if asked.action == "prepare":
        catalogue.load(asked.name)
    print("\n".join(catalogue.described(asked.name)))


COMMANDS: Mapping[str, Command] = {
    "list": Command("List the experiments and studies.", takes.NoArguments, list_all),
    "describe": Command(
        "Show cells, runs, parameters, FLOPs, memory and estimated time; compile nothing.",
        takes.ExperimentArguments,
        describe,
        "experiment",
    ),
    "run": Command(
        "Train what is missing of an experiment, compare, and write the report.", takes.RunArguments, run, "experiment"
    ),
    "tune": Command(
        "Train the tuning grid of every arm and show what was chosen; run does it too.",
        takes.StoredArguments,
        tune,
        "experiment",
    ),
    "match": Command(
        "Measure a step of every arm; run then trains each for as long as the baseline.",
        takes.StoredArguments,
        match,
        "experiment",
    ),
    "study": Command(
        "Carry out a study: all its experiments, and one page that says what they show.",
        takes.StudyArguments,
        study,
        "study",
    ),
    "figures": Command("Make the figures of a paper: the same as study.", takes.StudyArguments, study, "study", True),
    "compare": Command("Compare every activation with the baseline.", takes.CompareArguments, compare),
    "gate": Command(
        "Hold results to the rules of a plan: exit code 0 pass, 1 fail, 3 inconclusive.", takes.GateArguments, gate
    ),
    "noise": Command("Show the sources of noise of every difference: seeds, text, both.", takes.NoiseArguments, noise),
    "plan": Command(
        "Say which design finds an effect with the highest probability in a given time; train a pilot if need be.",
        takes.PlanArguments,
        plan,
        "experiment",
    ),
    "report": Command("Write the report again; of two folders, what differs.", takes.ReportArguments, report),
    "swap": Command(
        "Change a trained network's activation or norm, and measure the drift by layer.", takes.SwapArguments, swap
    ),
    "quantize": Command(
        "Quantize trained networks by several recipes: what each costs, and which site is to blame.",
        takes.QuantizeArguments,
        quantize,
    ),
    "choose": Command(
        "Choose an arm under limits of latency, memory, int8 loss and stability, with the Pareto front.",
        takes.ChooseArguments,
        choose,
    ),
    "inspect": Command(
        "Say what a Hugging Face folder holds: family, sizes, activation, norm, positions, parameters.",
        takes.InspectArguments,
        inspect,
    ),
    "calibrate": Command(
        "Simulate experiments and show how well the statistics keep their level.", takes.CalibrateArguments, calibrate
    ),
    "data": Command("List the data sets; prepare one, or check its files and content.", takes.DataArguments, data),
}
