import functools
import glob
import hashlib
import http.server
import json
import os
import platform
import subprocess
import sys
import sysconfig
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from refusals import refused

from lab.data import kept, registry
from lab.data.dataset import SPLITS
from lab.data.sets import stdlib, tiny_shakespeare
from lab.data.text.corpora import check_corpus, corpus
from lab.data.tfds import prepared

SHAKESPEARE = sorted(
    (Path(__file__).resolve().parents[3] / "shared" / "data" / "downloads" / "tiny_shakespeare").glob("*.txt")
)
needs_shakespeare = pytest.mark.skipif(not SHAKESPEARE, reason="tiny_shakespeare is not beside the repository")


@pytest.fixture(scope="module")
def library_directory(tmp_path_factory):
    """A data directory in which the standard library is prepared once for all tests."""
    directory = tmp_path_factory.mktemp("stdlib")
    corpus("stdlib", directory)
    return directory


@pytest.fixture
def cached(tmp_path):
    """A data directory whose download cache has the text of tiny_shakespeare; the file in it."""
    file = tmp_path / "downloads" / "tiny_shakespeare" / SHAKESPEARE[0].name
    file.parent.mkdir(parents=True)
    file.write_bytes(SHAKESPEARE[0].read_bytes())
    return file


@pytest.fixture
def served(tmp_path):
    """A local web server: the url of a file there, and its text."""
    text = b"served over HTTP"
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "text.txt").write_bytes(text)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "www")
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/text.txt", text
        server.shutdown()
        thread.join()


def joined(dataset):
    return b"".join(dataset.arrays[split]["tokens"].tobytes() for split in SPLITS)


def remote_builder(url, sha256):
    registered = {url: tfds.core.download.checksums.UrlInfo(size=16, checksum=sha256, filename="text.txt")}

    class Remote(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "remote"
        VERSION = tfds.core.Version("1.0.0")
        url_infos = registered

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()})
            )

        def _split_generators(self, dl_manager):
            path = prepared.downloaded(self, dl_manager, url)
            return {"train": self._generate_examples(path)}

        def _generate_examples(self, path):
            yield 0, {"text": path.read_bytes()}

    return Remote


# The standard library


@pytest.mark.slow
def test_the_splits_hold_every_file_of_the_library_once(library_directory):
    root = Path(sysconfig.get_paths()["stdlib"])
    wanted = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*.py")
        if not set(path.relative_to(root).parts) & stdlib.LEFT_OUT
        and not path.name.startswith("_sysconfigdata")
        and not any(part.startswith("config-") for part in path.relative_to(root).parts)
    }
    examples = prepared.examples(prepared.prepare(stdlib.PythonStdlib, library_directory))
    found = [(row["path"].decode(), row["text"]) for rows in examples.values() for row in rows]
    assert set(examples) == set(SPLITS)
    assert len(found) == len(wanted)
    assert dict(found) == wanted
    dataset = corpus("stdlib", library_directory)
    assert {split: dataset.arrays[split]["tokens"].size for split in SPLITS} == {
        split: sum(len(row["text"]) for row in rows) for split, rows in examples.items()
    }


def test_tests_and_installed_packages_are_left_out():
    parts = {part for path in stdlib._library() for part in path.split("/")}
    assert not parts & {"test", "tests", "idle_test", "site-packages", "idlelib", "ensurepip", "encodings"}
    assert {"asyncio", "argparse.py", "json"} <= parts


def test_the_recorded_checksums_are_those_of_the_arrays(library_directory):
    dataset = corpus("stdlib", library_directory)
    facts = dataset.provenance
    assert facts == json.loads(json.dumps(facts))
    assert facts["name"] == "stdlib"
    assert facts["python"] == platform.python_version()
    assert facts["sha256"] == hashlib.sha256(joined(dataset)).hexdigest()
    for split in SPLITS:
        text = dataset.arrays[split]["tokens"].tobytes()
        assert facts["splits"][split] == {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}


