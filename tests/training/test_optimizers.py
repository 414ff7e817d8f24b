"""Optimizers against NumPy, schedules by their values, and which parameters each rule falls on."""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow_but
from refusals import refused

from lab.training.optimizers import decayed, optimizer, unit_schedule
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer

OPTIMIZERS = ("adamw", "adam", "sgd", "adafactor", "lion", "muon")
DECAYING = ("adamw", "adafactor", "lion", "muon")
SETTINGS = Settings(steps=4, warmup_steps=2, schedule="linear")
HYPERPARAMETERS = Hyperparameters(learning_rate=0.03, weight_decay=0.2, b1=0.8, b2=0.9, clip_norm=float("inf"))
# Every kind of parameter there is: biases, scales of norms, an untied head, parameters of an activation.
MODEL = Transformer(vocab_size=7, context=5, d_model=4, n_heads=2, norm="rmsnorm", activation="polyrelu", tied=False)


@pytest.fixture(scope="module")
def shapes():
    """Shapes of the parameters; of four like projections of attention one is enough."""
    tree = jax.eval_shape(lambda: MODEL.init(jax.random.key(0), jnp.zeros((1, 5), jnp.int32)))["params"]
    for i in range(MODEL.n_layers):
        tree[f"layer_{i}"]["attention"] = {"output": tree[f"layer_{i}"]["attention"]["output"]}
    return tree


@pytest.fixture
def parameters(shapes):
    return normal(shapes, 0)


@pytest.fixture
def gradients(shapes):
    """One for each step, along the leading axis."""
    return normal(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((SETTINGS.steps, *leaf.shape), leaf.dtype), shapes), 1)


def normal(shapes, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)


def shares(settings):
    """The unit schedule at every step."""
    return np.asarray(jax.vmap(unit_schedule(settings))(jnp.arange(settings.steps)), np.float64)


def scanned(tree, axis=0):
    """The tree as a model has it whose layers are scanned: one array for all layers, stacked along `axis`."""
    layers = [tree[f"layer_{i}"] for i in range(MODEL.n_layers)]
    rest = {name: branch for name, branch in tree.items() if not name.startswith("layer_")}
    return {**rest, "layers": jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *layers)}


def trained(name, parameters, gradients, hyperparameters=HYPERPARAMETERS, **fields):
    """The parameters after one step for each gradient."""
    rule = optimizer(replace(SETTINGS, optimizer=name, **fields), hyperparameters)

    def step(carry, gradient):
        parameters, state = carry
        updates, state = rule.update(gradient, state, parameters)
        return (optax.apply_updates(parameters, updates), state), None

    return jax.lax.scan(step, (parameters, rule.init(parameters)), gradients)[0][0]


# References: one parameter array in float64, its gradients, the rate of each step, hyperparameters and weight decay.


def adamw(p, gradients, rates, h, decay, nesterov=False, eps_root=0.0):
    m = v = 0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = h.b1 * m + (1 - h.b1) * g
        v = h.b2 * v + (1 - h.b2) * g**2
        direction = ahead(m, g, h.b1, t) if nesterov else m / (1 - h.b1**t)
        p = p - rate * (direction / (np.sqrt(v / (1 - h.b2**t) + eps_root) + h.eps) + decay * p)
    return p


def ahead(m, g, b1, t):
    """The moment as it will be if the gradient comes once more (Dozat 2016)."""
    return b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)


def sgd(p, gradients, rates, h, decay, l2=0.0):
    momentum = 0
    for g, rate in zip(gradients, rates, strict=True):
        g = g + l2 * p
        momentum = h.b1 * momentum + g
        p = p - rate * (g + h.b1 * momentum)
    return p


def lion(p, gradients, rates, h, decay):
    m = 0
    for g, rate in zip(gradients, rates, strict=True):
        p = p - rate * (np.sign(h.b1 * m + (1 - h.b1) * g) + decay * p)
        m = h.b2 * m + (1 - h.b2) * g
    return p


def adafactor(p, gradients, rates, h, decay):
    v = 0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        keep = 1 - t**-0.8
        v = keep * v + (1 - keep) * g**2
        update = g / np.sqrt(v)
        update = update / max(1, np.sqrt(np.mean(update**2)))
        p = p - rate * (update * max(1e-3, np.sqrt(np.mean(p**2))) + decay * p)
    return p


def muon(p, gradients, rates, h, decay):
    m = 0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = h.b1 * m + (1 - h.b1) * g
        p = p - rate * (0.2 * np.sqrt(max(p.shape)) * orthogonal(ahead(m, g, h.b1, t)) + decay * p)
    return p


