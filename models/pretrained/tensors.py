"""Reads the tensors of a folder's safetensors files one by one, and defines how they map to our parameters."""

import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes  # noqa: F401  (registers bfloat16 in NumPy, which safetensors needs)
import numpy as np
from safetensors import SafetensorError, safe_open

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


class Tensors:
    """The tensors of `model.safetensors`, or of the shards named by its index, each read on demand.

    A single file takes precedence over an index, as in transformers. Additions to names by torch.compile and training
    wrappers are removed. Raises FileNotFoundError if there is no such file, and ValueError, naming the file, if one is
    damaged or two tensors have the same name.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.files: dict[str, tuple[Any, str]] = {}
        for name, file in self._places().items():
            plain = plain_name(name)
            if plain in self.files:
                raise ValueError(f"{directory} has the tensor {plain} twice, also as {name}")
            self.files[plain] = _open(directory / file), name

    def _places(self) -> dict[str, str]:
        """Tensor -> file."""
        if (self.directory / SINGLE).exists():
            return dict.fromkeys(_open(self.directory / SINGLE).keys(), SINGLE)
        index = self.directory / INDEX
        if not index.exists():
            pickled = sorted(self.directory.glob("*.bin"))
            hint = f"; {pickled[0].name} is a pickle, which is never read" if pickled else ""
            raise FileNotFoundError(f"{self.directory} has no {SINGLE} and no {INDEX}{hint}")
        places = weight_map(index)
        opened = {file: set(_open(self.directory / file).keys()) for file in sorted(set(places.values()))}
        for name, file in places.items():
            if name not in opened[file]:
                raise ValueError(f"{self.directory / file} lacks {name}, which {INDEX} says it has")
        return places

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        file, there = self.files[name]
        return tuple(file.get_slice(there).get_shape())

    def __getitem__(self, name: str) -> np.ndarray:
        """A tensor, as float32."""
        file, there = self.files[name]
        return np.asarray(file.get_tensor(there)).astype(np.float32)


def plain_name(name: str) -> str:
    """A name without the parts added by torch.compile, DistributedDataParallel, FSDP and activation checkpointing."""
    inner = re.sub(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.", "", name)
    return re.sub(r"^(module\.)+", "", inner)


def weight_map(index: Path) -> dict[str, str]:
    """Tensor -> file, from an index. Raises ValueError, naming it, for an invalid index."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict):
        raise ValueError(f"{index} has no weight_map")
    for file in places.values():
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(f"{index} names the file {file!r}, which is not in its folder")
    return places


def shards(directory: Path) -> set[str]:
    """The names of the weight shards in a folder, by its index or by their names."""
    try:
        named = set(weight_map(directory / INDEX).values())
    except (FileNotFoundError, ValueError):
        named = set()
    return named | {path.name for path in directory.glob("model-*-of-*.safetensors")}


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="np")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except (SafetensorError, OSError, struct.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FileNotFoundError or ValueError, naming the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a JSON object")
    return value


@dataclass(frozen=True)
class Layout:
    """How one tensor of the file stores one or several of our parameters, and back."""

    read: Callable[[Any], tuple[Any, ...]]
    write: Callable[..., Any]


PLAIN = Layout(lambda x: (x,), lambda x: x)
TRANSPOSED = Layout(lambda x: (x.T,), lambda x: x.T)
BEYOND_ONE = Layout(lambda x: (1 + x,), lambda x: x - 1)
"""A scale that is stored minus 1."""
SCALAR = Layout(lambda x: (x.reshape(()),), lambda x: x.reshape(1))
THREE = Layout(lambda x: tuple(x.reshape(*x.shape[:-1], 3, -1)[..., i, :] for i in range(3)), lambda *xs: _joined(xs))
"""Queries, keys and values, concatenated."""


def _joined(xs: tuple[Any, ...]) -> Any:
    return jnp.concatenate(xs, axis=-1)


def by_group(heads: int, groups: int) -> Layout:
    """The queries of each group of heads, then its key and its value, [groups * (queries + 2) * head_dim, ...]."""
    queries = heads // groups

    def read(x: Any) -> tuple[Any, ...]:
        grouped = x.reshape(groups, queries + 2, -1, *x.shape[1:])
        parts = grouped[:, :queries], grouped[:, queries], grouped[:, queries + 1]
        return tuple(part.reshape(-1, *x.shape[1:]).T for part in parts)

    def write(*xs: Any) -> Any:
        shapes = ((groups, n, -1, *xs[0].T.shape[1:]) for n in (queries, 1, 1))
        grouped = jnp.concatenate([x.T.reshape(shape) for x, shape in zip(xs, shapes, strict=True)], axis=1)
        return grouped.reshape(-1, *xs[0].T.shape[1:])

    return Layout(read, write)


def stacked_rows(*sizes: int) -> Layout:
    """Kernels with these numbers of features, stacked as [sum of sizes, inner]."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return Layout(lambda x: tuple(part.T for part in np.split(x, ends)), lambda *xs: jnp.concatenate([x.T for x in xs]))


def interleaved(heads: int, features: int) -> Layout:
    """A query or key kernel that rotates the first `features` of each head as pairs (2 i, 2 i + 1)."""

    def reordered(x: Any, order: Any) -> Any:
        by_head = x.reshape(heads, -1, x.shape[-1])
        return by_head[:, [*order, *range(features, by_head.shape[1])]].reshape(x.shape)

    order = [*range(0, features, 2), *range(1, features, 2)]
    return Layout(lambda x: (reordered(x, order).T,), lambda x: reordered(x.T, np.argsort(order)))


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file, the paths of the parameters that it stores, and their layout; without paths, a constant."""

    name: str
    paths: tuple[str, ...]
    layout: Layout = PLAIN


def dense(name: str, path: str, bias: bool, kernels: Layout = TRANSPOSED) -> list[Tensor]:
    """A dense layer, whose kernel PyTorch stores as [outer, inner]."""
    kernel = [Tensor(f"{name}.weight", (f"{path}/kernel",), kernels)]
    return kernel + ([Tensor(f"{name}.bias", (f"{path}/bias",))] if bias else [])


def norm(name: str, path: str, model: Any, scale: Layout = PLAIN) -> list[Tensor]:
    """A norm of the model's kind."""
    if model.norm == "none" or not model.norm_scale:
        return []
    weight = [Tensor(f"{name}.weight", (f"{path}/scale",), scale)]
    return weight + ([Tensor(f"{name}.bias", (f"{path}/bias",))] if model.has_norm_bias else [])


def learned_activation(name: str, path: str, model: Any) -> list[Tensor]:
    """The learned activation parameters of the feed-forward layer at `path`, and the constants stored beside them."""
    kind = model.activation.name
    theirs = {"prelu": {"slope": "weight"}, "xielu": {"alpha_p": "alpha_p", "alpha_n": "alpha_n"}}.get(kind, {})
    constants = {"xielu": {"beta": 0.5, "eps": -1e-6}}.get(kind, {})
    return [
        *(Tensor(f"{name}.{key}", (f"{path}/activation_{ours}",), SCALAR) for ours, key in theirs.items()),
        *(Tensor(f"{name}.{key}", (), constant(value)) for key, value in constants.items()),
    ]


def constant(value: float) -> Layout:
    """A number that is not learned. Reading raises ValueError for another value, beyond 16-bit rounding."""

    def read(x: Any) -> tuple[()]:
        if not np.isclose(x, value, rtol=2**-7, atol=2**-24):
            raise ValueError(f"is {float(x):g}, supported is {value:g}")
        return ()

    return Layout(read, lambda: np.float32(value))
