"""Requested use of the machine: how runs are executed, and where the training data is stored."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["auto", "vmap", "map"]
Place = Literal["auto", "device", "host"]


@dataclass(frozen=True)
class Placement:
    """Requested use of the machine; a step gives the same result for any choice but for rounding,
    which thousands of steps amplify."""

    execution: Kind = "auto"
    """How the runs of a cell are executed; auto is vmap on accelerators; on a CPU, one run at a time per core, unless a
    step is tiny."""
    shards: int = 1
    """Devices over which a single run is sharded: its batches, parameters and optimizer state."""
    data_on: Place = "auto"
    """Where the training data is stored: on the device, or on the host, which prefetches; auto decides by size."""

    def check(self, settings: Any) -> None:
        """Raises ValueError if this machine lacks the devices, or if a batch cannot be split into that many parts."""
        import jax

        local, devices = jax.local_device_count(), jax.device_count()
        allowed = [n for n in range(1, devices + 1) if devices % n == 0 and (local % n == 0 or n % local == 0)]
        if self.shards not in allowed:
            raise ValueError(
                f"shards is {self.shards}: with {devices} devices, allowed values are {', '.join(map(str, allowed))}"
            )
        part = settings.batch_size // settings.accumulate
        if part % self.shards:
            raise ValueError(f"shards is {self.shards}: it must divide batch_size / accumulate ({part})")
