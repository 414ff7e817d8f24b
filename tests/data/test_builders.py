"""Sets of TFDS prepared without TensorFlow: the content is the published one, and what is not is refused by name."""

import errno
import gzip
import io
import os
import tarfile
import urllib.error
import urllib.request
import wave
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from refusals import refused

from lab.data import images as images_module
from lab.data import kept, registry
from lab.data import speech as speech_module
from lab.data.dataset import SPLITS
from lab.data.images import images, in_range, stacked
from lab.data.sets import eltec_eng, mnist, spoken_digit, tweet_pos
from lab.data.sets.tweet_pos import TAGS
from lab.data.sets.wikitext2 import WikiText2
from lab.data.speech import spoken_digits
from lab.data.text.corpora import corpus
from lab.data.text.tweets import UNKNOWN, tweets, vocabulary
from lab.data.tfds import prepared, stock
from lab.files import checksums
from lab.tasks.language import CausalLanguage

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "downloads"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the real data are not beside the repository")
needs_tensorflow = pytest.mark.skipif(not stock.has_tensorflow(), reason="TensorFlow is not installed")


@pytest.fixture
def real(tmp_path):
    """A data directory whose downloads are the real ones, linked."""
    (tmp_path / "downloads").mkdir()
    for folder in SHARED.iterdir():
        (tmp_path / "downloads" / folder.name).symlink_to(folder)
    return tmp_path


def cache(directory, builder_class, monkeypatch, contents):
    """Puts contents, by url, into the download cache and registers their checksums with the builder."""
    registered = {
        url: prepared.UrlInfo(len(content), checksums.of_bytes(content), Path(url).name)
        for url, content in contents.items()
    }
    monkeypatch.setattr(builder_class, "url_infos", registered)
    for url, content in contents.items():
        path = prepared.cache_path(builder_class, url, directory / "downloads")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# Images


def idx(array):
    header = np.array([0x0800 + array.ndim, *array.shape], ">i4").tobytes()
    return gzip.compress(header + array.tobytes())


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A data directory with 60 and 20 images of MNIST's format, each with its number in two pixels."""
    contents = {}
    for word, n in (("train", 60), ("t10k", 20)):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 28, 28), np.uint8)
        pixels[:, 0, 0] = np.arange(n)
        contents[f"{mnist.MNIST.URL}{word}-images-idx3-ubyte.gz"] = idx(pixels)
        contents[f"{mnist.MNIST.URL}{word}-labels-idx1-ubyte.gz"] = idx((np.arange(n) % 10).astype(np.uint8))
    cache(tmp_path, mnist.MNIST, monkeypatch, contents)
    monkeypatch.delattr(mnist.MNIST, "ARRAYS_SHA256")
    return tmp_path


def test_images_are_their_source_and_validation_is_the_end_of_train(small_mnist):
    dataset = images("mnist", small_mnist)
    rows = {split: (fields["image"], fields["label"]) for split, fields in dataset.arrays.items()}
    assert {split: image.shape for split, (image, _) in rows.items()} == {
        "train": (54, 28, 28, 1),
        "validation": (6, 28, 28, 1),
        "test": (20, 28, 28, 1),
    }
    assert {image.dtype.name for image, _ in rows.values()} == {"uint8"}
    assert {label.dtype.name for _, label in rows.values()} == {"int32"}
    assert all((image[:, 0, 0, 0] % 10 == label).all() for image, label in rows.values())
    numbers = np.concatenate([rows["train"][0], rows["validation"][0]])[:, 0, 0, 0]
    assert sorted(numbers) == list(range(60))
    source = np.random.default_rng(60).integers(0, 256, (60, 28, 28), np.uint8)
    image = rows["train"][0][3, :, :, 0]
    assert (image[1:] == source[image[0, 0], 1:]).all()
    assert dataset.provenance["taken"] == {"train": "train[:54]", "validation": "train[54:60]", "test": "test"}
    assert dataset.provenance["sha256"] == checksums.of_splits(dataset.arrays)
    published = tfds.builder("mnist", data_dir=small_mnist).as_data_source("train[54:60]")
    assert [int(row["label"]) for row in published] == rows["validation"][1].tolist()