def orthogonal(x):
    """Jordan's five Newton-Schulz iterations, on the singular values."""
    left, values, right = np.linalg.svd(x / np.linalg.norm(x), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left * values @ right


def reference(name, path, parameter, gradients):
    """What the optimizer `name` has to make of one parameter, in float32."""
    h, leaf = HYPERPARAMETERS, path[-1].key
    rates = h.learning_rate * shares(SETTINGS)
    decay = h.weight_decay if leaf in ("kernel", "embedding") and name in DECAYING else 0.0
    rules = {"adamw": adamw, "adam": adamw, "sgd": sgd, "adafactor": adafactor, "lion": lion, "muon": muon}
    rule = rules[name]
    if name == "muon" and (leaf != "kernel" or path[0].key == "head"):
        rule = partial(adamw, nesterov=True)
    return np.float32(rule(np.float64(parameter), np.float64(gradients), rates, h, decay))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_equals_its_reference(name, parameters, gradients):
    expected = jax.tree_util.tree_map_with_path(partial(reference, name), parameters, gradients)
    result = jax.jit(trained, static_argnums=0)(name, parameters, gradients)
    chex.assert_trees_all_close(result, expected, rtol=1e-4, atol=1e-5)


def test_an_l2_penalty_goes_through_the_momentum_of_kernels_embeddings_and_scales(parameters, gradients):
    def expected(path, parameter, gradient):
        l2 = HYPERPARAMETERS.weight_decay if path[-1].key in ("kernel", "embedding", "scale") else 0.0
        rates = HYPERPARAMETERS.learning_rate * shares(SETTINGS)
        return np.float32(sgd(np.float64(parameter), np.float64(gradient), rates, HYPERPARAMETERS, 0.0, l2))

    result = jax.jit(partial(trained, "sgd", regularization="l2"))(parameters, gradients)
    leaves = jax.tree_util.tree_map_with_path(expected, parameters, gradients)
    assert any(path[-1].key == "scale" for path, _ in jax.tree_util.tree_leaves_with_path(parameters))
    chex.assert_trees_all_close(result, leaves, rtol=1e-4, atol=1e-5)


def test_an_epsilon_may_stand_under_the_root(parameters, gradients):
    h = replace(HYPERPARAMETERS, eps_root=0.3)
    rates = h.learning_rate * shares(SETTINGS)
    expected = jax.tree.map(
        lambda p, g: np.float32(adamw(np.float64(p), np.float64(g), rates, h, 0.0, eps_root=0.3)), parameters, gradients
    )
    result = jax.jit(partial(trained, "adam"))(parameters, gradients, h)
    chex.assert_trees_all_close(result, expected, rtol=1e-4, atol=1e-5)


def test_b1_may_change_after_half_of_the_steps(parameters, gradients):
    def expected(p, gradients):
        h, m, v = HYPERPARAMETERS, 0, 0
        for t, (g, rate) in enumerate(zip(gradients, h.learning_rate * shares(SETTINGS), strict=True), 1):
            b1 = h.b1 if t <= 2 else 0.3
            m, v = b1 * m + (1 - b1) * g, h.b2 * v + (1 - h.b2) * g**2
            p = p - rate * m / (1 - b1**t) / (np.sqrt(v / (1 - h.b2**t)) + h.eps)
        return np.float32(p)

    one = [tree["layer_0"]["feedforward"]["up"]["kernel"] for tree in (parameters, gradients)]
    result = jax.jit(partial(trained, "adam", late_b1=0.3))(*({"kernel": leaf} for leaf in one))
    np.testing.assert_allclose(result["kernel"], expected(*(np.float64(leaf) for leaf in one)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scan", slow_but([True], [False, True]))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_a_gradient_only_matrices_and_tables_shrink(name, scan, parameters, gradients):
    rates = HYPERPARAMETERS.learning_rate * shares(SETTINGS)
    shrunk = np.prod(1 - rates * HYPERPARAMETERS.weight_decay) if name in DECAYING else 1.0
    expected = jax.tree.map(lambda leaf: leaf * (shrunk if leaf.ndim == 2 else 1.0), parameters)
    if scan:
        parameters, expected, gradients = scanned(parameters), scanned(expected), scanned(gradients, axis=1)
    zeros = jax.tree.map(jnp.zeros_like, gradients)
    result = jax.jit(trained, static_argnums=0)(name, parameters, zeros)
    chex.assert_trees_all_close(result, expected, rtol=1e-5)


def test_learned_parameters_of_an_activation_are_not_decayed(shapes):
    feedforward = decayed(shapes)["layer_0"]["feedforward"]
    learned = [name for name in feedforward if name.startswith("activation_")]
    assert learned
    assert not any(feedforward[name] for name in learned)


@pytest.mark.parametrize("name", ["adamw", "muon"])  # an elementwise rule, and one of matrices
def test_scanned_layers_are_updated_as_separate_ones(name, parameters, gradients):
    step = jax.jit(trained, static_argnums=0)
    separate = scanned(step(name, parameters, gradients))
    together = step(name, scanned(parameters), scanned(gradients, axis=1))
    chex.assert_trees_all_close(together, separate, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", slow_but(["adamw", "muon"], OPTIMIZERS))
def test_one_trace_serves_runs_that_differ_in_every_hyperparameter(name, parameters, gradients):
    parameters, gradients = (tree["layer_0"]["feedforward"] for tree in (parameters, gradients))
    other = Hyperparameters(3e-3, 0.0, 0.9, 0.99, 1e-6, 1.0)
    traces = []

    @jax.jit
    @jax.vmap
    def together(hyperparameters):
        traces.append(name)
        return trained(name, parameters, gradients, hyperparameters)

    for runs in ([HYPERPARAMETERS, other], [other, HYPERPARAMETERS]):
        results = together(jax.tree.map(lambda *values: jnp.array(values), *runs))
    assert len(traces) == 1
    alone = jax.jit(trained, static_argnums=0)(name, parameters, gradients)
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[1], results), alone, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("clip_norm", "expected"), [(2.0, 0.4), (5.0, 1.0), (7.0, 1.0), (float("inf"), 1.0)])
def test_a_gradient_is_clipped_by_its_global_norm(clip_norm, expected):
    settings = replace(SETTINGS, optimizer="sgd", warmup_steps=0)
    rule = optimizer(settings, Hyperparameters(learning_rate=1.0, b1=0.0, clip_norm=clip_norm))
    gradient = {"up": {"kernel": jnp.array([[3.0]]), "bias": jnp.array([4.0])}}  # global norm 5
    updates, _ = jax.jit(rule.update)(gradient, rule.init(gradient), gradient)
    chex.assert_trees_all_close(updates, jax.tree.map(lambda leaf: -expected * leaf, gradient), rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "fields", "expected"),  # at steps 10, 55, 90 and 100
    [
        ("cosine", {}, (1.0, 0.55, 0.1 + 0.45 * (1 + np.cos(np.pi * 8 / 9)), 0.1)),
        ("linear", {}, (1.0, 0.55, 0.2, 0.1)),
        ("constant", {}, (1.0, 1.0, 1.0, 1.0)),
        ("inverse_sqrt", {}, (1.0, (10 / 55) ** 0.5, 1 / 3, 0.1**0.5)),
        ("wsd", {}, (1.0, 1.0, 0.5, 0.0)),
        ("cosine", {"final_ratio": 0.0}, (1.0, 0.5, 0.5 * (1 + np.cos(np.pi * 8 / 9)), 0.0)),
        ("linear", {"final_ratio": 0.0}, (1.0, 0.5, 1 / 9, 0.0)),
        ("wsd", {"decay_steps": 50}, (1.0, 0.9, 0.2, 0.0)),
    ],
)
def test_schedule_rises_linearly_then_takes_its_shape(schedule, fields, expected):
    unit = shares(Settings(steps=100, warmup_steps=10, schedule=schedule, **fields))
    np.testing.assert_allclose(unit[:10], np.arange(1, 11) / 10, rtol=1e-6)
    np.testing.assert_allclose(unit[[9, 54, 89, 99]], expected, atol=1e-6)


def test_inverse_sqrt_may_fall_to_zero_at_the_end_as_shazeer_trained():
    steps, warmup, peak = 200, 30, 30**-0.5  # of the rate 1 / sqrt(max(step, warmup)) in his code
    step = np.arange(warmup, steps + 1)
    expected = 1 / np.sqrt(step) * np.minimum(1, (steps - step) / (0.1 * steps))
    unit = shares(Settings(steps=steps, warmup_steps=warmup, schedule="inverse_sqrt", decay_steps=20))
    np.testing.assert_allclose(peak * unit[warmup - 1 :], expected, atol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "inverse_sqrt", "wsd"])
