"""looks.jsonl: who looked at what, and when; lines are added and never changed.

Whoever sees a result and then decides to train more seeds tests several times, and whoever compares by several metrics
has several chances. Both are no mistake if they are counted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "looks.jsonl"


@dataclass(frozen=True)
class Look:
    """A comparison that was shown, and the paired seeds that it showed of every arm, by the arm's label."""

    baseline: str
    metric: str
    split: str
    step: int
    seeds: Mapping[str, tuple[int, ...]]

    @property
    def comparison(self) -> tuple[str, str, str, int]:
        """What was compared: the same with more seeds is the same comparison."""
        return self.baseline, self.metric, self.split, self.step


def read(directory: Path) -> tuple[Look, ...]:
    """All looks at a results directory, the first one first; none where there is no log.

    Raises ValueError, naming the file, if it is damaged.
    """
    path = directory / FILE
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(_look(json.loads(line)) for line in lines if line.strip())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): looks that it cannot tell cannot be counted") from None


def add(directory: Path, look: Look) -> None:
    """Writes a look down with the time, unless the very same has been seen already: that shows nothing new.

    Raises OSError where the directory cannot be written, and what `read` raises.
    """
    if look in read(directory):
        return
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(look), "seeds": _grouped(look.seeds)}
    with (directory / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def number(looks: Sequence[Look], look: Look) -> tuple[int, int]:
    """Which comparison this is of how many that were made so far, this one included, in the order of the first look."""
    known = list(dict.fromkeys([*(one.comparison for one in looks), look.comparison]))
    return known.index(look.comparison) + 1, len(known)


def _grouped(seeds: Mapping[str, tuple[int, ...]]) -> list[dict[str, Any]]:
    """Arms with the same seeds together: most have the same, and there may be a thousand."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for label, own in seeds.items():
        groups.setdefault(own, []).append(label)
    return [{"arms": labels, "seeds": list(own)} for own, labels in groups.items()]


def _look(line: dict[str, Any]) -> Look:
    seeds = {str(label): tuple(map(int, group["seeds"])) for group in line["seeds"] for label in group["arms"]}
    return Look(line["baseline"], line["metric"], line["split"], int(line["step"]), seeds)
