"""The page that shows how well the statistics keep their level."""

from pathlib import Path

import pandas as pd

from analysis import page
from analysis.calibration import draw
from analysis.figures import svg
from records.environment import environment

TITLE = "How well the statistics keep their level"


def write(rates: pd.DataFrame, experiments: int, command: str, path: Path) -> Path:
    """Writes the page of the rates that `analysis.calibration.calibrate` found in so many simulated experiments of each
    kind, with the figure and the table beside; gives its path. Raises OSError if it cannot be written."""
    parts: list[page.Part] = [
        page.Drawing("calibration", svg(draw(rates), TITLE)),
        page.Table("calibration", rates, page.columns(rates)),
        page.facts("Made with", [{"command": command, **environment({}, {})}]),
    ]
    return page.write(path, TITLE, f"{experiments:,} simulated experiments of every kind", parts)
