"""What is asked of the machine: how the runs are executed, and where the training data lies."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["auto", "vmap", "map"]
Place = Literal["auto", "device", "host"]


@dataclass(frozen=True)
class Placement:
    """What is asked of the machine; the numbers agree within about 1e-5 whatever it is."""

    execution: Kind = "auto"
    """How the runs of a cell are executed; auto is vmap on accelerators; on a CPU, a run at a time per core."""
    shards: int = 1
    """Devices over which a single run is spread: its batches, parameters and optimizer state."""
    data_on: Place = "auto"
    """Where the training data lies: on the device, or on the host, which reads ahead; auto decides by its size."""

    def check(self, settings: Any) -> None:
        """Raises ValueError where this machine has no such devices, or a batch cannot be cut into as many parts."""
        import jax

        local, devices = jax.local_device_count(), jax.device_count()
        allowed = [n for n in range(1, devices + 1) if devices % n == 0 and (local % n == 0 or n % local == 0)]
        if self.shards not in allowed:
            raise ValueError(
                f"shards is {self.shards}: of {devices} devices, allowed are {', '.join(map(str, allowed))}"
            )
        part = settings.batch_size // settings.accumulate
        if part % self.shards:
            raise ValueError(f"shards is {self.shards}: it must divide batch_size / accumulate ({part})")
