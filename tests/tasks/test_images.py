import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from refusals import refused

from lab.data.dataset import Dataset
from lab.files import checksums
from lab.tasks.augmentation import mirror_crop
from lab.tasks.images import ImageAutoencoding, ImageClassification
from lab.tasks.preparation import centring, whitening
from lab.tasks.task import Task

CLASSIFICATION = ImageClassification("mnist", classes=4)
AUGMENTED = ImageClassification("mnist", classes=4, augmentation="mirror_crop")
AUTOENCODING = ImageAutoencoding("mnist")
PUBLISHED = {"train": "train", "validation": "validation", "test": "test"}
CUT = PUBLISHED | {"train": "train[:4]", "validation": "train[4:6]"}
BOTH_CUT = {"train": "train[:4]", "validation": "train[4:6]", "test": "train[6:9]"}


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


@pytest.mark.parametrize("task", [CLASSIFICATION, AUGMENTED])
def test_the_batches_of_vmapped_seeds_are_those_of_numpy(task):
    arrays = pictures(20)
    on_device = jax.tree.map(jnp.asarray, arrays)
    together = jax.jit(jax.vmap(lambda seed: task.batch(on_device, seed, 4, 6)))(jnp.arange(3))
    of_the_host = task.batch(arrays, np.arange(3)[:, None], 4, 6)
    for seed in range(3):
        alone = task.batch(arrays, seed, 4, 6)
        assert alone["image"].dtype == np.uint8
        for field, rows in alone.items():
            np.testing.assert_array_equal(together[field][seed], rows)
            np.testing.assert_array_equal(of_the_host[field][seed], rows)


def test_an_augmented_image_is_a_crop_of_it_or_of_its_mirror_image():
    image = np.random.default_rng(0).integers(1, 256, (1, 5, 6, 3), np.uint8)
    crops = []
    for source in (image[0], image[0, :, ::-1]):
        padded = np.pad(source, ((4, 4), (4, 4), (0, 0)))
        crops += [padded[i : i + 5, j : j + 6].tobytes() for i in range(9) for j in range(9)]
    numbers = np.arange(4000, dtype=np.uint32)
    found = [crop.tobytes() for crop in mirror_crop(np.repeat(image, 4000, axis=0), 3, numbers)]
    assert set(found) == set(crops)
    counts = np.array([found.count(crop) for crop in crops if any(crop)])
    assert counts.max() < 2.5 * 4000 / 162  # 25 are expected, with a deviation of 5


def test_augmentation_leaves_order_and_labels_alone_and_differs_from_epoch_to_epoch():
    arrays = pictures(6)
    plain, augmented = ([task.batch(arrays, 1, step, 6) for step in (0, 1)] for task in (CLASSIFICATION, AUGMENTED))
    for before, after in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(before["label"], after["label"])
    by_example = [batch["image"][np.argsort(batch["label"], kind="stable")] for batch in augmented]
    assert (by_example[0] != by_example[1]).any()


def photographs(size, seed=0):
    """Images whose pixels go together, uint8 [size, 4, 3, 2]."""
    draw = np.random.default_rng(seed)
    mixing = np.eye(24) + np.random.default_rng(1).normal(size=(24, 24)) / 10
    mixed = 127 + 40 * draw.normal(size=(size, 24)) @ mixing
    return mixed.clip(0, 255).astype(np.uint8).reshape(size, 4, 3, 2)


def test_whitened_training_images_are_uncorrelated_and_others_take_the_same_map():
    train, other = photographs(400), photographs(5, seed=2)
    prepare = whitening(train)
    white = prepare(train).reshape(400, 24)
    assert white.dtype == np.float32
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    scaled = (train.reshape(400, 24) - 127.5) / 128
    covariance = np.cov(scaled.T, bias=True)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(24), atol=2e-3)
    # The symmetric root, by SciPy: with the least change among all that whiten.
    root = scipy.linalg.sqrtm(np.linalg.inv(covariance + 1e-5 * np.eye(24)))
    expected = ((other.reshape(5, 24) - 127.5) / 128 - scaled.mean(axis=0)) @ root
    np.testing.assert_allclose(prepare(other).reshape(5, 24), expected, rtol=1e-3, atol=1e-3)


def test_centred_images_are_from_0_to_1_less_the_mean_of_train():
    train, other = photographs(50), photographs(3, seed=2)
    expected = other / 255 - train.mean(axis=0) / 255
    np.testing.assert_allclose(centring(train)(other), expected, atol=1e-6)


