"""TIMIT as one's own folder, in small and made up: every phone is a tone of its own."""

import re
import wave
from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusals import refused

from experiments.gelu_paper.frames import DIGITS, TIMIT, Frames
from lab.data.audio.log_mel import log_mel
from lab.data.audio.mfcc import mfcc, slopes
from lab.data.sets import timit as folders
from lab.data.sets.timit import CLASS, CLASSES, CORE, FOLDED, NONE, RATE, timit
from lab.tasks.audio.phones import Phones
from models.mlp import MLP

SPEAKERS = ("TRAIN/DR1/MAAA0", "TRAIN/DR8/FBBB0", "TEST/DR2/MZZZ0", "TEST/DR1/FELC0")
TONES = {"h#": 0, "aa": 500, "ix": 1500, "zh": 4000, "q": 6000}  # Hz
FRAMES = 34


def spoken(seed):
    """The sound of silence, four tones and silence, and its lines: the last 400 samples are no phone's."""
    draw = np.random.default_rng(seed)
    lines, tones = [], []
    begin = 0
    for phone in ("h#", *draw.permutation([name for name in TONES if name != "h#"]), "h#"):
        length = int(draw.integers(700, 900))
        tones.append(np.sin(2 * np.pi * TONES[phone] * np.arange(length) / RATE))
        lines.append(f"{begin} {begin + length} {phone}")
        begin += length
    sound = np.concatenate([*tones, np.zeros(400)])
    noise = draw.normal(scale=0.01, size=len(sound))
    return (8000 * (sound + noise)).astype(np.int16), lines


def sphere(samples, order="01", **fields):
    types = {"01": "<i2", "10": ">i2"}
    header = {
        "channel_count": "-i 1",
        "sample_count": f"-i {len(samples)}",
        "sample_rate": "-i 16000",
        "sample_n_bytes": "-i 2",
        "sample_byte_format": f"-s2 {order}",
        **fields,
    }
    text = "\n".join(["NIST_1A", "   1024", *(f"{name} {value}" for name, value in header.items()), "end_head", ""])
    return text.encode().ljust(1024) + samples.astype(types[order]).tobytes()


