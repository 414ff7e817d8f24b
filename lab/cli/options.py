"""Fields as command-line options, one spelling for both: --settings.batch-size 8."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import tyro

from lab.experiment.experiment import Activation, Axis, Budget, Experiment, Named, activation, field_types, with_fields
from lab.experiment.fine_tuning import initialized_from
from lab.files.choices import check_choice, nearest
from lab.training.execution import Kind
from lab.training.reading import Place
from lab.training.settings import Traced

Words = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Options:
    """Every field of the experiment can be set; activations, seeds, learning rates and axes are the grid."""

    experiment: Annotated[Experiment, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff]
    axis: Annotated[Words, tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FIELD VALUE ...")] = ()
    """A further field to vary, and its values: --axis model.norm layernorm rmsnorm (may be repeated)."""
    init_from: Path | None = None
    """Trained networks to begin with: a folder of results, a cell of one, or a Hugging Face folder."""


@dataclass(frozen=True)
class StoredOptions(Options):
    """Every field of the experiment can be set; activations, seeds, learning rates and axes are the grid."""

    out: Path | None = None
    """The folder of the results; results/NAME unless given."""


@dataclass(frozen=True)
class RunOptions(StoredOptions):
    """Every field of the experiment can be set; activations, seeds, learning rates and axes are the grid."""

    execution: Kind = "auto"
    """How the runs of a cell are executed; auto is vmap on accelerators, one after another on every core of a CPU."""
    shards: int = 1
    """Devices over which a single run is spread: its batches, parameters and optimizer state."""
    data_on: Place = "auto"
    """Where the training data lies: the device, or the host, which reads ahead; auto is by its size."""
    sequential: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train seed after seed, and stop for each arm as soon as it is resolved; the error rate stays as if all were."""
    retrain: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train again what is there already."""
    track: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write the curves for TensorBoard too: tensorboard --logdir results/NAME/tensorboard."""
    profile: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Trace a few steps of every cell, for Perfetto and TensorBoard, into results/NAME/profile."""


@dataclass(frozen=True)
class FigureOptions:
    """What the paper leaves open can be chosen; the budget scales epochs and runs."""

    figures: Annotated[Any, tyro.conf.arg(name="")]
    budget: Budget = "short"
    """smoke shows that everything runs, short takes about an hour on two cores, full is the paper's."""
    only: tuple[str, ...] = ()
    """The figures to make; all unless given."""
    out: Path | None = None
    """The folder of the results; results/NAME/BUDGET unless given."""


OptionsT = TypeVar("OptionsT", bound=Options)
Tree = TypeVar("Tree")

READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    bool: ({"True": True, "False": False}.__getitem__, "True or False"),
    str: (str, "a word"),
    Path: (Path, "a path"),
}


def parse(kind: type[OptionsT], experiment: Experiment, arguments: Sequence[str], program: str) -> OptionsT:
    """The options, with the fields of `experiment` as defaults.

    Raises ValueError, in one sentence, for an unknown or repeated option and for a value of the wrong kind; whether
    the values go together is the experiment's to check. Prints the help and exits where it is asked for.
    """
    default = kind(experiment)
    given = _given(default, arguments, program)
    axes = tuple(_axis(experiment, words) for option, words in given if option == "--axis")
    values = _fields(default, [item for item in given if item[0] != "--axis"], program, beside=("--axis",))
    told = with_fields(default, {**values, "experiment.axes": (*experiment.axes, *axes)})
    _check_not_varied(told.experiment, values)
    asked = replace(told.experiment, activations=_own_activations(experiment, told.experiment))
    return replace(told, experiment=initialized_from(asked, told.init_from) if told.init_from else asked)


def read(default: Tree, arguments: Sequence[str], program: str) -> Tree:
    """A tree of dataclasses with the fields that the arguments set. Raises ValueError and prints the help as `parse`
    does."""
    return with_fields(default, _fields(default, _given(default, arguments, program), program))


def _given(default: Any, arguments: Sequence[str], program: str) -> list[tuple[str, list[str]]]:
    """Every option with its words; where the help is asked for, that is printed instead."""
    if {"-h", "--help"} & set(arguments):
        tyro.cli(type(default), default=default, args=["--help"], prog=program, registry=_registry)
    return list(_split(arguments))


