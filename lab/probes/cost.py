"""The cost of a model, counted from its trace without compiling: parameters, matrix-product FLOPs and bytes."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core


def variables(model: Any, *inputs: Any) -> Any:
    """Shapes and dtypes of the variables that `model.init` would create for these inputs (arrays or their shapes)."""
    return jax.eval_shape(lambda *arrays: model.init(jax.random.key(0), *arrays), *inputs)


def parameters(model: Any, *inputs: Any) -> int:
    """Number of parameters."""
    return _size(variables(model, *inputs))


def embedding_parameters(model: Any, *inputs: Any) -> int:
    """Number of parameters in token and position embeddings; an untied output layer does not count."""
    return _embedding_size(variables(model, *inputs))


def flops(function: Callable[..., Any], *arguments: Any) -> float:
    """FLOPs of the matrix products and convolutions of `function(*arguments)`: two per multiply-add; the rest is free.

    Arguments are arrays or their shapes. A loop body counts once per iteration, a conditional as its most expensive
    branch, and rematerialized work each time. Raises ValueError if a loop of unknown length contains such a product.
    """
    return _flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def _flops(jaxpr: Any) -> float:
    return sum((_equation_flops(equation) for equation in jaxpr.eqns), 0.0)


def _equation_flops(equation: Any) -> float:
    params = equation.params
    inner = [
        _flops(getattr(leaf, "jaxpr", leaf))
        for leaf in jax.tree.leaves(params)
        if isinstance(leaf, core.Jaxpr | core.ClosedJaxpr)
    ]
    match equation.primitive.name:
        case "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            return 2.0 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
        case "conv_general_dilated":
            kernel = equation.invars[1].aval
            features = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
            return 2.0 * equation.outvars[0].aval.size * kernel.size / features
        case "scan":
            return params["length"] * sum(inner)
        case "cond":
            return max(inner)
        case "while" if any(inner):
            raise ValueError("matrix products in a while loop cannot be counted: use a loop of fixed length")
        case _:
            return sum(inner, 0.0)


def activation_bytes(model: Any, *inputs: Any) -> int:
    """Bytes saved for the backward pass, excluding the variables and inputs themselves.

    Counted in the program as written; the compiler may save less and recompute cheap values. With `inputs` of one
    example, this is the memory of one more example in the batch, plus values that do not depend on examples.
    """
    return _residual_bytes(model, variables(model, *inputs), *inputs)


def cost(model: Any, inputs: tuple[Any, ...], tokens_per_example: int | None = None) -> dict[str, Any]:
    """Costs of a model whose `inputs` (arrays or their shapes) have the batch as their first axis.

    `flops_per_token` counts the forward pass; `tokens_per_example` defaults to the number of elements of an example's
    first input. `d_ff` is the hidden width of the feed-forward layers, None if there are none. `state_bytes` counts
    parameters and Adam's two moments, `activation_bytes` one example.
    """
    example = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), inputs)
    given = variables(model, *example)
    forward = flops(lambda *values: jnp.asarray(model.apply(*values)), given, *example)
    return {
        "parameters": _size(given),
        "embedding_parameters": _embedding_size(given),
        "flops_per_token": forward / (tokens_per_example or example[0].size),
        "d_ff": getattr(model, "hidden_width", None),
        "state_bytes": 3 * sum(_bytes(leaf) for leaf in jax.tree.leaves(given["params"])),
        "activation_bytes": _residual_bytes(model, given, *example),
    }


def _size(given: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(given["params"]))


def _embedding_size(given: Any) -> int:
    leaves = jax.tree_util.tree_leaves_with_path(given["params"])
    return sum(leaf.size for path, leaf in leaves if path[-1].key == "embedding")


def _residual_bytes(model: Any, given: Any, *inputs: Any) -> int:
    def residuals(given: Any, *arrays: Any) -> list[Any]:
        known = {id(leaf) for leaf in jax.tree.leaves((given, arrays))}
        _, backward = jax.vjp(lambda given: model.apply(given, *arrays), given)
        return [leaf for leaf in jax.tree.leaves(backward) if id(leaf) not in known]

    return sum(_bytes(leaf) for leaf in jax.eval_shape(residuals, given, *inputs))


def _bytes(leaf: Any) -> int:
    return leaf.size * leaf.dtype.itemsize
