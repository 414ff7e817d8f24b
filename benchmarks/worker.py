"""The PyTorch side seen from here: a process of its own, so that its threads and ours do not share a pool."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

WITHOUT = "torch is not installed, so its side is left out: pip install torch"


def has_torch() -> bool:
    """Whether this interpreter could import torch."""
    return importlib.util.find_spec("torch") is not None


def version() -> dict[str, str]:
    """The version of torch by its name; nothing where there is none."""
    return {"torch": metadata.version("torch")} if has_torch() else {}


class Worker:
    """A process that runs `benchmarks.peer` with a configuration (`peer.trainer` and `peer.serve` say which).

    Raises RuntimeError if it ends before it has answered; what it wrote to stderr is seen in the terminal.
    """

    def __init__(
        self,
        model: dict[str, Any],
        batch_size: int,
        device: str = "cpu",
        bfloat16: bool = False,
        compile: bool = False,
        fused: bool = False,
        source: Path | None = None,
        threads: int | None = None,
        cores: Sequence[int] | None = None,
    ):
        config = {
            "model": model,
            "batch_size": batch_size,
            "device": device,
            "bfloat16": bfloat16,
            "compile": compile,
            "fused": fused,
            "source": source and str(source.resolve()),
            "threads": threads,
            "cores": cores,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peer", json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )

    def send(self, **request: Any) -> None:
        """Asks, without waiting for the answer."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)

    def receive(self) -> Any:
        """The next answer; the very first is what the process says of itself when it has warmed up."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of torch ended with code {self._process.wait()}")
        return json.loads(line)

    def ask(self, **request: Any) -> Any:
        """The answer to a request."""
        self.send(**request)
        return self.receive()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