def _fields(
    default: Any, given: Iterable[tuple[str, list[str]]], program: str, beside: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Path -> value of every field that is given; `beside` are options that are no fields."""
    known = _known(default)
    values: dict[str, Any] = {}
    for option, words in given:
        path, declared = _find(option, known, program, beside)
        if path in values:
            raise ValueError(f"{option} is given twice")
        values[path] = _value(option, declared, words)
    return values


def _known(default: Any) -> dict[str, tuple[str, Any]]:
    """Option -> path and declared type, for every field that words can give."""
    return {
        _option(path): (path, declared) for path, declared in field_types(default) if _element(declared) is not None
    }


def _option(path: str) -> str:
    return f"--{path.removeprefix('experiment.').removeprefix('figures.').replace('_', '-')}"


def _split(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Every option with the words behind it; --seeds=0 is --seeds 0, and underscores are dashes."""
    starts = [index for index, word in enumerate(arguments) if re.match("--[A-Za-z]", word)]
    if arguments and 0 not in starts:
        raise ValueError(f"'{arguments[0]}' is no option: options begin with --")
    for start, end in itertools.pairwise([*starts, len(arguments)]):
        option, equals, value = arguments[start].partition("=")
        yield option.replace("_", "-"), [value] * len(equals) + list(arguments[start + 1 : end])


def _find(option: str, known: dict[str, tuple[str, Any]], program: str, beside: tuple[str, ...]) -> tuple[str, Any]:
    if option not in known:
        hint = nearest(option, [*known, *beside]) or f": see {program} --help"
        raise ValueError(f"there is no option {option}{hint}")
    return known[option]


def _axis(experiment: Experiment, words: list[str]) -> Axis:
    """A field to vary and its values, each read as the option of that field would be; an unknown one has none."""
    if not words:
        raise ValueError("--axis needs a field and its values, such as --axis model.norm layernorm rmsnorm")
    path = words[0].replace("-", "_")
    declared = dict(field_types(experiment)).get(path)
    if _element(declared) is None:
        return path, ()
    return path, tuple(_value(f"--axis {path}", declared, [word]) for word in words[1:])


def _value(option: str, declared: Any, words: list[str]) -> Any:
    """The words behind an option as a value of the field's declared type."""
    if _element(declared) is bool and not words:
        return True
    if not words:
        raise ValueError(f"{option} needs a value")
    read = tuple(_read(option, declared, word) for word in words)
    if get_origin(_not_none(declared)) is tuple:
        return read
    if len(read) > 1:
        raise ValueError(f"{option} takes one value, not {' '.join(words)}")
    return read[0]


def _read(option: str, declared: Any, word: str) -> Any:
    element = _element(declared)
    if word == "None" and NoneType in get_args(declared):
        return None
    if get_origin(element) is Literal:
        check_choice(option, word, get_args(element))
        return word
    convert, allowed = READERS[element]
    try:
        return convert(word)
    except (ValueError, KeyError):
        raise ValueError(f"{option} is '{word}': it must be {allowed}") from None


def _element(declared: Any) -> Any:
    """What one word is read as: the type of a tuple's items, the first of a union; None if words cannot give it."""
    inner = _not_none(declared)
    if get_origin(inner) is tuple and get_args(inner)[1:] == (...,):
        inner = _not_none(get_args(inner)[0])
    return inner if inner in READERS or get_origin(inner) is Literal else None


def _not_none(declared: Any) -> Any:
    if get_origin(declared) not in (Union, UnionType):
        return declared
    return next(member for member in get_args(declared) if member is not NoneType)


def _check_not_varied(experiment: Experiment, given: Iterable[str]) -> None:
    """Raises ValueError where a field is set that varies anyway: the value would be without effect."""
    varied = {path: "--axis" for path, _ in experiment.axes} | {"model.activation": "--activations"}
    if experiment.learning_rates:
        varied["hyperparameters.learning_rate"] = "--learning-rates"
    for path in given:
        if how := varied.get(path.removeprefix("experiment.")):
            raise ValueError(f"{_option(path)} is what the experiment varies: use {how}")


def _own_activations(experiment: Experiment, told: Experiment) -> tuple[Named, ...]:
    """The activations asked for, where names of the experiment's own ones mean those."""
    own = {value.name: value for value in experiment.activations if isinstance(value, Activation)}
    return tuple(own.get(value, value) if isinstance(value, str) else value for value in told.activations)


# How the help shows the kinds of field that tyro does not know.
_registry = tyro.constructors.ConstructorRegistry()
_Help = tyro.constructors.PrimitiveConstructorSpec | None


@_registry.primitive_rule
def _activation(info: tyro.constructors.PrimitiveTypeInfo) -> _Help:
    if Activation not in (get_args(info.type) or (info.type,)):
        return None
    return _shown("ACTIVATION", lambda value: "None" if value is None else activation(value).name)


@_registry.primitive_rule
def _values_of_python(info: tyro.constructors.PrimitiveTypeInfo) -> _Help:
    """An optional dataclass, which words cannot give."""
    members = get_args(info.type)
    of_python = NoneType in members and any(is_dataclass(kind) and kind is not Activation for kind in members)
    return _shown("(in Python)", str) if of_python else None


@_registry.primitive_rule
def _traced(info: tyro.constructors.PrimitiveTypeInfo) -> _Help:
    return _shown("FLOAT", str) if info.type == Traced else None


def _shown(metavar: str, text: Callable[[Any], str]) -> tyro.constructors.PrimitiveConstructorSpec:
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: True,
        str_from_instance=lambda value: [text(value)],
    )
