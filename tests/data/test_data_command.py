"""`ablations data`: what there is, preparing, checking, and one sentence for whatever is wrong."""

import sys
from pathlib import Path
from typing import ClassVar

import pytest
import tensorflow_datasets as tfds
from refusals import assert_names, refused

import ablations
from lab.data import catalogue, registry
from lab.data.dataset import SPLITS
from lab.data.sets import tiny_shakespeare
from lab.data.tfds import prepared, published
from lab.files import checksums
from lab.tasks.language import CausalLanguage

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "downloads"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the real data are not beside the repository")


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def command(directory, capsys):
    """Runs `ablations data`; gives the exit code, the lines printed, and the sentence on stderr."""

    def run(*arguments):
        code = ablations.main(["data", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.strip()

    return run


@pytest.fixture
def downloaded(directory):
    """The cached file of tiny_shakespeare in the data directory."""
    path = prepared.cache_path(tiny_shakespeare.TinyShakespeare, tiny_shakespeare.URL, directory / "downloads")
    path.parent.mkdir(parents=True)
    (source,) = (SHARED / "tiny_shakespeare").glob("*.txt")
    path.write_bytes(source.read_bytes())
    return path


def test_the_list_has_every_set_with_licence_and_sizes(command):
    code, (head, *rows), err = command("list")
    assert (code, err) == (0, "")
    assert head.split() == ["name", "kind", "licence", "download", "train", "validation", "test", "unit", "prepared"]
    assert [row.split()[0] for row in rows] == list(registry.SETS)
    (mnist,) = (row for row in rows if row.split()[0] == "mnist")
    assert mnist.split() == [
        *("mnist", "image", "CC", "BY-SA", "3.0", "11,594,722", "55,000", "5,000", "10,000", "images", "no"),
    ]


class Fables(published.PublishedText, skip_registration=True):
    """A corpus as a file of `lab.data.sets` would have it."""

    name = "fables"
    VERSION = tfds.core.Version("1.0.0")
    TEXTS: ClassVar = {split: f"the fox and the {split} grapes\n".encode() * 9 for split in SPLITS}
    SHA256: ClassVar = {split: checksums.of_bytes(text) for split, text in TEXTS.items()}

    def texts(self, dl_manager):
        return self.TEXTS


def test_a_corpus_needs_one_file_and_one_line(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "lab.data.sets.fables", sys.modules[__name__])
    monkeypatch.setitem(registry.SETS, "fables", registry.Entry("text", "public domain", "fables.Fables", (9, 8, 7)))
    (row,) = (row for row in command("list")[1] if row.split()[0] == "fables")
    assert row.split()[1:] == ["text", "public", "domain", "0", "9", "8", "7", "bytes", "no"]
    code, prepared_lines, _ = command("prepare", "fables")
    assert code == 0
    assert prepared_lines[0] == "fables, version 1.0.0, licence public domain"
    assert prepared_lines[1].split()[:2] == ["train", Fables.SHA256["train"]]
    assert command("check", "fables") == (0, prepared_lines, "")
    assert CausalLanguage("fables", context=4).load().arrays["test"]["tokens"].tobytes() == Fables.TEXTS["test"]
    assert "fables" in command("check", "fable")[2]
    with refused("'fable'", "'fables'"):
        CausalLanguage("fable")


@needs_data
def test_prepare_and_check_show_files_splits_and_predictors(command, downloaded):
    code, lines, err = command("prepare", "tiny_shakespeare")
    assert (code, err) == (0, "")
    sha256 = tiny_shakespeare.SHA256
    assert lines[:5] == [
        "tiny_shakespeare, version 1.0.0, licence public domain",
        f"file {tiny_shakespeare.REGISTERED.checksum} {downloaded}",
        f"train {sha256['train']} 1,003,854 bytes",
        f"validation {sha256['validation']} 55,770 bytes",
        f"test {sha256['test']} 55,770 bytes",
    ]
    assert "reference predictor bigram 3.5686" in lines
    assert command("check", "tiny_shakespeare") == (0, lines, "")
    (row,) = (row for row in catalogue.listed() if row["name"] == "tiny_shakespeare")
    assert row["prepared"] is True


@needs_data
def test_check_finds_a_cached_file_that_was_damaged_after_preparing(command, downloaded):
    command("prepare", "tiny_shakespeare")
    downloaded.write_bytes(downloaded.read_bytes()[:-1])
    code, lines, err = command("check", "tiny_shakespeare")
    assert (code, lines) == (2, [])
    assert f"{downloaded} has sha256" in err
    assert err.endswith("is registered; remove the file")


@needs_data
@pytest.mark.parametrize("name", ["tiny_shakespeare", "tweet_pos", "wikitext2"])
def test_the_sizes_of_the_list_are_those_of_the_sets(name, directory):
    (directory / "downloads").mkdir(parents=True)
    for folder in SHARED.iterdir():
        (directory / "downloads" / folder.name).symlink_to(folder)
    splits = catalogue.load(name).provenance["splits"].values()
    assert tuple(next(iter(facts.values())) for facts in splits) == registry.SETS[name].sizes


def test_files_of_ones_own_can_be_checked(command, tmp_path):
    (tmp_path / "notes.txt").write_text("one two three\n" * 100)
    code, lines, _ = command("check", f"text:{tmp_path}/*.txt")
    assert code == 0
    assert lines[1].endswith("1,260 bytes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["check", "tiny_shakespeare"],
            ("not prepared", "ablations data prepare tiny_shakespeare"),
        ),
        (["prepare", "tiny_shakespear"], ("'tiny_shakespear'", "'tiny_shakespeare'")),
        (["prepare", "fasion-mnist"], ("'fasion-mnist'", "'fashion_mnist'")),
        (["prepare"], ("prepare NAME", "check NAME")),
        (["list", "mnist"], ("list", "prepare NAME", "check NAME")),
        (["lits"], ("'lits'", "'list'")),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, words, command):
    code, lines, err = command(*arguments)
    assert (code, lines) == (2, [])
    assert_names(err, *words)