def test_images_are_decoded_once(small_mnist, monkeypatch):
    first = images("mnist", small_mnist)
    monkeypatch.setattr(images_module, "_decoded", None)
    second = images("mnist", small_mnist)
    assert first.provenance == second.provenance
    assert (first.arrays["test"]["image"] == second.arrays["test"]["image"]).all()


def test_kept_arrays_that_are_damaged_or_others_are_refused(small_mnist, monkeypatch):
    images("mnist", small_mnist)
    (path,) = small_mnist.rglob("arrays.npz")
    monkeypatch.setattr(mnist.MNIST, "ARRAYS_SHA256", "0" * 64, raising=False)
    with refused("sha256"):
        images("mnist", small_mnist)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged .*; remove the file"):
        images("mnist", small_mnist)


def test_images_of_several_sizes_are_refused_by_number():
    rows = [np.zeros((4, 4, 1), np.uint8)] * 3 + [np.zeros((4, 5, 1), np.uint8)]
    with refused("cats", "train", 3, (4, 5, 1), (4, 4, 1)):
        stacked(rows, "cats, train")
    assert stacked(rows[:3], "cats, train").shape == (3, 4, 4, 1)


@pytest.mark.parametrize("wrong", [-1, 10])
def test_a_label_out_of_range_is_refused_by_number(wrong):
    with refused("labels", 0, 9, wrong):
        in_range([0, 9, wrong], 10, "cats, train")


def test_an_unknown_image_set_names_the_nearest():
    with pytest.raises(ValueError, match=r"'mnits'.*; did you mean 'mnist'"):
        images("mnits")


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "builder"), [("mnist", mnist.MNIST), ("fashion_mnist", mnist.FashionMNIST)])
def test_mnist_is_the_registered_one(name, builder, real):
    dataset = images(name, real)
    assert dataset.provenance["splits"]["validation"]["examples"] == 5000
    (path,) = (SHARED / name).glob("*train-labels*.gz")
    published = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=8)
    labels = np.concatenate([dataset.arrays[split]["label"] for split in ("train", "validation")])
    assert (np.bincount(labels) == np.bincount(published)).all()


# Texts


@needs_data
def test_wikitext2_is_the_published_one(real):
    dataset = corpus("wikitext2", real)
    assert {split: facts["sha256"] for split, facts in dataset.provenance["splits"].items()} == WikiText2.SHA256
    assert dataset.arrays["validation"]["tokens"].tobytes().startswith(b" \n = Homarus gammarus = \n")


@needs_data
@pytest.mark.slow
def test_eltec_eng_is_the_registered_one(real):
    dataset = corpus("eltec_eng", real)
    assert [facts["bytes"] for facts in dataset.provenance["splits"].values()] == [56_232_180, 2_649_829, 2_922_595]


@pytest.mark.parametrize(("name", "file"), [("wikitext2", "wiki.train.tokens"), ("tweet_pos", "tweets-train.txt")])
def test_offline_a_sentence_says_where_to_get_a_set_and_where_to_put_it(name, file, tmp_path, monkeypatch):
    def unreachable(request, timeout):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    place = tmp_path / "downloads" / "manual" / name / file
    with refused("https://raw.githubusercontent.com", place, error=FileNotFoundError):
        corpus(name, tmp_path) if name == "wikitext2" else tweets(tmp_path)


def novel(title, text):
    return (
        f'<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><p>not this</p></teiHeader><text><front><head>{title}'
        f"</head></front><body>{text}</body><back><p>nor this</p></back></text></TEI>"
    ).encode()


def test_the_text_of_a_novel_is_its_paragraphs_without_markup_and_notes():
    text = "<div><p>Two\n  <hi>words</hi><note><p>a note</p></note>,</p><quote>cafe\u0301<p>inner</p>tail</quote></div>"
    assert eltec_eng.plain_text(novel("Title", text)) == "Title\n\nTwo words,\n\ncafé\n\ninner\n\ntail\n\n\n".encode()


