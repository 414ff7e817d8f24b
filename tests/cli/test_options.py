"""Options on the command line mean exactly what setting the field in Python means."""

import re
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path
from typing import get_args

import pytest
from refusals import refused

from lab.cli import experiment_options, help, main, options
from lab.cli.arguments import ExperimentArguments, RunArguments
from lab.cli.commands import COMMANDS
from lab.experiment import library
from lab.experiment.duration import Duration
from lab.experiment.experiment import Tuning
from lab.runner.mode import Mode
from models.activations import Activation


def told(experiment, line, kind=ExperimentArguments):
    trees = {"experiment": experiment} | ({"mode": Mode()} if kind is RunArguments else {})
    return experiment_options.read(kind, trees, line.split(), "ablations run tiny")


def test_nothing_said_is_the_experiment_itself(experiment):
    assert told(experiment, "") == ExperimentArguments(experiment)
    assert told(experiment, "", RunArguments) == RunArguments(experiment, out=None, mode=Mode())


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("--activations gelu swiglu", {"activations": ("gelu", "swiglu")}),
        ("--learning-rates 1e-3 3e-3", {"learning_rates": (1e-3, 3e-3)}),
        ("--seeds 0 1 2", {"seeds": (0, 1, 2)}),
        ("--seeds=4", {"seeds": (4,)}),
        ("--baseline gelu --level 0.9 --split test", {"baseline": "gelu", "level": 0.9, "split": "test"}),
        ("--axis model.norm layernorm rmsnorm", {"axes": (("model.norm", ("layernorm", "rmsnorm")),)}),
        (
            "--axis model.tied True False --axis hyperparameters.weight-decay 0 1e-1",
            {"axes": (("model.tied", (True, False)), ("hyperparameters.weight_decay", (0.0, 0.1)))},
        ),
        ("--axis model.d_ff None 32", {"axes": (("model.d_ff", (None, 32)),)}),
    ],
)
def test_the_grid(experiment, line, fields):
    assert told(experiment, line).experiment == replace(experiment, **fields)


@pytest.mark.parametrize(
    ("line", "part", "fields"),
    [
        ("--settings.batch-size 8", "settings", {"batch_size": 8}),
        ("--settings.batch_size 8", "settings", {"batch_size": 8}),
        ("--settings.warmup-steps None --settings.z-loss 1e-4", "settings", {"warmup_steps": None, "z_loss": 1e-4}),
        ("--settings.optimizer muon", "settings", {"optimizer": "muon"}),
        ("--model.d-model 64 --model.d-ff 96", "model", {"d_model": 64, "d_ff": 96}),
        ("--model.bias False --model.scan True --model.remat", "model", {"bias": False, "scan": True, "remat": True}),
        ("--task.data tiny_shakespeare", "task", {"data": "tiny_shakespeare"}),
        ("--hyperparameters.clip-norm inf", "hyperparameters", {"clip_norm": float("inf")}),
    ],
)
def test_the_parts(experiment, line, part, fields):
    whole = told(experiment, line).experiment
    assert whole == replace(experiment, **{part: replace(getattr(experiment, part), **fields)})


def test_what_only_running_takes(experiment):
    read = told(experiment, "--out a/b --execution vmap --retrain", RunArguments)
    assert read == RunArguments(experiment, out=Path("a/b"), mode=Mode(execution="vmap", retrain=True))
    with refused("option", "--out"):
        told(experiment, "--out a/b")


