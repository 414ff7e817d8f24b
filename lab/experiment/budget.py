"""How much a study may cost."""

from typing import Literal

Budget = Literal["smoke", "short", "full"]
"""smoke shows that everything runs, short takes at most an hour on two cores, full is as published."""