def test_novels_are_joined_in_the_order_of_the_table(tmp_path, monkeypatch):
    table = [{"novel": f"N{index}", "split": SPLITS[index % 3]} for index in range(6)]
    contents = {eltec_eng._url(row["novel"]): novel(row["novel"], "<p>Once.</p>") for row in table}
    monkeypatch.setattr(eltec_eng, "NOVELS", table)
    texts = {
        split: b"".join(b"%b\n\nOnce.\n\n\n" % row["novel"].encode() for row in table if row["split"] == split)
        for split in SPLITS
    }
    monkeypatch.setattr(eltec_eng.EltecEng, "SHA256", {split: checksums.of_bytes(texts[split]) for split in SPLITS})
    cache(tmp_path, eltec_eng.EltecEng, monkeypatch, contents)
    dataset = corpus("eltec_eng", tmp_path)
    assert {split: fields["tokens"].tobytes() for split, fields in dataset.arrays.items()} == texts
    assert texts["train"].startswith(b"N0\n\nOnce.\n\n\nN3")


def test_the_table_of_novels_is_complete():
    splits = [row["split"] for row in eltec_eng.NOVELS]
    assert [splits.count(split) for split in SPLITS] == [84, 5, 5]
    assert all(len(row["sha256"]) == 64 for row in eltec_eng.NOVELS)


@needs_data
@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_a_damaged_file_put_by_hand_is_refused_and_never_used(suffix, tmp_path):
    folder = tmp_path / "downloads" / "manual" / "wikitext2"
    folder.mkdir(parents=True)
    for source in (SHARED / "manual" / "wikitext2").iterdir():
        (folder / source.name).symlink_to(source)
    path = folder / f"wiki.valid.tokens{suffix}"
    path.unlink(missing_ok=True)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=rf"{path} .*; remove the file"):
        corpus("wikitext2", tmp_path)
    assert not list((tmp_path / "wikitext2").glob("*"))


# Tweets and speech


@needs_data
def test_tweets_are_the_published_words_in_their_order(real):
    dataset = tweets(real)
    words = vocabulary(real)
    known_words = set(words)
    assert len(words) == dataset.provenance["vocabulary"] == 3941
    assert words[UNKNOWN] == "<unknown>"
    assert [fields["word"].size for fields in dataset.arrays.values()] == [14_619, 4823, 7152]
    assert [fields["tweet"][-1] + 1 for fields in dataset.arrays.values()] == [1000, 327, 500]
    for split, info in tweet_pos.FILES.items():
        fields = dataset.arrays[split]
        tweet, lines = 0, []
        for line in (SHARED / "manual" / "tweet_pos" / info.filename).read_text().split("\n"):
            tweet += not line
            lines += [(*line.split("\t"), tweet)] if line else []
        known = [word if word in known_words else words[UNKNOWN] for word, _, _ in lines]
        assert [words[index] for index in fields["word"]] == known
        assert [TAGS[index] for index in fields["tag"]] == [tag for _, tag, _ in lines]
        assert fields["tweet"].tolist() == [index for _, _, index in lines]
    assert not (dataset.arrays["train"]["word"] == UNKNOWN).any()
    assert round(float((dataset.arrays["test"]["word"] == UNKNOWN).mean()), 3) == 0.193


def test_tweets_that_are_not_the_registered_ones_are_refused(tmp_path, monkeypatch):
    contents = dict.fromkeys(tweet_pos.REGISTERED, b"hi\t!\n\nyou\tO\n\n")
    cache(tmp_path, tweet_pos.TweetPos, monkeypatch, contents)
    with refused("sha256"):
        tweets(tmp_path)