def test_training_has_nearly_all_of_the_library(library_directory):
    splits = corpus("stdlib", library_directory).provenance["splits"]
    total = sum(split["bytes"] for split in splits.values())
    assert total > 4e6
    assert splits["train"]["bytes"] > 0.8 * total
    assert min(splits["validation"]["bytes"], splits["test"]["bytes"]) > 0.01 * total


def test_preparing_again_elsewhere_gives_the_same_text(library_directory, tmp_path):
    first, second = corpus("stdlib", library_directory), corpus("stdlib", tmp_path)
    assert first.provenance == second.provenance
    assert joined(first) == joined(second)


def test_a_second_load_reads_what_is_prepared(library_directory, monkeypatch):
    monkeypatch.setattr(stdlib.PythonStdlib, "download_and_prepare", None)
    corpus("stdlib", library_directory)


def test_interpreters_and_patched_libraries_do_not_share_a_set(tmp_path, monkeypatch):
    library = {f"{index}.py": b"x = 1\n" * index for index in range(100)}
    monkeypatch.setattr(stdlib, "_library", lambda: library)
    first = corpus("stdlib", tmp_path)
    patched = {**library, "7.py": b"y = 1\n" * 7}
    monkeypatch.setattr(stdlib, "_library", lambda: patched)
    second = corpus("stdlib", tmp_path)
    assert first.provenance["version"] != second.provenance["version"]
    assert b"y = 1" in joined(second)
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert corpus("stdlib", tmp_path).provenance["version"].startswith("py3_99_0_")
    assert len(list((tmp_path / "python_stdlib").iterdir())) == 3


def test_a_prepared_library_that_is_not_this_one_is_refused(tmp_path, monkeypatch):
    library = {f"{index}.py": b"x = 1\n" * index for index in range(100)}
    monkeypatch.setattr(stdlib, "_library", lambda: library)
    corpus("stdlib", tmp_path)
    (prepared_set,) = (tmp_path / "python_stdlib").iterdir()
    patched = dict(library, **{"7.py": b"y = 1\n"})
    monkeypatch.setattr(stdlib, "_library", lambda: patched)
    prepared_set.rename(prepared_set.with_name(f"{prepared_set.name[:-8]}{stdlib._digest(patched)[:8]}"))
    with pytest.raises(ValueError, match="differs from the standard library"):
        corpus("stdlib", tmp_path)


def test_bytes_that_are_not_utf8_survive(tmp_path, monkeypatch):
    texts = [bytes([index, 255, 0]) + b"\r\n" for index in range(100)]
    for index, text in enumerate(texts):
        (tmp_path / f"{index}.py").write_bytes(text)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    assert sorted(joined(corpus("stdlib", tmp_path / "data"))) == sorted(b"".join(texts))


def test_an_interpreter_without_its_source_is_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path / "python311.zip")})
    with refused("python311.zip", 0, ".py", error=FileNotFoundError):
        corpus("stdlib", tmp_path)


# Preparing