@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_the_shortest_trainings_begin_at_their_warmup_and_stay_within_the_peak(schedule, warmup):
    unit = shares(Settings(steps=3, warmup_steps=warmup, schedule=schedule))
    assert unit[0] == pytest.approx(1 / max(warmup, 1))
    assert ((unit >= 0) & (unit <= 1)).all()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"regularization": "L2"}, ("settings.regularization", "'L2'", "decoupled", "l2")),
        ({"regularization": "l2"}, ("settings.regularization", "'l2'", "adam", "sgd", "adamw")),
        ({"final_ratio": 1.5}, ("settings.final_ratio", "1.5", "0", "1")),
        ({"decay_steps": 0}, ("settings.decay_steps", "0", "1")),
        ({"decay_steps": 9, "steps": 8}, ("settings.decay_steps", "9", "steps", "8")),
        ({"late_b1": 0.5}, ("settings.late_b1", "0.5", "adam", "adamw")),
        ({"late_b1": 1.0, "optimizer": "adam"}, ("settings.late_b1", "1.0", "[0, 1)")),
    ],
)
def test_settings_that_do_not_go_together_are_refused(fields, words):
    settings = Settings()
    for name, value in fields.items():
        object.__setattr__(settings, name, value)  # past the type checks that tests have and users have not
    with refused(*words):
        settings.check()
    with refused("hyperparameters.eps_root", "-1.0"):
        Hyperparameters(eps_root=-1.0).check()