def recordings(count):
    """An archive of `count` recordings of every digit by two speakers; the sample value tells which."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for digit in range(10):
            for who, speaker in enumerate(spoken_digit.SPEAKERS[:2]):
                for number in range(count):
                    sound = io.BytesIO()
                    with wave.open(sound, "wb") as file:
                        file.setparams((1, 2, speech_module.RATE, 0, "NONE", ""))
                        file.writeframes(np.full(5 + number, -(1000 * who + 10 * digit + number), "<i2").tobytes())
                    member = tarfile.TarInfo(f"free/recordings/{digit}_{speaker}_{number}.wav")
                    member.size = sound.tell()
                    sound.seek(0)
                    archive.addfile(member, sound)
    return content.getvalue()


@pytest.mark.parametrize("registered", [True, False])
def test_recordings_are_split_by_number_and_the_archive_is_recorded(registered, tmp_path, monkeypatch):
    content = recordings(12)
    cache(tmp_path, spoken_digit.SpokenDigit, monkeypatch, {spoken_digit.URL: content})
    if not registered:
        monkeypatch.setattr(spoken_digit.SpokenDigit, "ALSO", (checksums.of_bytes(content),))
        (path,) = (tmp_path / "downloads" / "spoken_digit").iterdir()
        other = spoken_digit.REGISTERED
        monkeypatch.setattr(spoken_digit.SpokenDigit, "url_infos", {spoken_digit.URL: other})
        path.rename(prepared.cache_path(spoken_digit.SpokenDigit, spoken_digit.URL, tmp_path / "downloads"))
    monkeypatch.setattr(checksums, "of_splits", lambda splits: speech_module.SHA256)
    dataset = spoken_digits(tmp_path)
    assert dataset.provenance["archive_sha256"] == checksums.of_bytes(content)
    assert {split: fields["audio"].shape for split, fields in dataset.arrays.items()} == {
        "train": (40, 16),
        "validation": (100, 16),
        "test": (100, 16),
    }
    for split, numbers in (("train", {10, 11}), ("validation", {5, 6, 7, 8, 9}), ("test", {0, 1, 2, 3, 4})):
        fields = dataset.arrays[split]
        number = fields["length"] - 5
        assert set(number.tolist()) == numbers
        assert (fields["audio"][:, 0] == -(1000 * fields["speaker"] + 10 * fields["label"] + number)).all()
        assert ((fields["audio"] != 0).sum(axis=1) <= fields["length"]).all()


@pytest.mark.slow
@needs_data
def test_the_spoken_digits_are_the_registered_ones(real):
    dataset = spoken_digits(real)
    assert dataset.provenance["archive_sha256"] in (spoken_digit.DATA_ONLY, spoken_digit.REGISTERED.checksum)
    assert [len(fields["label"]) for fields in dataset.arrays.values()] == [2000, 250, 250]
    assert all((np.bincount(fields["label"]) == len(fields["label"]) // 10).all() for fields in dataset.arrays.values())
    assert max(fields["length"].max() for fields in dataset.arrays.values()) == 18_262


def test_another_archive_is_refused(tmp_path):
    path = prepared.cache_path(spoken_digit.SpokenDigit, spoken_digit.URL, tmp_path / "downloads")
    path.parent.mkdir(parents=True)
    path.write_bytes(recordings(1))
    with refused(spoken_digit.REGISTERED.checksum, spoken_digit.DATA_ONLY):
        spoken_digits(tmp_path)


# Stock sets, by builders of TFDS that happen to need no TensorFlow


def stock_builder(builder_name, features, splits, configurations=()):
    """A builder that TFDS knows by its name: features by name, examples by split."""

    class Builder(tfds.core.GeneratorBasedBuilder):
        name = builder_name
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name, version="1.0.0") for name in configurations]

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(rows) for split, rows in splits.items()}

        def _generate_examples(self, rows):
            yield from enumerate(rows)

    return Builder


def pictures(widths):
    """An example a width, with labels that count up to 3 and start again."""
    return [
        {"image": Image.new("RGB", (width, 6), (1, 2, 3)), "coarse_label": 1, "label": index % 4, "id": "x"}
        for index, width in enumerate(widths)
    ]


TEXT = tfds.features.Text()
PICTURE = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "coarse_label": tfds.features.ClassLabel(num_classes=2),
    "label": tfds.features.ClassLabel(num_classes=4),
    "id": TEXT,
}
DOCUMENTS = stock_builder(
    "ablation_documents",
    {"title": TEXT, "text": TEXT},
    {"train": [{"title": "no", "text": f"d{index}"} for index in range(30)]},
)
stock_builder("ablation_few", {"text": TEXT}, {"train": [{"text": "a"}] * 9})
stock_builder("ablation_untrained", {"text": TEXT}, {"test": [{"text": "a"}]})
stock_builder(
    "ablation_questions",
    {"question": TEXT, "answer": TEXT, "id": tfds.features.Scalar(np.int32)},
    {split: [{"question": f"{split}?", "answer": "é", "id": 0}] * 2 for split in SPLITS},
    configurations=["short"],
)
stock_builder("ablation_pictures", PICTURE, {"train": pictures([5] * 20), "test": pictures([5] * 20)})
DEEP = {**PICTURE, "image": tfds.features.Image(shape=(2, 2, 1), dtype=np.uint16)}
DEEP_EXAMPLE = {"image": Image.new("I;16", (2, 2)), "coarse_label": 0, "label": 0, "id": "x"}
stock_builder("ablation_deep_pictures", DEEP, {"train": [DEEP_EXAMPLE] * 20})
stock_builder("ablation_mixed_pictures", PICTURE, {"train": pictures([5, 5, 6] + [5] * 17)})


@pytest.fixture
def tensorflow(monkeypatch):
    """As if TensorFlow were installed; the builders above do without it."""
    monkeypatch.setattr(stock, "has_tensorflow", lambda: True)


def text_of(dataset):
    return {split: fields["tokens"].tobytes() for split, fields in dataset.arrays.items()}


def test_any_text_set_goes_by_its_name(tensorflow, tmp_path):
    dataset = corpus("ablation_documents", tmp_path)
    assert text_of(dataset) == {
        "train": b"\n".join(b"d%d" % index for index in range(24)),
        "validation": b"d24\nd25\nd26",
        "test": b"d27\nd28\nd29",
    }
    assert dataset.provenance["taken"]["validation"] == "train[24:27]"


def test_without_a_text_feature_all_texts_of_an_example_are_taken(tensorflow, tmp_path):
    dataset = corpus("tfds:ablation_questions/short:1.0.0", tmp_path)
    assert text_of(dataset)["test"] == "é\ntest?\né\ntest?".encode()
    assert dataset.provenance["taken"] == {split: split for split in SPLITS}


def test_of_a_long_split_the_first_documents_are_taken(tensorflow, tmp_path, monkeypatch):
    monkeypatch.setattr(stock, "MAX_TEXT_BYTES", 12)
    assert text_of(corpus("ablation_documents", tmp_path))["train"] == b"d0\nd1\nd2\nd3"


def test_any_image_set_goes_by_its_name(tensorflow, tmp_path):
    dataset = images("ablation_pictures", tmp_path)
    assert {split: fields["image"].shape for split, fields in dataset.arrays.items()} == {
        "train": (18, 6, 5, 3),
        "validation": (2, 6, 5, 3),
        "test": (20, 6, 5, 3),
    }
    assert dataset.arrays["test"]["label"].tolist() == [index % 4 for index in range(20)]
    assert (dataset.arrays["test"]["image"] == np.array([1, 2, 3])).all()


def test_a_set_with_images_of_several_sizes_is_refused(tensorflow, tmp_path):
    with refused("ablation_mixed_pictures", "train", "size"):
        images("ablation_mixed_pictures", tmp_path)


def test_images_of_another_depth_are_refused(tensorflow, tmp_path):
    with refused("ablation_deep_pictures", "uint16", 4, 1):
        images("ablation_deep_pictures", tmp_path)


def test_a_set_of_another_kind_is_refused(tensorflow, tmp_path):
    with pytest.raises(ValueError, match="'ablation_documents' must have one image"):
        images("ablation_documents", tmp_path)


def test_a_set_without_train_is_refused(tensorflow, tmp_path):
    with refused("ablation_untrained", "train", "test"):
        corpus("ablation_untrained", tmp_path)


def test_a_set_too_small_to_be_cut_is_refused(tensorflow, tmp_path):
    with refused("ablation_few", 9):
        corpus("ablation_few", tmp_path)


def test_a_prepared_set_is_read_without_tensorflow_and_another_says_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(stock, "has_tensorflow", lambda: False)
    with refused("TensorFlow", "activation-ablations[tf]"):
        corpus("ablation_documents", tmp_path)
    monkeypatch.setattr(stock, "has_tensorflow", lambda: True)
    first = corpus("ablation_documents", tmp_path)
    monkeypatch.setattr(stock, "has_tensorflow", lambda: False)
    assert corpus("ablation_documents", tmp_path).provenance == first.provenance


def test_a_missing_library_of_a_builder_is_named(tensorflow, tmp_path, monkeypatch):
    def generate(self, dl_manager):
        raise ModuleNotFoundError("No module named 'apache_beam'", name="apache_beam")

    monkeypatch.setattr(DOCUMENTS, "_split_generators", generate)
    with refused("ablation_documents", "apache_beam"):
        corpus("ablation_documents", tmp_path)


def test_an_unknown_configuration_or_version_names_what_there_is(tmp_path):
    for name in ("ablation_questions/long", "ablation_questions/short:9.0.0"):
        with refused("ablation_questions", "short"):
            corpus(name, tmp_path)


def test_a_damaged_download_of_a_stock_set_is_refused(tensorflow, tmp_path, monkeypatch):
    cache(tmp_path, DOCUMENTS, monkeypatch, {"http://localhost/a.txt": b"right"})
    (path,) = (tmp_path / "downloads" / "ablation_documents").iterdir()
    path.write_bytes(b"wrong")
    with refused(path, "sha256"):
        corpus("ablation_documents", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"save http://localhost/a.txt as {path}"):
        corpus("ablation_documents", tmp_path)


@needs_tensorflow
@needs_data
@pytest.mark.slow
def test_the_stock_builder_prepares_the_same_text(real):
    (real / "ours").mkdir()
    (real / "ours" / "downloads").symlink_to(real / "downloads")
    assert text_of(corpus("tfds:tiny_shakespeare", real)) == text_of(corpus("tiny_shakespeare", real / "ours"))


@needs_tensorflow
@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_stock_builder_prepares_the_same_images(name, real):
    assert images(f"tfds:{name}", real).provenance["sha256"] == registry.builder(name).ARRAYS_SHA256


# Disks


def test_a_full_disk_names_the_folder_and_leaves_nothing_half_prepared(tensorflow, tmp_path, monkeypatch):
    adapter = tfds.core.file_adapters.ArrayRecordFileAdapter
    write = adapter.write_examples

    def full(path, iterator):
        write(path, list(iterator)[:1])
        raise RuntimeError(f"write() failed: {os.strerror(errno.ENOSPC)}; writing {path}")

    monkeypatch.setattr(adapter, "write_examples", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        corpus("ablation_documents", tmp_path)
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(tmp_path)
    monkeypatch.setattr(adapter, "write_examples", write)
    assert text_of(corpus("ablation_documents", tmp_path))["test"] == b"d27\nd28\nd29"


@pytest.mark.parametrize("keep", [kept.values, kept.arrays])
def test_what_cannot_be_kept_is_made_each_time(keep, tmp_path):
    (tmp_path / "file").write_text("a file where a folder is needed")
    for _ in range(2):
        assert keep(tmp_path / "file" / "kept", lambda: {"value": np.float64(0.5)}) == {"value": 0.5}


@pytest.mark.parametrize("name", ["HOME", "TFDS_DATA_DIR"])
def test_a_data_directory_that_cannot_be_written_is_refused_with_the_variable_that_gives_another(
    name, tmp_path, monkeypatch
):
    place = tmp_path / "file.txt"
    place.write_text("a file where a folder is needed")
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv(name, str(place))
    own_text = CausalLanguage(f"text:{place}", tokenizer="bpe", vocabulary=300)
    for prepare in (lambda: corpus("stdlib"), own_text.load):
        with pytest.raises(OSError, match="TFDS_DATA_DIR") as error:
            prepare()
        assert str(place) in str(error.value)


def test_without_a_home_directory_the_variable_is_asked_for(monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(FileNotFoundError, match="TFDS_DATA_DIR"):
        kept.data_directory(None)


def test_kept_values_are_computed_once_and_again_when_damaged(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"value": 0.5}

    path = tmp_path / "values.json"
    assert [kept.values(path, make) for _ in range(3)] == [{"value": 0.5}] * 3
    assert len(calls) == 1
    path.write_text(path.read_text()[:5])
    assert kept.values(path, make) == {"value": 0.5}
    assert len(calls) == 2


def test_arrays_of_another_name_type_or_shape_have_another_checksum():
    zeros = np.zeros((2, 3), np.int32)
    sums = {
        checksums.of_arrays(arrays)
        for arrays in ({"a": zeros}, {"b": zeros}, {"a": zeros.T}, {"a": zeros.astype(np.uint32)}, {"a": zeros + 1})
    }
    assert len(sums) == 5
    assert checksums.of_arrays({"a": zeros, "b": zeros + 1}) == checksums.of_arrays({"b": zeros + 1, "a": zeros})