def test_the_data_directory_is_read_at_call_time(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert kept.data_directory(None) == tmp_path
    assert kept.data_directory(tmp_path / "own") == tmp_path / "own"
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert kept.data_directory(None) == (Path.home() / "tensorflow_datasets").resolve()


def test_preparing_is_silent(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(stdlib, "_library", lambda: {f"{index}.py": b"x" for index in range(100)})
    corpus("stdlib", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_set_that_was_not_finished_is_prepared_again(tmp_path, monkeypatch):
    library = {f"{index}.py": b"x = 1\n" for index in range(100)}
    monkeypatch.setattr(stdlib, "_library", lambda: library)
    generate = stdlib.PythonStdlib._generate_examples

    def interrupted(self, files):
        yield next(generate(self, files))
        raise KeyboardInterrupt

    monkeypatch.setattr(stdlib.PythonStdlib, "_generate_examples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        corpus("stdlib", tmp_path)
    monkeypatch.setattr(stdlib.PythonStdlib, "_generate_examples", generate)
    assert len(joined(corpus("stdlib", tmp_path))) == 600


PREPARE_AND_COUNT = """
import sys, time
from pathlib import Path
from lab.data.sets import stdlib
directory = Path(sys.argv[1])
stdlib._library = lambda: {f"{index}.py": b"x" for index in range(100)}
generate = stdlib.PythonStdlib._split_generators
def slow(self, dl_manager):
    with (directory / "prepared").open("a") as file:
        file.write("once ")
    time.sleep(2)
    return generate(self, dl_manager)
stdlib.PythonStdlib._split_generators = slow
(directory / f"ready{sys.argv[2]}").touch()
while len(list(directory.glob("ready*"))) < 2:
    time.sleep(0.01)
print(sum(map(len, stdlib.PythonStdlib.documents(directory)[0]["train"])))
"""


@pytest.mark.slow
def test_two_processes_prepare_a_set_once(tmp_path):
    commands = [[sys.executable, "-c", PREPARE_AND_COUNT, str(tmp_path), str(index)] for index in range(2)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert (tmp_path / "prepared").read_text() == "once "


def test_a_set_in_a_format_of_tensorflow_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stdlib, "_library", lambda: {f"{index}.py": b"x" for index in range(100)})
    corpus("stdlib", tmp_path)
    (info,) = tmp_path.rglob("dataset_info.json")
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="in a format that only TensorFlow can read"):
        corpus("stdlib", tmp_path)


# Downloads


def test_a_file_is_downloaded_once_and_checked(served, tmp_path):
    url, text = served
    builder = remote_builder(url, hashlib.sha256(text).hexdigest())
    (example,) = prepared.examples(prepared.prepare(builder, tmp_path))["train"]
    assert example == {"text": text}
    (file,) = (tmp_path / "downloads" / "remote").glob("*.txt")
    assert file.read_bytes() == text


def test_offline_without_a_cached_file_says_at_once_what_to_do(tmp_path, monkeypatch):
    asked = []

    def unreachable(request, timeout):
        assert timeout <= 3
        asked.append(request)
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(FileNotFoundError) as error:
        corpus("tiny_shakespeare", tmp_path)
    assert len(asked) == 1  # no second attempt
    (sentence,) = str(error.value).splitlines()
    assert f"save {tiny_shakespeare.URL} as {tmp_path / 'downloads' / 'tiny_shakespeare'}" in sentence


@needs_shakespeare
def test_the_file_may_be_put_where_the_sentence_says(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: (_ for _ in ()).throw(urllib.error.URLError("off")))
    with pytest.raises(FileNotFoundError) as error:
        corpus("tiny_shakespeare", tmp_path)
    place = Path(str(error.value).split(" as ")[1].split(", or set")[0])
    place.parent.mkdir(parents=True)
    place.write_bytes(SHAKESPEARE[0].read_bytes())
    assert len(joined(corpus("tiny_shakespeare", tmp_path))) == 1_115_394


@needs_shakespeare
def test_tiny_shakespeare_is_its_source_split_as_tfds_does(cached, tmp_path):
    dataset = corpus("tiny_shakespeare", tmp_path)
    assert joined(dataset) == cached.read_bytes()
    assert [dataset.arrays[split]["tokens"].size for split in SPLITS] == [1_003_854, 55_770, 55_770]
    assert dataset.provenance["sha256"] == tiny_shakespeare.REGISTERED.checksum
    assert dataset.provenance["version"] == "1.0.0"


@needs_shakespeare
def test_the_stock_name_reads_what_is_prepared(cached, tmp_path):
    dataset = corpus("tiny_shakespeare", tmp_path)
    source = tfds.data_source("tiny_shakespeare", split="test", data_dir=tmp_path, download=False)
    assert source[0]["text"] == dataset.arrays["test"]["tokens"].tobytes()


@needs_shakespeare
def test_a_damaged_cached_file_is_refused(cached, tmp_path):
    cached.write_bytes(cached.read_bytes().replace(b"Citizen", b"citizen", 1))
    with refused(cached, "sha256"):
        corpus("tiny_shakespeare", tmp_path)
    assert not list((tmp_path / "tiny_shakespeare").glob("*"))


def test_a_prepared_set_that_is_not_the_registered_text_is_refused(tmp_path, monkeypatch):
    other = tmp_path / "other.txt"
    other.write_bytes(b"First Citizen:\n" * 100)
    monkeypatch.setattr(prepared, "downloaded", lambda *_: other)
    with refused("sha256"):
        corpus("tiny_shakespeare", tmp_path)


@pytest.mark.parametrize("name", ["stdlib", "tfds:mnist"])
def test_a_set_that_is_not_prepared_leaves_nothing_in_the_temporary_directory(name, tmp_path):
    (tmp_path / "tmp").mkdir()
    code = "import sys; from lab.data import catalogue; catalogue._builder(sys.argv[1], sys.argv[2])"
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    subprocess.run([sys.executable, "-c", code, name, str(tmp_path / "data")], check=True, env=environment)
    assert not list((tmp_path / "tmp").iterdir())


# One's own files


def write_files(directory, texts):
    for index, text in enumerate(texts):
        path = directory / "deep" / f"{index % 2}" / f"{index:03d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    return f"text:{directory}/**/*.txt"


def test_few_files_are_joined_in_order_and_cut_by_position(tmp_path):
    name = write_files(tmp_path, [b"a" * 100, b"b" * 60, "ü".encode() * 20])
    dataset = corpus(name)
    assert joined(dataset) == b"a" * 100 + "ü".encode() * 20 + b"b" * 60
    assert [dataset.arrays[split]["tokens"].size for split in SPLITS] == [180, 10, 10]
    assert dataset.provenance["files"] == 3
    assert dataset.provenance["sha256"] == hashlib.sha256(joined(dataset)).hexdigest()


def test_the_order_in_which_a_file_system_lists_files_does_not_matter(tmp_path, monkeypatch):
    name = write_files(tmp_path, [f"<{index}>".encode() for index in range(9)])
    listed, orders = glob.glob, []
    for reverse in (False, True):
        monkeypatch.setattr(glob, "glob", lambda name, reverse=reverse: sorted(listed(name), reverse=reverse))
        orders.append(joined(corpus(name)))
    assert orders[0] == orders[1]


def test_many_files_are_split_by_file(tmp_path):
    texts = [f"<{index}>".encode() for index in range(40)]
    dataset = corpus(write_files(tmp_path, texts))
    parts = [dataset.arrays[split]["tokens"].tobytes().replace(b"><", b">|<").split(b"|") for split in SPLITS]
    assert [len(part) for part in parts] == [36, 2, 2]
    assert sorted(text for part in parts for text in part) == sorted(texts)


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    name = write_files(tmp_path, [b"fine", b"caf\xe9"])
    with refused("001.txt", "UTF-8", 3):
        corpus(name)


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="matches no file"):
        corpus(f"text:{tmp_path}/*.txt")
    with pytest.raises(ValueError, match="matches 2 files, all of them empty"):
        corpus(write_files(tmp_path, [b"", b""]))


# Names


def test_an_unknown_corpus_names_the_nearest():
    for name in registry.names("text"):
        check_corpus(name)
    with refused("tiny-shakespear", "tiny_shakespeare"):
        corpus("tiny-shakespear")
    with refused("data", "text:", "eltec_eng", "text:PATH"):
        corpus("text:")


def test_arrays_are_bytes(library_directory):
    assert {fields["tokens"].dtype for fields in corpus("stdlib", library_directory).arrays.values()} == {
        np.dtype("uint8")
    }
