"""An experiment's fields as command-line options, one spelling for both."""

import contextlib
import difflib
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from experiments.experiment import Activation, Experiment, Named, activation
from training.runs import Kind
from training.settings import Traced

Value = TypeVar("Value")

_registry = tyro.constructors.ConstructorRegistry()


@_registry.primitive_rule
def _activation(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """An activation is given by its name."""
    if info.type not in (Activation, Named):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="ACTIVATION",
        instance_from_str=lambda texts: activation(texts[0]),
        is_instance=lambda value: isinstance(value, (str, Activation)),
        str_from_instance=lambda value: [activation(value).name],
    )


@dataclass(frozen=True)
class Options:
    """What `ablations run` is told."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    axis: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FIELD VALUE ...")] = ()
    """A further field to vary, and its values: --axis model.norm layernorm rmsnorm (may be repeated)."""
    out: Path | None = None
    """The folder of the results; results/NAME unless given."""
    execution: Kind = "auto"
    """How the runs of a cell are executed; auto is vmap on accelerators, one after another on every core of a CPU."""
    retrain: bool = False
    """Train again what is there already."""


@_registry.primitive_rule
def _traced(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """A hyperparameter is given as a number."""
    if info.type != Traced:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="FLOAT",
        instance_from_str=lambda texts: float(texts[0]),
        is_instance=lambda value: isinstance(value, (int, float)),
        str_from_instance=lambda value: [str(value)],
    )


def parse(experiment: Experiment, arguments: Sequence[str], program: str) -> Options:
    """The options, with the fields of `experiment` as defaults.

    Raises ValueError, in one sentence, for an unknown or repeated option and for a value of the wrong kind. Prints the
    help and exits where it is asked for.
    """
    named = [argument.partition("=")[0] for argument in arguments if re.match(r"--[a-z]", argument)]
    twice = sorted({name for name in named if named.count(name) > 1 and name != "--axis"})
    if twice:
        raise ValueError(f"{twice[0]} is given twice")
    if "--model.activation" in named:
        raise ValueError("--model.activation is what the experiment varies: use --activations")
    options = _parse(Options, Options(experiment), arguments, program)
    axes = tuple((path, _values(options.experiment, path, texts)) for path, *texts in options.axis)
    return replace(options, experiment=replace(options.experiment, axes=(*experiment.axes, *axes)))


def _values(experiment: Experiment, path: str, texts: list[str]) -> tuple[Any, ...]:
    """The values of an axis, each read as the option of that field would be."""
    option = f"--{path.replace('_', '-')}"
    read = [_parse(Experiment, experiment, [option, text], "ablations run") for text in texts]
    return tuple(reduce(getattr, path.split("."), value) for value in read)


def _parse(kind: type[Value], default: Value, arguments: Sequence[str], program: str) -> Value:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            value, unknown = tyro.cli(
                kind,
                default=default,
                args=list(arguments),
                prog=program,
                return_unknown_args=True,
                registry=_registry,
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise ValueError(_sentence(printed.getvalue())) from None
    if unknown:
        raise ValueError(_unknown(unknown[0], kind, default, program))
    return value


def _sentence(panel: str) -> str:
    """An error panel of tyro's as one line: field, value, what is allowed."""
    lines = [line.strip("│ ").strip() for line in panel.splitlines()]
    text = " ".join(itertools.takewhile(lambda line: line and line[0] not in "─╰", lines[1:])).rstrip(".")
    if choice := re.fullmatch(r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*)\)", text):
        value, option, allowed = choice[1], choice[2], re.findall(r"'([^']+)'", choice[3])
        near = difflib.get_close_matches(value, allowed, n=1)
        return f"{option} is '{value}': allowed are {', '.join(allowed)}" + (f"; did you mean {near[0]}?" if near else "")
    if wrong := re.fullmatch(r"Error parsing (--\S+): (.*)", text):
        kind = next((line.split()[1] for line in lines if line.startswith(f"{wrong[1]} ")), "another value")
        return f"{wrong[1]} takes {kind.strip('[')}: {wrong[2]}"
    return text


def _unknown(option: str, kind: type, default: Any, program: str) -> str:
    """The sentence for an unknown option, with the nearest that there is."""
    if not option.startswith("-"):
        return f"'{option}' is no option: options begin with --"
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(kind, default=default, args=["--help"], prog=program, registry=_registry)
    known = re.findall(r"--[a-z][a-z0-9.-]*", text.getvalue())
    near = difflib.get_close_matches(option.partition("=")[0], known, n=1, cutoff=0.5)
    return f"there is no option {option}" + (f": did you mean {near[0]}?" if near else f" (see {program} --help)")