@pytest.mark.parametrize(("preparation", "find"), [("zca", whitening), ("mean", centring)])
def test_preparation_is_found_from_train_and_read_as_it_is(preparation, find, monkeypatch):
    arrays = {split: pictures(size, size) for split, size in (("train", 9), ("validation", 2), ("test", 3))}
    monkeypatch.setattr("lab.tasks.images.images", lambda name, data_dir: Dataset(arrays, {"name": name}))
    task = ImageClassification("mnist", classes=4, preparation=preparation)
    loaded = task.load()
    for split, fields in loaded.arrays.items():
        expected = find(arrays["train"]["image"])(arrays[split]["image"])
        np.testing.assert_array_equal(fields["image"], expected)
        np.testing.assert_array_equal(fields["label"], arrays[split]["label"])
    batch = task.batch(jax.tree.map(jnp.asarray, loaded.arrays["train"]), 0, 0, 4)
    np.testing.assert_array_equal(task.inputs(batch)[0], batch["image"])


@pytest.mark.parametrize("task", [CLASSIFICATION, AUTOENCODING])
@pytest.mark.parametrize(
    ("taken", "rows", "slices"),
    [
        (CUT, 6, PUBLISHED | {"validation": "test"}),
        (PUBLISHED, 4, PUBLISHED | {"validation": "test"}),
        (BOTH_CUT, 6, {"train": "train[:6]", "validation": "train[6:9]", "test": "train[6:9]"}),
    ],
)
def test_without_held_out_images_train_has_all_and_validation_is_test(task, taken, rows, slices, monkeypatch):
    arrays = {split: pictures(size, size) for split, size in (("train", 4), ("validation", 2), ("test", 3))}
    dataset = Dataset(arrays, {"name": "mnist", "taken": taken, "splits": checksums.described(arrays)})
    monkeypatch.setattr("lab.tasks.images.images", lambda name, data_dir: dataset)
    found = dataclasses.replace(task, held_out=False).load()
    whole = np.concatenate([arrays["train"]["image"], arrays["validation"]["image"]])[:rows]
    np.testing.assert_array_equal(found.arrays["train"]["image"], whole)
    for split in ("validation", "test"):
        np.testing.assert_array_equal(found.arrays[split]["image"], arrays["test"]["image"])
    assert found.provenance["taken"] == slices
    assert found.provenance["splits"]["train"]["examples"] == rows
    assert found.provenance["splits"]["validation"] == dataset.provenance["splits"]["test"]


def test_pixels_are_read_from_0_to_1():
    (read,) = CLASSIFICATION.inputs({"image": jnp.asarray([0, 51, 255], jnp.uint8).reshape(1, 3, 1, 1)})
    np.testing.assert_allclose(read.ravel(), [0, 0.2, 1], rtol=1e-6)


@pytest.mark.parametrize(("size", "batch_size"), [(1, 1), (3, 7), (11, 4), (12, 6)])
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
    with refused("outputs", "(2, 10)", "(2, 4)"):
        CLASSIFICATION.metrics(jnp.zeros((2, 10)), batch)
    with refused("outputs", "(2, 10)", "(2, 6)"):
        AUTOENCODING.metrics(jnp.zeros((2, 10)), batch)


def test_bad_fields_are_refused():
    with refused("'fashion_mnst'", "'fashion_mnist'"):
        ImageClassification("fashion_mnst")
    for field, value, words in (
        ("preparation", "pca", ("none", "mean", "'zca'")),
        ("augmentation", "mirror", ("none", "'mirror_crop'")),
    ):
        task = dataclasses.replace(CLASSIFICATION)
        object.__setattr__(task, field, value)  # past the type checks that tests have and users have not
        with refused(field, repr(value), *words):
            task.__post_init__()
    arrays = pictures(8)
    with refused("classes", "2", "mnist", "3"):
        ImageClassification("mnist", classes=2).check(Dataset({"train": arrays}, {}))
    CLASSIFICATION.check(Dataset({"train": arrays}, {}))


def test_the_images_of_a_set_become_the_examples(monkeypatch, tmp_path):
    arrays = {split: pictures(size) for split, size in (("train", 4), ("validation", 2), ("test", 2))}
    monkeypatch.setattr("lab.tasks.images.images", lambda name, data_dir: Dataset(arrays, {"name": name}))
    assert CLASSIFICATION.load(tmp_path).arrays is arrays
    found = AUTOENCODING.load(tmp_path)
    assert {tuple(fields) for fields in found.arrays.values()} == {("image",)}
    assert found.provenance == {"name": "mnist"}
