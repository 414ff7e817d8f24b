"""The benchmark of shorter tuning: what is given away by a rate chosen from other runs."""

import numpy as np
import pytest

from benchmarks.short_tuning import ARMS, judged


def test_rates_chosen_from_the_judging_runs_give_nothing_away_and_wrong_ones_do():
    full = np.tile(np.array([0.3, 0.1, 0.2])[None, :, None], (len(ARMS), 1, 8))
    same = judged(full, full)
    assert (same["same"], same["mean_loss_given_away"], same["sd_of_differences"]) == (1.0, 0.0, 0.0)
    wrong = full.copy()
    wrong[0, 2] = 0.0  # one arm would choose another rate
    found = judged(wrong, full)
    assert found["same"] == pytest.approx(1 - 1 / len(ARMS))
    assert found["largest"] == pytest.approx(0.1)
    assert found["mean_loss_given_away"] == pytest.approx(0.1 / len(ARMS))