def riff(path, samples, rate=RATE, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture(autouse=True)
def complete(monkeypatch):
    monkeypatch.setattr(folders, "SENTENCES", {"train": 4, "validation": 2, "test": 2})


def made(root, case=str.upper, sound="sphere"):
    """A folder of four speakers with three sentences each, of which one is for all."""
    for number, speaker in enumerate(SPEAKERS):
        folder = root / case(speaker)
        folder.mkdir(parents=True)
        for place, name in enumerate(("SA1", "SI99", "SX100")):
            samples, lines = spoken(3 * number + place)
            (folder / case(f"{name}.PHN")).write_text("\n".join(lines) + "\n")
            if sound == "riff":
                riff(folder / (case(f"{name}.WAV") + ".wav"), samples)
            else:
                (folder / case(f"{name}.WAV")).write_bytes(sphere(samples, "10" if sound == "swapped" else "01"))
    return root


@pytest.fixture
def folder(tmp_path):
    return made(tmp_path / "timit")


def test_the_61_phones_are_folded_into_39_classes():
    assert len(CLASS) == 61
    assert len(CLASSES) == 39 == len(set(CLASS.values()) - {NONE})
    assert [phone for phone, place in CLASS.items() if place == NONE] == ["q"]
    assert Counter(len(phones) for phones in FOLDED.values()) == {1: 27, 2: 9, 3: 2, 9: 1}
    same = ("aa ao", "ax ax-h ah", "er axr", "hv hh", "ix ih", "el l", "em m", "en nx n", "eng ng", "zh sh", "ux uw")
    for phones in (*same, "pcl tcl kcl bcl dcl gcl h# pau epi"):
        assert len({CLASS[phone] for phone in phones.split()}) == 1
    assert all(name in phones or name == "sil" for name, phones in FOLDED.items())


def test_the_core_test_set_is_a_woman_and_two_men_of_every_region():
    assert len(CORE) == 8
    assert {"".join(speaker[0] for speaker in speakers) for speakers in CORE.values()} == {"FMM"}


def test_the_splits_are_by_speaker_and_without_what_all_read(folder):
    dataset = timit(str(folder))
    seeds = {"train": (1, 2, 4, 5), "validation": (7, 8), "test": (10, 11)}
    assert dataset.arrays.keys() == seeds.keys()
    for split, fields in dataset.arrays.items():
        expected = [spoken(seed)[0] for seed in seeds[split]]
        np.testing.assert_array_equal(fields["audio"], np.concatenate(expected))
        np.testing.assert_array_equal(fields["length"], [len(samples) for samples in expected])
        assert dataset.provenance["splits"][split]["examples"] == len(expected)


@pytest.mark.parametrize(("case", "sound"), [(str.lower, "sphere"), (str.upper, "riff"), (str.upper, "swapped")])
def test_names_in_any_case_and_either_form_are_the_same_sentences(folder, tmp_path, case, sound):
    other = made(tmp_path / "other", case, sound)
    assert timit(str(other)).provenance == timit(str(folder)).provenance


def test_a_frame_has_the_phone_at_its_middle(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "SENTENCES", dict.fromkeys(folders.SENTENCES, 1))
    lines = ["0 360 h#", "360 520 iy", "520 680 q", "680 900 ax"]  # the middles are 200, 360, 520, 680, 840 and 1000
    sound = sphere(np.random.default_rng(0).integers(-1000, 1000, 1250))
    for speaker in SPEAKERS[1:]:
        (tmp_path / speaker).mkdir(parents=True)
        (tmp_path / speaker / "SX3.PHN").write_text("\n".join(lines))
        (tmp_path / speaker / "SX3.WAV").write_bytes(sound)
    labels = Phones(folder=str(tmp_path), frames=8).load().arrays["train"]["label"]
    sil, iy, ah = (CLASSES.index(name) for name in ("sil", "iy", "ah"))
    np.testing.assert_array_equal(labels, [[sil, iy, NONE, ah, ah, NONE, NONE, NONE]])


def test_mfcc_are_the_cosines_of_the_log_mel_spectrum_with_the_energy():
    draw = np.random.default_rng(0)
    samples = 0.1 * draw.normal(size=400 + 3 * 160)
    found = mfcc(samples, RATE)
    assert found.shape == (4, 26)
    spectrum = log_mel(samples, RATE, 26)
    for k in (1, 5, 12):
        cosine = np.sqrt(2 / 26) * np.cos(np.pi * k * (np.arange(26) + 0.5) / 26)
        np.testing.assert_allclose(found[:, k - 1], spectrum @ cosine, rtol=1e-9, atol=1e-9)
    energies = [np.log(np.sum(samples[160 * i : 160 * i + 400] ** 2)) for i in range(4)]
    np.testing.assert_allclose(found[:, 12], energies, rtol=1e-9)
    np.testing.assert_array_equal(found[:, 13:], slopes(found[:, :13]))


def test_slopes_are_those_of_the_best_line_through_five_frames():
    rows = np.random.default_rng(1).normal(size=(9, 3))
    expected = [np.polyfit(np.arange(5), rows[i : i + 5], 1)[0] for i in range(5)]
    np.testing.assert_allclose(slopes(rows)[2:-2], expected, atol=1e-12)
    np.testing.assert_allclose(slopes(np.arange(5.0)[:, None])[0], [(1 + 2 * 2) / 10])


def test_features_are_standardized_by_train(folder):
    task = Phones(folder=str(folder), context=1, frames=FRAMES)
    arrays = task.load().arrays
    assert arrays["train"]["features"].shape == (4, FRAMES, 26)
    windows = [(length - 400) // 160 + 1 for length in timit(str(folder)).arrays["train"]["length"]]
    assert max(windows) <= FRAMES
    real = np.concatenate([rows[:n] for rows, n in zip(arrays["train"]["features"], windows, strict=True)])
    np.testing.assert_allclose(real.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(real.std(axis=0), 1, atol=1e-5)


def test_the_mean_may_be_subtracted_twice_from_what_is_held_out(folder):
    once = Phones(folder=str(folder), frames=FRAMES)
    first, second = once.load().arrays, replace(once, mean_subtractions=2).load().arrays
    np.testing.assert_array_equal(first["train"]["features"], second["train"]["features"])
    rows = np.concatenate([mfcc(spoken(seed)[0] / 2**15, RATE) for seed in (1, 2, 4, 5)])
    for split in ("validation", "test"):
        shift = first[split]["features"] - second[split]["features"]
        expected = np.broadcast_to(rows.mean(axis=0) / rows.std(axis=0), shift.shape)
        np.testing.assert_allclose(shift, expected, rtol=1e-3, atol=1e-4)


def test_frames_without_a_phone_are_not_counted(folder):
    task = Phones(folder=str(folder), context=3, frames=FRAMES, softmax=50)
    arrays = task.load().arrays["validation"]
    labels = arrays["label"]
    counted = labels != NONE
    assert 0 < counted.sum() < counted.size
    logits = np.random.default_rng(2).normal(size=(*labels.shape, 50)).astype(np.float32)
    batch = {**{name: jnp.asarray(array) for name, array in arrays.items()}, "weight": jnp.array([1.0, 0.0])}
    nats = np.log(np.exp(logits).sum(axis=-1)) - np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    found = task.metrics(jnp.asarray(logits), batch)
    np.testing.assert_allclose(found["loss"], [nats[0][counted[0]].sum(), counted[0].sum()], rtol=1e-5)
    wrong = logits.argmax(axis=-1) != labels
    np.testing.assert_allclose(found["frame_error"], [wrong[0][counted[0]].sum(), counted[0].sum()])
    np.testing.assert_allclose(task.loss(jnp.asarray(logits), batch), nats[counted].mean(), rtol=1e-5)


@pytest.mark.slow
def test_a_network_learns_the_tones(folder):
    task = Phones(folder=str(folder), context=3, frames=FRAMES)
    model = MLP(input_shape=(3, 26), widths=(16,), outputs=39)
    arrays = task.load().arrays
    train = jax.device_put(arrays["train"])
    parameters = model.init(jax.random.key(0), *task.inputs(train))
    adam = optax.adam(1e-2)

    @jax.jit
    def step(parameters, state, batch):
        gradients = jax.grad(lambda own: task.loss(model.apply(own, *task.inputs(batch)), batch))(parameters)
        updates, state = adam.update(gradients, state)
        return optax.apply_updates(parameters, updates), state

    def error(parameters):
        batch = {name: jnp.asarray(rows[0]) for name, rows in task.evaluation_batches(arrays["validation"], 2).items()}
        wrong, frames = task.metrics(model.apply(parameters, *task.inputs(batch)), batch)["frame_error"]
        return float(wrong / frames)

    assert error(parameters) > 0.5
    state = adam.init(parameters)
    for number in range(40):
        parameters, state = step(parameters, state, task.batch(train, 0, number, 4))
    assert error(parameters) < 0.1


FIRST = "TRAIN/DR1/MAAA0/SX100"
SAMPLES = np.zeros(900)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("WAV", b"ID3", "begins with b'ID3': it must be a NIST SPHERE or RIFF"),
        ("WAV", b"NIST_1A\nabc", r"begins with b'NIST_1A\nabc'"),
        (
            "WAV",
            sphere(SAMPLES, sample_coding="-s26 pcm,embedded-shorten-v2.00"),
            "has sample_coding pcm,embedded-shorten-v2.00: it must be pcm",
        ),
        ("WAV", sphere(SAMPLES, sample_rate="-i 8000"), "has sample_rate 8000: it must be 16000"),
        ("WAV", sphere(SAMPLES, channel_count="-i 2"), "has channel_count 2: it must be 1"),
        ("WAV", sphere(SAMPLES, sample_byte_format="-s1 1"), "has sample_byte_format 1: it must be 01 or 10"),
        ("WAV", sphere(SAMPLES)[:-2], "has 899 samples, but its sample_count is 900"),
        ("WAV", b"RIFF", "cannot be read (it is truncated)"),
        ("WAV", b"RIFF\x24\0\0\0WAVEjunk\xff\xff\0\0" + bytes(20), "cannot be read"),
        ("PHN", b"0 900 aa\n900 950 \xe4\n", "has the line '900 950 "),
        ("PHN", b"0 900\n", "has the line '0 900'"),
        ("PHN", b"0 -9 aa\n", "has the line '0 -9 aa'"),
    ],
    ids=["form", "size", "shortened", "rate", "channels", "bytes", "cut", "riff", "chunk", "phone", "fields", "number"],
)
def test_a_bad_file_is_refused_in_a_sentence(folder, name, content, sentence):
    path = folder / f"{FIRST}.{name}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path} {sentence}')}") as refused:
        timit(str(folder))
    assert "\n" not in str(refused.value)