def test_the_experiments_own_activations_have_their_names(experiment):
    cube = Activation("cube", lambda x: x**3)
    whole = replace(experiment, activations=("gelu", cube))
    assert told(whole, "--activations cube relu").experiment.activations == (cube, "relu")


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_help_shows_is_accepted_and_what_is_accepted_is_shown(experiment, name):
    command = COMMANDS[name]
    subjects = {"experiment": replace(experiment, tuning=Tuning((1e-3,))), "study": library.study("gelu_paper")}
    trees = main.known(command, {command.subject: subjects[command.subject]} if command.subject else {})
    accepted = main.accepted(command, trees)
    page = help.shown(f"ablations {name} x", command.summary, accepted)
    shown = re.findall(r"^  (--[a-z0-9._-]+|[A-Z]+)(?: |$)", page, flags=re.MULTILINE)
    assert sorted(shown) == sorted(option.name for option in accepted)
    required = [option for option in accepted if option.default is MISSING]
    for option in accepted:
        before = [word for other in required if other is not option for word in words_for(other)]
        words = [*before, *words_for(option)]
        assert option.path in options.values(accepted, words, f"ablations {name}")


def word_for(option):
    """A word that the option takes."""
    kind = options.element(option.declared)
    return str((get_args(kind) or ({bool: "True", int: "3", float: "0.5", Duration: "30m"}.get(kind, "x"),))[-1])


def words_for(option):
    """The option as it is written, with a word that it takes."""
    return [word_for(option)] if option.positional else [option.name, word_for(option)]


def test_the_defaults_in_the_help_read_back_as_themselves(experiment):
    for option in experiment_options.accepted(RunArguments, {"experiment": experiment, "mode": Mode()}):
        if option.default in (None, (), MISSING):
            continue
        words = help.words(option.default)
        split = words.split() if options.takes_many(option.declared) else [words]
        assert options.value(option.name, option.declared, split) == option.default


def test_any_dataclass_of_plain_values_has_options(experiment):
    @dataclass(frozen=True)
    class Shaped:
        shape: tuple[int, ...] = (1, 2)
        path: Path | None = None
        table: dict = field(default_factory=dict)

    whole = replace(experiment, task=Shaped())
    assert told(whole, "--task.shape 3 4 5 --task.path a").experiment.task == Shaped((3, 4, 5), Path("a"))
    with refused("option", "--task.table"):
        told(whole, "--task.table 1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--settings.stepps 3", ("--settings.stepps", "'--settings.steps'")),
        ("--zzz 3", ("--zzz", "ablations run tiny --help")),
        ("--model.name x", ("option", "--model.name")),
        ("--axes x", ("--axes", "'--axis'")),
        ("stray", ("ablations run tiny", "'stray'")),
        ("--settings.steps", ("--settings.steps", "value")),
        ("--seeds", ("--seeds", "value")),
        ("--seeds 0 x", ("--seeds", "'x'", "whole number")),
        ("--settings.steps 1.5", ("--settings.steps", "'1.5'", "whole number")),
        ("--settings.steps 1 2", ("--settings.steps", "one", "1 2")),
        ("--hyperparameters.b1 x", ("--hyperparameters.b1", "'x'", "number")),
        ("--model.tied yes", ("--model.tied", "'yes'", "True", "False")),
        ("--model.norm rms", ("--model.norm", "'rms'", "layernorm", "rmsnorm", "none")),
        ("--settings.steps None", ("--settings.steps", "'None'", "whole number")),
        ("--settings.steps 1 --settings.steps 2", ("--settings.steps", "twice")),
        ("--settings.batch-size 1 --settings.batch_size=2", ("--settings.batch-size", "twice")),
        ("--model.activation gelu", ("--model.activation", "--activations")),
        (
            "--learning-rates 1e-3 --hyperparameters.learning-rate 1e-3",
            ("--hyperparameters.learning-rate", "--learning-rates"),
        ),
        (
            "--axis model.norm none --model.norm none",
            ("--model.norm", "--axis"),
        ),
        ("--axis", ("--axis", "field", "values")),
        ("--axis model.d_model x", ("--axis model.d_model", "'x'", "whole number")),
        ("--axis model.norm rms", ("--axis model.norm", "'rms'", "layernorm", "rmsnorm", "none")),
    ],
)
def test_what_is_no_option_or_value_is_said_in_one_sentence(experiment, line, words):
    with refused(*words):
        told(experiment, line)
