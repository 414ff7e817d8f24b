import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.images import ImageAutoencoding, ImageClassification
from tasks.task import Dataset, Task

CLASSIFICATION = ImageClassification("mnist", classes=4)
AUTOENCODING = ImageAutoencoding("mnist")


def pictures(size, seed=0):
    draw = np.random.default_rng(seed)
    return {
        "image": draw.integers(0, 256, (size, 3, 2, 1), np.uint8),
        "label": draw.integers(0, 4, size).astype(np.int32),
    }


def told(image):
    """A fixed, arbitrary model: logits of 4 classes."""
    weights = np.random.default_rng(7).normal(size=(6, 4)).astype(np.float32)
    return image.reshape(-1, 6) @ weights


def measured(task, arrays, batch_size, model):
    """The summary of a split, as training makes it."""
    totals = {}
    batches = task.evaluation_batches(arrays, batch_size)
    for index in range(len(batches["weight"])):
        batch = {field: jnp.asarray(rows[index]) for field, rows in batches.items()}
        for name, (total, weight) in task.metrics(model(*task.inputs(batch)), batch).items():
            before = totals.get(name, (0.0, 0.0))
            totals[name] = before[0] + float(total), before[1] + float(weight)
    return task.summary({name: total / weight for name, (total, weight) in totals.items()})


@pytest.mark.parametrize("task", [CLASSIFICATION, AUTOENCODING])
def test_they_are_tasks_and_values(task):
    assert isinstance(task, Task)
    assert hash(task) == hash(type(task)(**vars(task)))
    assert task.tokens_per_example == 1


@pytest.mark.parametrize("batch_size", [3, 7])
def test_an_epoch_has_every_image_once_and_the_next_another_order(batch_size):
    arrays = {"image": np.arange(21, dtype=np.uint8).reshape(21, 1, 1, 1), "label": np.arange(21, dtype=np.int32)}
    steps = 21 // batch_size
    batches = [CLASSIFICATION.batch(arrays, 3, step, batch_size) for step in range(2 * steps)]
    order = np.concatenate([batch["label"] for batch in batches]).reshape(2, 21)
    np.testing.assert_array_equal(np.concatenate([batch["image"].ravel() for batch in batches]), order.ravel())
    np.testing.assert_array_equal(np.sort(order, axis=1), np.stack([np.arange(21)] * 2))
    assert (order[0] != order[1]).any()


def test_the_batches_of_vmapped_seeds_are_those_of_numpy():
    arrays = pictures(20)
    on_device = jax.tree.map(jnp.asarray, arrays)
    together = jax.vmap(lambda seed: CLASSIFICATION.batch(on_device, seed, 4, 6))(jnp.arange(3))
    for seed in range(3):
        alone = CLASSIFICATION.batch(arrays, seed, 4, 6)
        assert alone["image"].dtype == np.uint8
        for field, rows in alone.items():
            np.testing.assert_array_equal(together[field][seed], rows)


def test_pixels_are_read_from_0_to_1():
    (read,) = CLASSIFICATION.inputs({"image": jnp.asarray([0, 51, 255], jnp.uint8).reshape(1, 3, 1, 1)})
    np.testing.assert_allclose(read.ravel(), [0, 0.2, 1], rtol=1e-6)


@settings(max_examples=8, deadline=None)
@given(size=st.integers(1, 12), batch_size=st.integers(1, 7))
def test_the_whole_split_is_measured_exactly_whatever_the_batch(size, batch_size):
    arrays = pictures(size)
    logits = told(arrays["image"] / 255)
    nats = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(size), arrays["label"]]
    found = measured(CLASSIFICATION, arrays, batch_size, lambda image: jnp.asarray(told(np.asarray(image))))
    np.testing.assert_allclose(found["loss"], nats.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], (logits.argmax(axis=1) == arrays["label"]).mean(), rtol=1e-6)


@pytest.mark.parametrize("batch_size", [2, 5])
def test_the_error_of_images_made_again_is_a_mean_over_images_and_pixels(batch_size):
    arrays = {"image": pictures(5)["image"]}
    found = measured(AUTOENCODING, arrays, batch_size, lambda image: jnp.full((len(image), 6), 0.5))
    expected = ((arrays["image"] / 255 - 0.5) ** 2).mean()
    np.testing.assert_allclose(found["mean_squared_error"], expected, rtol=1e-6)
    batch = jax.tree.map(jnp.asarray, arrays)
    np.testing.assert_allclose(AUTOENCODING.loss(jnp.full((5, 6), 0.5), batch), expected, rtol=1e-6)
    assert found["loss"] == found["mean_squared_error"]


def test_the_loss_is_in_f32_whatever_the_logits_are():
    batch = {"label": jnp.asarray([0, 3])}
    for dtype in (jnp.float32, jnp.bfloat16):
        loss = CLASSIFICATION.loss(jnp.full((2, 4), 5.0, dtype), batch)
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, math.log(4), rtol=1e-6)


def test_a_model_of_other_outputs_is_refused():
    batch = {**jax.tree.map(jnp.asarray, pictures(2)), "weight": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"outputs have the shape \(2, 10\), the task needs \(2, 4\)"):
        CLASSIFICATION.metrics(jnp.zeros((2, 10)), batch)
    with pytest.raises(ValueError, match=r"outputs have the shape \(2, 10\), the task needs \(2, 6\)"):
        AUTOENCODING.metrics(jnp.zeros((2, 10)), batch)


def test_bad_fields_are_refused():
    with pytest.raises(ValueError, match="fashion_mnist"):
        ImageClassification("fashion_mnst")
    arrays = pictures(8)
    with pytest.raises(ValueError, match="classes is 2, but mnist has the label 3"):
        ImageClassification("mnist", classes=2).check(Dataset({"train": arrays}, {}))
    CLASSIFICATION.check(Dataset({"train": arrays}, {}))


def test_the_images_of_a_set_become_the_examples(monkeypatch, tmp_path):
    arrays = {split: pictures(size) for split, size in (("train", 4), ("validation", 2), ("test", 2))}
    monkeypatch.setattr("tasks.images.images", lambda name, data_dir: Dataset(arrays, {"name": name}))
    assert CLASSIFICATION.load(tmp_path).arrays is arrays
    found = AUTOENCODING.load(tmp_path)
    assert {tuple(fields) for fields in found.arrays.values()} == {("image",)}
    assert found.provenance == {"name": "mnist"}