def test_other_rates_of_riff_are_refused(folder):
    riff(path := folder / f"{FIRST}.WAV", SAMPLES, rate=8000)
    with pytest.raises(
        ValueError, match=re.escape(f"{path} has channels, bits and rate (1, 16, 8000): they must be (1,")
    ):
        timit(str(folder))
    riff(path, SAMPLES)
    path.write_bytes(path.read_bytes()[:-2])
    with refused("SX100.WAV", 899, 900):
        timit(str(folder))


def test_a_folder_that_lacks_something_is_refused(folder):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        timit(str(folder / "nowhere"))
    with refused("train", 0, 4):
        timit(str(folder / "TRAIN"))
    (folder / f"{FIRST}.WAV").unlink()
    with refused("SX100.PHN", "SX100.WAV", error=FileNotFoundError):
        timit(str(folder))


def test_bad_fields_and_models_are_refused():
    for fields, sentence in (
        ({}, "folder is empty"),
        ({"folder": "f", "softmax": 38}, "softmax must be at least 39"),
        ({"folder": "f", "mean_subtractions": 3}, "mean_subtractions must be 1 or 2"),
        ({"folder": "f", "context": 2}, "context must be an odd number"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Phones(**fields)
    batch = {"label": jnp.zeros((1, 4), jnp.int32), "weight": jnp.ones(1)}
    with pytest.raises(ValueError, match=r"the task needs \(1, 4, 39\)"):
        Phones(folder="f", frames=4).metrics(jnp.zeros((1, 4, 40)), batch)


@pytest.mark.parametrize("budget", ["smoke", "short", "full"])
def test_the_figure_asks_for_digits_where_there_is_no_timit(budget, folder):
    for figure, name, outputs in (
        (Frames(), DIGITS, 10),
        (Frames(timit=str(folder)), TIMIT, 39),
        (Frames(timit=str(folder), softmax=2048, mean_subtractions=2), TIMIT, 2048),
    ):
        (experiment,) = figure.experiments(budget)
        experiment.check()
        assert (experiment.name, experiment.model.outputs) == (name, outputs)
    assert experiment.task.mean_subtractions == 2


def test_the_full_budget_is_the_papers(folder):
    (experiment,) = Frames(timit=str(folder)).experiments("full")
    assert (experiment.model.widths, experiment.model.dropout) == ((2048,) * 5, 0.5)
    assert experiment.learning_rates == (1e-3, 1e-4, 1e-5)
    assert (experiment.settings.steps * 64 / 3696 // 1, len(experiment.seeds)) == (30, 5)


def test_choices_about_timit_need_it():
    with pytest.raises(ValueError, match="softmax and mean_subtractions apply to TIMIT"):
        Frames(softmax=2048)


def test_a_folder_without_timit_is_refused(tmp_path):
    with refused("frames.timit"):
        Frames(timit=str(tmp_path))
