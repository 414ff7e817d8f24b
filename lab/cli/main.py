"""The command line: picks the command, reads its options, and answers bad input in one sentence."""

import os
import re
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from lab.cli import help, options, output
from lab.cli.commands import COMMANDS, Command
from lab.files.choices import nearest

PACKAGES = "ablations|experiments|lab|models"
HELP = ("-h", "--help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out a command line. Returns the exit code: 0 (of gate also 1 or 3), 2 for bad input (one sentence on
    stderr), 130 when interrupted, 141 when nobody reads what it prints."""
    output.prepare()
    for number in (signal.SIGTERM, signal.SIGHUP):  # how a scheduler says Ctrl-C, and a terminal that is closed
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    try:
        code = _carry_out(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has closed the pipe: `ablations list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in the buffer goes nowhere
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("ablations: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except MemoryError:
        return _refuse("this process may not have as much memory as it needs: see ulimit -v and the limits of the job")
    except OSError as error:
        return _refuse(f"{error.strerror}: {error.filename}" if error.filename else str(error))
    except ValueError as error:
        if not _deliberate(error):
            raise
        return _refuse(str(error))


def _carry_out(words: list[str]) -> int:
    if not words:
        raise ValueError(f"give a command: {', '.join(_shown())} (see ablations --help)")
    name, *rest = words
    if name in HELP:
        print(overview())
        return 0
    if name not in COMMANDS:
        hint = nearest(name, COMMANDS) or f": there are {', '.join(_shown())}"
        raise ValueError(f"no command is called '{name}'{hint}")
    command = COMMANDS[name]
    program, trees = f"ablations {name}", {}
    if command.subject:
        if not rest or (rest[0].startswith("-") and rest[0] not in HELP):
            raise ValueError(f"{program} needs the name of {_article(command.subject)} (see ablations list)")
        if rest[0] in HELP:
            print(help.about_subject(program, command.summary, command.subject))
            return 0
        program, trees = f"{program} {rest[0]}", {command.subject: _found(command.subject, rest[0])}
        rest = rest[1:]
    if set(rest) & set(HELP):
        print(help.shown(program, command.summary, accepted(command, known(command, trees))))
        return 0
    return command.function(_read(command, known(command, trees), rest, program)) or 0


def known(command: Command, trees: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a command's arguments whose fields are options: its subject, and the mode of training."""
    defaults = {"mode": command.arguments.mode} if hasattr(command.arguments, "mode") else {}
    return {**trees, **defaults}


def accepted(command: Command, trees: Mapping[str, Any]) -> list[options.Option]:
    """The options of a command."""
    if command.subject == "experiment":
        from lab.cli import experiment_options

        return experiment_options.accepted(command.arguments, trees)
    return options.options(command.arguments, trees)


def overview() -> str:
    """The help of `ablations`: every command with what it does."""
    width = max(map(len, _shown()))
    lines = [f"  {name:{width}}  {COMMANDS[name].summary}" for name in _shown()]
    about = "Which activation should this network use, and why?"
    return "\n".join(["usage: ablations COMMAND ...", "", about, "", "commands:", *lines])


def _read(command: Command, trees: Mapping[str, Any], words: Sequence[str], program: str) -> Any:
    if command.subject == "experiment":
        from lab.cli import experiment_options

        return experiment_options.read(command.arguments, trees, words, program)
    return options.read(command.arguments, words, program, trees)


def _found(subject: str, name: str) -> Any:
    from lab.experiment import library

    return library.find(name) if subject == "experiment" else library.study(name)


def _shown() -> list[str]:
    return [name for name, command in COMMANDS.items() if not command.hidden]


def _article(subject: str) -> str:
    return "an experiment or a file" if subject == "experiment" else f"a {subject}"


def _refuse(sentence: str) -> int:
    print(f"ablations: {' '.join(sentence.split())}", file=sys.stderr)
    return 2


def _deliberate(error: ValueError) -> bool:
    """Whether a line of ours raised it to refuse an input; that of a library or of a user's file keeps its trace."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return re.match(rf"({PACKAGES}|__main__)(\.|$)", frame.f_globals["__name__"]) is not None
