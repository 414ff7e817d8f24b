"""Which of two changes moved a network: the norm's share, the activation's, and what they do only together."""

from typing import Any

from jaxtyping import Integer, Shaped

from models.activations import Activation
from models.stack import Given
from probes.drift import drift
from probes.swap import swapped


def attribution(
    model: Any,
    params: dict[str, Any],
    activation: str | Activation,
    norm: str,
    tokens: Integer[Given, "batch length"],
    mask: Shaped[Given, "batch length"] | None = None,
    targets: Integer[Given, "batch length"] | None = None,
    fold: bool = False,
) -> list[dict[str, Any]]:
    """Rows of `change`, `kl` and `loss_difference` (the swapped network's loss minus its own), in nats a token.

    The changes are the "norm" alone, the "activation" alone, "both", and their "interaction": both minus the sum of the
    two, 0 where the changes add up. Arguments and errors are those of `swapped` and `drift`.
    """
    changes: dict[str, dict[str, Any]] = {
        "norm": {"norm": norm, "fold": fold},
        "activation": {"activation": activation},
        "both": {"activation": activation, "norm": norm, "fold": fold},
    }
    rows: dict[str, dict[str, float]] = {}
    for change, asked in changes.items():
        found = drift(model, params, *swapped(model, params, **asked), tokens, mask, targets)
        rows[change] = {"kl": found.kl, "loss_difference": found.other_loss - found.loss}
    rows["interaction"] = {
        name: value - rows["norm"][name] - rows["activation"][name] for name, value in rows["both"].items()
    }
    return [{"change": change, **row} for change, row in rows.items()]
