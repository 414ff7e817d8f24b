from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from lab.data.audio.log_mel import log_mel, mel_filters
from lab.data.dataset import Dataset
from lab.tasks.audio.frames import NONE
from lab.tasks.audio.speech import SpokenDigits
from lab.tasks.task import Task

DOWNLOADS = Path(__file__).resolve().parents[3] / "shared" / "data" / "downloads"
needs_digits = pytest.mark.skipif(not DOWNLOADS.exists(), reason="the recordings are not beside the repository")
TASK: Task = SpokenDigits(bands=3, context=3, frames=4)


def chirp():
    t = np.arange(1200) / 8000
    return 0.5 * np.sin(2 * np.pi * (200 * t + 8000 * t**2)) + 0.1 * np.sin(2 * np.pi * 3100 * t)


def recordings(seed=0):
    """Three recordings of 2, 3 and 6 frames."""
    lengths = np.array([200 + 80, 200 + 2 * 80, 200 + 5 * 80], np.int32)
    audio = np.random.default_rng(seed).integers(-1000, 1000, (3, 700)).astype(np.int16)
    audio[np.arange(700)[None, :] >= lengths[:, None]] = 0
    return {"audio": audio, "length": lengths, "label": np.array([3, 1, 4], np.int32)}


@pytest.fixture
def dataset(monkeypatch):
    arrays = {split: recordings(seed) for seed, split in enumerate(("train", "validation", "test"))}
    monkeypatch.setattr("lab.tasks.audio.speech.spoken_digits", lambda data_dir: Dataset(arrays, {}))
    return TASK.load()


# Of librosa 0.11.0: the logarithm of feature.melspectrogram(sr=8000, n_fft=256, win_length=200, hop_length=80,
# center=False, htk=True, norm=None, fmax=4000) of the chirp between 28 zeros, which centre its windows in 256 samples.
LIBROSA = {
    26: ((-4.291263, 6.184715, 4.184892), -7.725947),
    40: ((-5.264776, 2.070762, -2.50488), -8.971309),
}


@pytest.mark.parametrize("bands", LIBROSA)
def test_log_mel_spectra_are_those_of_librosa(bands):
    found = log_mel(chirp(), 8000, bands)
    assert found.shape == (13, bands)
    some, mean = LIBROSA[bands]
    np.testing.assert_allclose([found[0, 0], found[0, 5], found[3, 12]], some, atol=2e-6)
    np.testing.assert_allclose(found.mean(), mean, atol=2e-6)


def test_the_spectra_are_those_of_scipy():
    _, _, spectrum = scipy.signal.stft(
        chirp(), window="hann", nperseg=200, noverlap=120, nfft=256, boundary=None, padded=False, scaling="spectrum"
    )
    power = np.abs(spectrum.T * 100) ** 2  # scaled by the window's sum, which is 100
    expected = np.log(np.maximum(power @ mel_filters(26, 256, 8000).T, 1e-10))
    np.testing.assert_allclose(log_mel(chirp(), 8000, 26), expected, rtol=1e-6)


def test_a_tone_is_loudest_in_the_band_around_it():
    t = np.arange(800) / 8000
    weights = mel_filters(26, 256, 8000)
    for tone in (300, 1000, 2500):
        band = log_mel(np.sin(2 * np.pi * tone * t), 8000, 26).mean(axis=0).argmax()
        assert band == weights[:, round(tone * 256 / 8000)].argmax()


def test_neighbouring_filters_share_every_frequency_between_their_peaks():
    weights = mel_filters(26, 256, 8000)
    peaks = weights.argmax(axis=1)
    assert weights.min() == 0
    np.testing.assert_allclose(weights[:, peaks[0] + 1 : peaks[-1]].sum(axis=0), 1, rtol=1e-9)


def test_short_and_silent_recordings_have_a_spectrum():
    assert log_mel(np.zeros(10), 8000, 26).shape == (1, 26)
    np.testing.assert_allclose(log_mel(np.zeros(300), 8000, 26), np.log(1e-10))


