"""The wide residual network: what it computes, how large it is, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from refusals import refused
from scipy.signal import correlate

from models.activations import activation
from models.wide_resnet import Block, WideResNet

SMALL = WideResNet(channels=2, depth=10, widening=2, stem=3, classes=5, dropout=0.0)
IMAGES = jax.random.normal(jax.random.key(1), (2, 8, 4, 2))


def drawn(model, images=IMAGES, **arguments):
    """Variables with biases and running means that are not zero."""
    return jax.tree.map(lambda leaf: leaf + 0.1, model.init(jax.random.key(0), images, **arguments))


def parameters(model, image=(32, 32, 3)):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image), jnp.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def convolved(images, layer, stride):
    """By SciPy, with zeros around: [n, height, width, channels] -> [n, height / stride, width / stride, features]."""
    kernel = layer["kernel"]
    around = ((0, 0), *((size // 2, size // 2) for size in kernel.shape[:2]), (0, 0))
    features = [
        [correlate(image, kernel[..., i], "valid") for i in range(kernel.shape[3])] for image in np.pad(images, around)
    ]
    maps = np.stack([np.concatenate(of_one, axis=2) for of_one in features])
    return maps[:, ::stride, ::stride] + layer.get("bias", 0.0)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_is_the_formula(stride):
    block = Block(activation("relu"), 2 * stride, stride)
    variables = drawn(block, train=False)
    arrays = jax.tree.map(np.asarray, variables)
    layers, running = arrays["params"], arrays["batch_stats"]["norm"]
    x = np.asarray(IMAGES)
    y = convolved(x, layers["layer_0"]["up"], stride).clip(0)
    y = convolved(y, layers["layer_1"]["up"], 1).clip(0)
    y = (y - running["mean"]) / np.sqrt(running["var"] + 1e-4) * layers["norm"]["scale"] + layers["norm"]["bias"]
    assert ("projection" in layers) == (stride == 2)
    shortcut = convolved(x, layers["projection"], stride) if stride == 2 else x
    np.testing.assert_allclose(block.apply(variables, IMAGES, train=False), y + shortcut, rtol=1e-3, atol=1e-4)


def test_the_network_of_cifar100_has_its_size():
    stem = 9 * 3 * 16 + 2 * 2 * 16  # without bias, and two normalizations
    blocks = 0
    for inputs, width in ((16, 64), (64, 128), (128, 256)):
        first = 9 * inputs * width + width + 9 * width * width + width + 2 * width + inputs * width
        other = 2 * (9 * width * width + width) + 2 * width
        blocks += first + 5 * other
    assert parameters(WideResNet()) == stem + blocks + 2 * 256 + 256 * 100 + 100 == 8_972_884
    gated = WideResNet(activation="swiglu")
    np.testing.assert_allclose(parameters(gated), parameters(WideResNet()), rtol=0.01)
    assert gated.clone(match="width").hidden_widths == WideResNet().hidden_widths


def test_the_stages_halve_height_and_width():
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    model = WideResNet(depth=16)
    _, sown = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, mutable=True), images)
    found = sown["intermediates"]
    shapes = [found[f"block_{i}"]["layer_1"]["hidden"][0].shape for i in range(6)]
    assert shapes == [(1, 32, 32, 64)] * 2 + [(1, 16, 16, 128)] * 2 + [(1, 8, 8, 256)] * 2
    assert found["last"]["hidden"][0].shape == (1, 8, 8, 256)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(("prelu",), ("gelu", "swiglu", "prelu")))
def test_training_normalizes_by_the_batch_and_evaluation_by_running_averages(name):
    model = SMALL.clone(activation=activation(name))
    variables = drawn(model)
    step = jax.jit(lambda variables: model.apply(variables, IMAGES, train=True, mutable=["batch_stats"]))
    trained, updated = step(variables)
    assert (trained != model.apply(variables, IMAGES)).any()
    for _ in range(200):  # 0.9**200 is 1e-9: nothing is left of the first averages
        _, updated = step({**variables, **updated})
    np.testing.assert_allclose(model.apply({**variables, **updated}, IMAGES), trained, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_dropout_falls_in_training_alone():
    model = SMALL.clone(dropout=0.5)
    variables = drawn(model)
    np.testing.assert_array_equal(model.apply(variables, IMAGES), SMALL.apply(variables, IMAGES))
    first, second = (
        model.apply(variables, IMAGES, train=True, rngs={"dropout": jax.random.key(key)}, mutable=["batch_stats"])[0]
        for key in (0, 1)
    )
    assert (first != second).any()


@pytest.mark.slow
def test_a_seed_gives_the_same_weights_whatever_the_activation():
    first, second = (
        SMALL.clone(activation=activation(name)).init(jax.random.key(3), IMAGES) for name in ("relu", "elu")
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.slow
def test_kernels_are_drawn_for_activations_that_halve_the_variance():
    layers = WideResNet(depth=10).init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))["params"]
    block = layers["block_2"]
    np.testing.assert_allclose(block["layer_0"]["up"]["kernel"].std(), (2 / (9 * 128)) ** 0.5, rtol=0.01)
    np.testing.assert_allclose(block["projection"]["kernel"].std(), (2 / (128 + 256)) ** 0.5, rtol=0.02)
    np.testing.assert_allclose(layers["head"]["kernel"].std(), (1 / 256) ** 0.5, rtol=0.02)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"match": "flops"}, ("match", "'flops'", "parameters", "width")),
        ({"depth": 28 + 1}, ("depth", "29", "6 n + 4")),
        ({"depth": 4}, ("depth", "4", "6 n + 4")),
        ({"widening": 0}, ("widening", "0")),
        ({"dropout": 1.0}, ("dropout", "1.0")),
    ],
)
def test_bad_fields_are_refused(fields, words):
    model = SMALL.clone()
    for name, value in fields.items():
        object.__setattr__(model, name, value)  # past the type checks that tests have and users have not
    with refused(*words):
        model.check()


def test_images_of_other_channels_are_refused():
    with refused("channels", "3", "2"):
        SMALL.init(jax.random.key(0), jnp.zeros((1, 8, 4, 3)))
