"""Several processes, one per host or per device, as one program: all compute, and only the first writes."""

import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def join() -> None:
    """Join the processes described by the environment, before JAX starts; does nothing for a single process.

    In this order, it recognizes:

    - `JAX_COORDINATOR_ADDRESS` (host:port of the first process), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` (from 0);
    - a Slurm step of several tasks: `srun --ntasks-per-node=8 --gpus-per-task=1 ablations run NAME`;
    - a TPU pod, with the hosts in `TPU_WORKER_HOSTNAMES`: the same command on all of them.

    All processes must share the results folder. Raises ValueError if the variables are not whole numbers or the other
    processes do not respond.
    """
    if jax.distributed.is_initialized() or not (_explicit() or _slurm() or _tpu_pod()):
        return
    try:
        jax.distributed.initialize(**(_from_environment() if _explicit() else {}))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"this process could not join the others in its environment: {reason}") from None


def _explicit() -> bool:
    return "JAX_COORDINATOR_ADDRESS" in os.environ


def _slurm() -> bool:
    """Whether srun started several tasks; the variables of a job do not count, as its script has them too."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def _tpu_pod() -> bool:
    return "," in os.environ.get("TPU_PROCESS_ADDRESSES", os.environ.get("TPU_WORKER_HOSTNAMES", ""))


def _from_environment() -> dict[str, Any]:
    variables = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}
    for variable in variables.values():
        if not os.environ.get(variable, "").isdecimal():
            raise ValueError(f"{variable} is '{os.environ.get(variable, '')}': it must be a whole number")
    numbers = {name: int(os.environ[variable]) for name, variable in variables.items()}
    return {"coordinator_address": os.environ["JAX_COORDINATOR_ADDRESS"], **numbers}


def first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def on_process_zero(function: Callable[[], Any]) -> Any:
    """Call `function` on the first process, and return its result (a JSON value) on all; all wait for it.

    If it raises, the other processes stop with a RuntimeError instead of waiting forever.
    """
    if jax.process_count() == 1:
        return function()
    if not first():
        answer = _broadcast(None)
        if "failed" in answer:
            raise RuntimeError(f"the first process stopped: {answer['failed']}")
        return answer["result"]
    try:
        result = function()
    except BaseException as error:
        _broadcast({"failed": str(error)})
        raise
    _broadcast({"result": result})
    return result


def _broadcast(value: Any) -> Any:
    """The first process's JSON value, on all processes."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = text if first() else np.zeros(length, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).tobytes())


def gathered(array: jax.Array) -> np.ndarray:
    """The full array from its parts on the devices of all processes."""
    return np.asarray(array if array.is_fully_addressable else multihost_utils.process_allgather(array, tiled=True))
