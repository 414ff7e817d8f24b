"""The page on the calibration of the statistics."""

from pathlib import Path

import pandas as pd

from lab.report import page
from lab.report.figures import svg
from lab.report.studies.calibration import draw
from lab.results.environment import environment

TITLE = "How well the statistics keep their level"


def write(rates: pd.DataFrame, kept: pd.DataFrame, experiments: int, command: str, path: Path) -> Path:
    """Write the page of the rates of `calibration.calibrate` and the table of `promises`, for this number of simulated
    experiments of each kind; returns its path. Raises OSError if it cannot be written."""
    parts: list[page.Part] = [
        page.Drawing("calibration", svg(draw(rates), TITLE)),
        page.Table("promises", kept, page.columns(kept)),
        page.Table("calibration", rates, page.columns(rates)),
        page.facts("Made with", [{"command": command, **environment({}, {})}]),
    ]
    return page.write(path, TITLE, f"{experiments:,} simulated experiments of each kind", parts)
