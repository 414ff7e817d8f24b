"""Several processes, one a host or one a device, as one program: all compute, the first alone writes."""

import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def join() -> None:
    """Makes this process one of those that its environment tells of, before JAX starts; alone if it tells of none.

    Recognised are, in this order:

    - `JAX_COORDINATOR_ADDRESS` (host:port of the first process), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` (from 0);
    - a Slurm step of several tasks: `srun --ntasks-per-node=8 --gpus-per-task=1 ablations run NAME`;
    - a TPU pod, whose hosts `TPU_WORKER_HOSTNAMES` names: the same command on all of them.

    All processes see the results in the same folder. Raises ValueError if the variables are not whole numbers or the
    others do not answer.
    """
    if jax.distributed.is_initialized() or not (_explicit() or _slurm() or _tpu_pod()):
        return
    try:
        jax.distributed.initialize(**(_told() if _explicit() else {}))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"this process could not join the others that its environment tells of: {reason}") from None


def _explicit() -> bool:
    return "JAX_COORDINATOR_ADDRESS" in os.environ


def _slurm() -> bool:
    """Whether srun started several tasks; the variables of a job, which its script sees too, do not count."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def _tpu_pod() -> bool:
    return "," in os.environ.get("TPU_PROCESS_ADDRESSES", os.environ.get("TPU_WORKER_HOSTNAMES", ""))


def _told() -> dict[str, Any]:
    variables = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}
    for variable in variables.values():
        if not os.environ.get(variable, "").isdecimal():
            raise ValueError(f"{variable} is '{os.environ.get(variable, '')}': it must be a whole number")
    numbers = {name: int(os.environ[variable]) for name, variable in variables.items()}
    return {"coordinator_address": os.environ["JAX_COORDINATOR_ADDRESS"], **numbers}


def first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return jax.process_index() == 0


def on_process_zero(function: Callable[[], Any]) -> Any:
    """Calls `function` on the first process; its result, a JSON value, is that of all, and all wait for it.

    If it raises there, the others stop too, with a RuntimeError: a single one would wait for ever.
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
    """The first process's JSON value, on all."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = text if first() else np.zeros(length, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).tobytes())


def gathered(array: jax.Array) -> np.ndarray:
    """The whole of an array whose parts lie on the devices of all processes."""
    return np.asarray(array if array.is_fully_addressable else multihost_utils.process_allgather(array, tiled=True))
