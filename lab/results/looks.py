"""looks.jsonl: a log of the comparisons that were shown, and when; lines are only ever appended.

Training more seeds after seeing a result means testing several times, and comparing by several metrics gives several
chances of a false positive. Both are fine if they are counted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.files.damaged import DamagedFileError

FILE = "looks.jsonl"


@dataclass(frozen=True)
class Look:
    """A comparison that was shown, with the paired seeds of every arm, by the arm's label."""

    baseline: str
    metric: str
    split: str
    step: int
    seeds: Mapping[str, tuple[int, ...]]
    over: str = "seeds"

    @property
    def comparison(self) -> tuple[str, str, str, int, str]:
        """The compared quantities; the same ones with more seeds are the same comparison."""
        return self.baseline, self.metric, self.split, self.step, self.over


def read(directory: Path) -> tuple[Look, ...]:
    """All looks at a results directory, oldest first; empty if there is no log.

    Raises DamagedFileError, naming the file, if it is damaged.
    """
    path = directory / FILE
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(_look(json.loads(line)) for line in lines if line.strip())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged ({error}): its looks cannot be counted") from None


def add(directory: Path, look: Look) -> None:
    """Append a look with the time, unless the same one is already recorded: that shows nothing new.

    Raises OSError if the directory cannot be written, and whatever `read` raises.
    """
    if look in read(directory):
        return
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(look), "seeds": _grouped(look.seeds)}
    with (directory / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def number(looks: Sequence[Look], look: Look) -> tuple[int, int]:
    """The number of this comparison, and the total number of comparisons, ordered by first look."""
    known = list(dict.fromkeys([*(one.comparison for one in looks), look.comparison]))
    return known.index(look.comparison) + 1, len(known)


def _grouped(seeds: Mapping[str, tuple[int, ...]]) -> list[dict[str, Any]]:
    """Arms grouped by their seeds: most have the same, and there may be a thousand."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for label, own in seeds.items():
        groups.setdefault(own, []).append(label)
    return [{"arms": labels, "seeds": list(own)} for own, labels in groups.items()]


def _look(line: dict[str, Any]) -> Look:
    seeds = {str(label): tuple(map(int, group["seeds"])) for group in line["seeds"] for label in group["arms"]}
    return Look(line["baseline"], line["metric"], line["split"], int(line["step"]), seeds, line.get("over", "seeds"))
