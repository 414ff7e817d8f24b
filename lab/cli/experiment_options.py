"""The options of a command on an experiment: its fields, the axes that are added, the network it starts from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from lab.cli import options
from lab.cli.arguments import ExperimentArguments
from lab.cli.options import Option
from lab.experiment.experiment import Activation, Axis, Experiment, Named
from lab.experiment.fields import field_types
from lab.experiment.fine_tuning import initialized_from

Arguments = TypeVar("Arguments", bound=ExperimentArguments)


def read(kind: type[Arguments], trees: Mapping[str, Any], words: Sequence[str], program: str) -> Arguments:
    """The arguments of a command, with the fields of the experiment among `trees` as defaults.

    Raises ValueError, in one sentence, for an option or a value that is not allowed; whether the values go together is
    the experiment's to check.
    """
    experiment: Experiment = trees["experiment"]
    axes, rest = _axes(experiment, words)
    found = options.values(options.options(kind, trees), rest, program)
    made = options.built(kind, found, trees)
    asked = replace(made.experiment, axes=(*experiment.axes, *axes))
    _check_not_varied(asked, found)
    asked = replace(asked, activations=_own_activations(experiment, asked))
    if made.init_from:
        asked = initialized_from(asked, made.init_from, made.ignore)
    return replace(made, experiment=asked)


def _axes(experiment: Experiment, words: Sequence[str]) -> tuple[list[Axis], list[str]]:
    """The axes that are added, and the words without them: the one option that may be repeated."""
    axes, rest = [], []
    for name, following in options.split(words):
        if name == "--axis":
            axes.append(_axis(experiment, following))
        else:
            rest += [*([name] if name else []), *following]
    return axes, rest


def _axis(experiment: Experiment, words: list[str]) -> Axis:
    """A field to vary and its values, each read as the option of that field would be; an unknown one has none."""
    if not words:
        raise ValueError("--axis needs a field and its values, such as --axis model.norm layernorm rmsnorm")
    path = words[0].replace("-", "_")
    declared = field_types(experiment).get(path)
    if options.element(declared) is None:
        return path, ()
    return path, tuple(options.value(f"--axis {path}", declared, [word]) for word in words[1:])


def accepted(kind: type, trees: Mapping[str, Any]) -> list[Option]:
    """The options of a command on an experiment: without the fields that it varies."""
    varied = _varied(trees["experiment"])
    known = options.options(kind, trees)
    return [option for option in known if option.path.removeprefix("experiment.") not in varied]


def _varied(experiment: Experiment) -> dict[str, str]:
    """Path of each field that the experiment varies -> the option that sets its values."""
    varied = {path: "--axis" for path, _ in experiment.axes} | {"model.activation": "--activations"}
    return varied | ({"hyperparameters.learning_rate": "--learning-rates"} if experiment.learning_rates else {})


def _check_not_varied(experiment: Experiment, given: Iterable[str]) -> None:
    """Raises ValueError where a field is set that varies anyway: the value would be without effect."""
    varied = _varied(experiment)
    for path in given:
        field = path.removeprefix("experiment.")
        if how := varied.get(field):
            raise ValueError(f"--{field.replace('_', '-')} is what the experiment varies: use {how}")


def _own_activations(experiment: Experiment, asked: Experiment) -> tuple[Named, ...]:
    """The requested activations; names of the experiment's activations refer to those."""
    own = {value.name: value for value in experiment.activations if isinstance(value, Activation)}
    return tuple(own.get(value, value) if isinstance(value, str) else value for value in asked.activations)