def test_the_first_and_last_frame_stand_for_what_is_beyond(dataset):
    fields = dataset.arrays["train"]
    assert fields["features"].shape == (3, 4 + 2, 3)
    np.testing.assert_array_equal(fields["label"], [[3, 3, NONE, NONE], [1, 1, 1, NONE], [4, 4, 4, 4]])
    first, last = fields["features"][0, 1], fields["features"][0, 2]
    np.testing.assert_array_equal(fields["features"][0], [first, first, last, last, last, last])
    (seen,) = TASK.inputs({"features": jnp.asarray(fields["features"])})
    assert seen.shape == (3, 4, 3, 3)
    np.testing.assert_array_equal(seen[2, 1], fields["features"][2, 1:4])


def test_bands_are_standardized_by_train(monkeypatch):
    arrays = {split: recordings() for split in ("train", "validation", "test")}
    monkeypatch.setattr("lab.tasks.audio.speech.spoken_digits", lambda data_dir: Dataset(arrays, {}))
    fields = SpokenDigits(bands=3, context=1, frames=6).load().arrays["train"]
    real = fields["features"][fields["label"] != NONE]
    np.testing.assert_allclose(real.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(real.std(axis=0), 1, atol=1e-6)


def test_frames_and_recordings_are_counted_exactly(dataset):
    arrays = dataset.arrays["validation"]
    logits = np.random.default_rng(1).normal(size=(3, 4, 10)).astype(np.float32)
    sums = {name: np.zeros(2) for name in ("loss", "frame_error", "accuracy")}
    batches = TASK.evaluation_batches(arrays, 2)
    for index, outputs in enumerate((logits[:2], np.stack([logits[2], 100 * logits[0]]))):
        batch = {field: jnp.asarray(rows[index]) for field, rows in batches.items()}
        for name, pair in TASK.metrics(jnp.asarray(outputs), batch).items():
            sums[name] += np.array([float(value) for value in pair])
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    own = [log_p[i, :n] for i, n in enumerate((2, 3, 4))]
    digits = (3, 1, 4)
    nats = np.concatenate([-rows[:, digit] for rows, digit in zip(own, digits, strict=True)])
    wrong = np.concatenate([rows.argmax(axis=1) != digit for rows, digit in zip(own, digits, strict=True)])
    right = [rows.mean(axis=0).argmax() == digit for rows, digit in zip(own, digits, strict=True)]
    np.testing.assert_allclose(sums["loss"], [nats.sum(), 9], rtol=1e-5)
    np.testing.assert_allclose(sums["frame_error"], [wrong.sum(), 9])
    np.testing.assert_allclose(sums["accuracy"], [sum(right), 3])
    batch = {field: jnp.asarray(rows) for field, rows in arrays.items()}
    np.testing.assert_allclose(TASK.loss(jnp.asarray(logits), batch), nats.mean(), rtol=1e-5)


def test_the_digit_is_decided_by_all_frames_together():
    logits = np.zeros((1, 4, 10), np.float32)
    logits[0, :2, 7] = 1  # two frames say 7 with some confidence, one says 2 with much more
    logits[0, 2, 2] = 9
    batch = {"label": jnp.array([[2, 2, 2, NONE]]), "weight": jnp.ones(1)}
    found = TASK.metrics(jnp.asarray(logits), batch)
    assert float(found["accuracy"][0]) == 1
    assert float(found["frame_error"][0]) == 2


def test_bad_fields_and_models_are_refused():
    for fields, match in (({"context": 4}, "context"), ({"bands": 0}, "bands"), ({"frames": 0}, "frames")):
        with pytest.raises(ValueError, match=f"{match} must be"):
            SpokenDigits(**fields)
    batch = {"label": jnp.array([[2, 2, 2, NONE]]), "weight": jnp.ones(1)}
    with pytest.raises(ValueError, match=r"the task needs \(1, 4, 10\)"):
        TASK.metrics(jnp.zeros((1, 4, 11)), batch)


@pytest.mark.slow
@needs_digits
def test_most_recordings_fit_into_the_frames(tmp_path):
    (tmp_path / "downloads").symlink_to(DOWNLOADS)
    task = SpokenDigits()
    arrays = task.load(tmp_path).arrays
    assert {split: len(fields["label"]) for split, fields in arrays.items()} == {
        "train": 2000,
        "validation": 250,
        "test": 250,
    }
    assert arrays["train"]["features"].shape == (2000, 74, 26)
    assert 0.96 < (arrays["train"]["label"][:, -1] == NONE).mean() < 0.98
