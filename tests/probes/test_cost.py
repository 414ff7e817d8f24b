"""Costs counted before a compile, against closed forms and against XLA's own count."""

import jax
import jax.numpy as jnp
import pytest

from lab.probes.cost import activation_bytes, cost, embedding_parameters, flops, parameters, variables
from models.transformer import Transformer

A = jnp.ones((4, 8))
B = jnp.ones((8, 8))
PRODUCT = 2 * 4 * 8 * 8
BATCH, LENGTH, VOCAB, D, LAYERS = 2, 16, 32, 32, 2
TOKENS = jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32)
MODEL = Transformer(vocab_size=VOCAB, context=LENGTH, d_model=D, n_layers=LAYERS, activation="relu")


def loop(n):
    return lambda a, b: jax.lax.scan(lambda a, _: (a @ b, None), a, None, length=n)[0]


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (lambda a, b: a @ b + a, 1),
        (jax.jit(lambda a, b: jax.nn.relu(a @ b)), 1),
        (loop(5), 5),
        (lambda a, b: jax.lax.fori_loop(0, 3, lambda _, a: a @ b, a), 3),
        (lambda a, b: jax.lax.cond(a.sum() > 0, lambda: a @ b @ b, lambda: a @ b), 2),
        (jax.vmap(lambda a, b: a @ b, in_axes=(0, None)), 1),
        (lambda a, b: jax.vjp(jnp.matmul, a, b)[1](a), 3),
        (lambda a, b: jax.grad(lambda a: jnp.sin(jax.checkpoint(lambda a: jnp.sin(a @ b))(a) @ b).sum())(a), 5),
        (lambda a, b: jax.lax.while_loop(lambda a: a.sum() < 0, jnp.sin, a) @ b, 1),
    ],
)
def test_products_are_counted_as_often_as_they_are_made(function, products):
    assert flops(function, A, B) == products * PRODUCT


def test_a_product_in_a_loop_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="while loop"):
        flops(lambda a, b: jax.lax.while_loop(lambda a: a.sum() < 0, lambda a: a @ b, a), A, B)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_costs_what_xla_says(groups):
    image, kernel = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4 // groups, 6))

    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "VALID", feature_group_count=groups, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert flops(convolve, image, kernel) == 2 * (2 * 6 * 6 * 6) * (3 * 3 * 4 // groups)
    assert flops(convolve, image, kernel) == jax.jit(convolve).lower(image, kernel).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("change", [{}, {"scan": True}, {"remat": True}])
def test_a_transformer_costs_its_closed_form(change):
    counted = cost(MODEL.clone(**change), (TOKENS,))
    kernels = LAYERS * (4 * D * D + 2 * D * 4 * D)
    biases = LAYERS * (4 * D + 4 * D + D) + (2 * LAYERS + 1) * 2 * D
    embeddings = VOCAB * D + LENGTH * D
    assert counted["parameters"] == kernels + biases + embeddings
    assert counted["embedding_parameters"] == embeddings
    assert counted["flops_per_token"] == 2 * (kernels + VOCAB * D) + LAYERS * 4 * LENGTH * D
    assert counted["d_ff"] == 4 * D
    assert counted["state_bytes"] == 12 * counted["parameters"]


def test_xla_counts_the_same_products_and_little_more():
    shapes = variables(MODEL, TOKENS)
    counted = flops(MODEL.apply, shapes, TOKENS)
    compiled = jax.jit(MODEL.apply).lower(shapes, TOKENS).compile().cost_analysis()["flops"]
    assert counted <= compiled < 1.15 * counted


def test_an_untied_output_layer_is_no_embedding():
    model = MODEL.clone(tied=False)
    assert parameters(model, TOKENS) - parameters(MODEL, TOKENS) == VOCAB * D
    assert embedding_parameters(model, TOKENS) == embedding_parameters(MODEL, TOKENS)


def test_matched_activations_cost_nearly_the_same():
    plain, gated = (cost(MODEL.clone(activation=name), (TOKENS,)) for name in ("relu", "swiglu"))
    assert abs(gated["parameters"] - plain["parameters"]) < LAYERS * 3 * D
    assert gated["d_ff"] == 85


def test_activations_kept_for_the_backward_pass():
    class Products:
        def init(self, key, x):
            return {"params": {"first": jnp.zeros((8, 8)), "second": jnp.zeros((8, 8))}}

        def apply(self, variables, x):
            kernels = variables["params"]
            return jnp.sin(jnp.sin(x @ kernels["first"]) @ kernels["second"])

    # The cosine of each product and the sine of the first: three arrays of 4 x 8 float32. The input, which the first
    # kernel's gradient needs, and the second kernel, which the first sine's needs, are there anyway.
    assert activation_bytes(Products(), A) == 3 * 4 * 8 * 4


def test_rematerialized_layers_keep_less():
    assert activation_bytes(MODEL.clone(remat=True), TOKENS) < activation_bytes(MODEL, TOKENS) / 3


def test_the_batch_does_not_matter():
    larger = jax.ShapeDtypeStruct((7, LENGTH), jnp.int32)
    assert cost(MODEL, (larger,)) == cost(MODEL, (TOKENS,))
