"""The all-convolutional network: what it computes, how wide it is, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from refusals import refused
from scipy.signal import correlate

from models.activations import activation
from models.convnet import ConvNet
from models.mlp import MLP

SMALL = ConvNet(channels=2, widths=(3, 4), kernels=(3, 1), padding=(1, 0), pool_after=(1,), classes=5, dropout=0.0)
IMAGES = jax.random.normal(jax.random.key(1), (2, 6, 4, 2))


def drawn(model, images=IMAGES):
    """Variables with biases that are not zero."""
    return jax.tree.map(lambda leaf: leaf + 0.1, model.init(jax.random.key(0), images))


def parameters(model, image=(32, 32, 3)):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image), jnp.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def convolved(x, layer, padding):
    """By SciPy: [height, width, channels] -> [height, width, features]."""
    kernel, bias = np.asarray(layer["kernel"]), np.asarray(layer["bias"])
    wide = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    return np.concatenate([correlate(wide, kernel[..., i], "valid") for i in range(kernel.shape[3])], axis=2) + bias


def test_it_is_the_formula():
    model = SMALL.clone(activation=activation("relu"))
    variables = drawn(model)
    layers = variables["params"]
    expected = []
    for image in np.asarray(IMAGES):
        x = convolved(image, layers["layer_0"]["up"], 1).clip(0)
        x = x.reshape(3, 2, 2, 2, 3).max(axis=(1, 3))
        x = convolved(x, layers["layer_1"]["up"], 0).clip(0).mean(axis=(0, 1))
        expected.append(x @ np.asarray(layers["head"]["kernel"]) + np.asarray(layers["head"]["bias"]))
    np.testing.assert_allclose(model.apply(variables, IMAGES), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", slow_but(("prelu",), ("gelu", "swiglu", "prelu")))
def test_of_a_single_pixel_it_is_a_perceptron(name):
    fields = {"widths": (4, 6), "activation": activation(name), "match": "width"}
    network = ConvNet(channels=3, kernels=(1, 1), padding=(0, 0), pool_after=(), classes=5, **fields)
    pixels = jax.random.normal(jax.random.key(2), (7, 1, 1, 3))
    variables = drawn(network, pixels)
    flat = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[-2:]) if leaf.ndim == 4 else leaf, variables)
    perceptron = MLP(input_shape=(3,), outputs=5, **fields)
    np.testing.assert_allclose(
        network.apply(variables, pixels), perceptron.apply(flat, pixels.reshape(7, 3)), rtol=1e-4, atol=1e-6
    )


def test_the_network_of_cifar10_has_its_size():
    convolutions = 9 * (3 * 96 + 2 * 96 * 96 + 96 * 192 + 3 * 192 * 192) + 2 * 192 * 192
    assert parameters(ConvNet()) == convolutions + 3 * 96 + 6 * 192 + 192 * 10 + 10
    gated = ConvNet(activation="swiglu")
    np.testing.assert_allclose(parameters(gated), parameters(ConvNet()), rtol=0.01)
    assert gated.hidden_widths == (68,) * 3 + (136,) * 6
    assert gated.clone(match="width").hidden_widths == gated.widths


@pytest.mark.parametrize("train", [True, False])
def test_batch_normalization_stands_between_each_linear_map_and_its_activation(train):
    model = SMALL.clone(activation=activation("relu"), normalization="batch")
    variables = drawn(model)
    arrays = jax.tree.map(np.asarray, variables)
    layers, kept = arrays["params"], arrays["batch_stats"]
    found, updated = model.apply(variables, IMAGES, train=train, mutable=["batch_stats"])

    def normalized(x, path):
        layer, running = layers, kept
        for name in path:
            layer, running = layer[name], running[name]
        norm, axes = layer["norm"], tuple(range(x.ndim - 1))
        mean, variance = (x.mean(axes), x.var(axes)) if train else (running["norm"]["mean"], running["norm"]["var"])
        y = (x - mean) / np.sqrt(variance + 1e-4) * norm["scale"] + norm["bias"]
        return y, 0.9 * running["norm"]["mean"] + 0.1 * mean if train else running["norm"]["mean"]

    def mapped(x, name, padding):
        layer = {"kernel": layers[name]["up"]["map"]["kernel"], "bias": 0.0}
        return np.stack([convolved(image, layer, padding) for image in x])

    x, running = normalized(mapped(np.asarray(IMAGES), "layer_0", 1), ("layer_0", "up"))
    np.testing.assert_allclose(updated["batch_stats"]["layer_0"]["up"]["norm"]["mean"], running, rtol=1e-4, atol=1e-5)
    x = x.clip(0).reshape(2, 3, 2, 2, 2, 3).max(axis=(2, 4))
    x = normalized(mapped(x, "layer_1", 0), ("layer_1", "up"))[0].clip(0).mean(axis=(1, 2))
    expected = normalized(x @ layers["head"]["map"]["kernel"], ("head",))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_the_last_convolutions_of_cifar10_see_36_places():
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    model = ConvNet(normalization="batch")
    _, sown = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, mutable=True), images)
    shapes = [sown["intermediates"][f"layer_{i}"]["hidden"][0].shape for i in range(9)]
    assert shapes == [(1, 32, 32, 96)] * 3 + [(1, 16, 16, 192)] * 3 + [(1, 6, 6, 192)] * 3


@pytest.mark.slow
def test_noise_falls_on_the_images_in_training_alone():
    model = SMALL.clone(input_noise=0.5)
    variables = drawn(model)
    np.testing.assert_array_equal(model.apply(variables, IMAGES), SMALL.apply(variables, IMAGES))
    one_pixel = ConvNet(channels=1, widths=(1,), kernels=(1,), padding=(0,), pool_after=(), classes=1, input_noise=0.5)
    pixels = jnp.zeros((4000, 1, 1, 1))
    linear = one_pixel.clone(activation=activation("identity"))
    weights = jax.tree.map(jnp.ones_like, linear.init(jax.random.key(0), pixels))
    noise = linear.apply(weights, pixels, train=True, rngs={"dropout": jax.random.key(1)}) - 2  # two biases
    assert abs(noise.mean()) < 0.03  # its standard error is 0.008, that of the deviation 0.006
    assert abs(noise.std() - 0.5) < 0.02


def test_large_kernels_count_for_more():
    plain = ConvNet(channels=3, widths=(200, 200), kernels=(11, 1), padding=(5, 0), pool_after=())
    gated = plain.clone(activation=activation("swiglu"))
    np.testing.assert_allclose(parameters(gated), parameters(plain), rtol=0.01)


def test_dropout_falls_on_what_is_pooled_in_training_alone():
    model = SMALL.clone(dropout=0.5)
    variables = drawn(model)
    np.testing.assert_array_equal(model.apply(variables, IMAGES), SMALL.apply(variables, IMAGES))
    first, second = (
        model.apply(variables, IMAGES, train=True, rngs={"dropout": jax.random.key(key)}) for key in (0, 1)
    )
    assert (first != second).any()
    unpooled = model.clone(pool_after=())
    np.testing.assert_array_equal(
        unpooled.apply(variables, IMAGES, train=True, rngs={"dropout": jax.random.key(0)}),
        unpooled.apply(variables, IMAGES),
    )


def test_a_seed_gives_the_same_weights_whatever_the_activation():
    first, second = (
        SMALL.clone(activation=activation(name)).init(jax.random.key(3), IMAGES) for name in ("relu", "elu")
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"match": "flops"}, ("match", "'flops'", "parameters", "width")),
        ({"initialization": "lecunn"}, ("initialization", "'lecunn'", "'lecun'")),
        ({"kernels": (3,)}, ("kernels", "(3,)", "2", "1")),
        ({"padding": (1, -1)}, ("padding", "(1, -1)", "2", "0")),
        ({"widths": ()}, ("widths", "()")),
        ({"pool_after": (3,)}, ("pool_after", "(3,)")),
        ({"classes": 0}, ("classes", "0")),
        ({"dropout": 1.0}, ("dropout", "1.0")),
        ({"normalization": "bach"}, ("normalization", "'bach'", "'batch'")),
        ({"input_noise": -0.1}, ("input_noise", "-0.1", "0")),
    ],
)
def test_bad_fields_are_refused(fields, words):
    model = SMALL.clone()
    for name, value in fields.items():
        object.__setattr__(model, name, value)  # past the type checks that tests have and users have not
    with refused(*words):
        model.check()


def test_images_that_do_not_fit_are_refused():
    with refused("channels", "3", "2"):
        SMALL.init(jax.random.key(0), jnp.zeros((1, 6, 4, 3)))
    with refused("images", "(1, 1)"):
        SMALL.init(jax.random.key(0), jnp.zeros((1, 1, 1, 2)))
