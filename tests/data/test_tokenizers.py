import io
import json
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lab.data.dataset import SPLITS, Dataset
from lab.data.text import tokenizers
from lab.data.text.corpora import corpus
from lab.data.text.tokenizers import check_tokenizer, tokenized, vocabulary_size
from lab.tasks.language import CausalLanguage

DOCUMENTS = [
    b"the cat sat on the mat\n",
    b"",
    "ein Käse für 3 € \U0001f600\n".encode(),
    b"\xff\xfe not UTF-8 \xed\xa0\x80 the end",
]
TEXT = b"".join(DOCUMENTS)
VOCABULARY = {"bytes": 0, "characters": 20, "bpe": 300}


def text_of(*documents, name="own"):
    """A corpus whose three splits are these documents."""
    ends = np.cumsum([len(document) for document in documents])
    fields = {"tokens": np.frombuffer(b"".join(documents), np.uint8), "ends": ends}
    return Dataset(dict.fromkeys(SPLITS, fields), {"name": name})


def encoded(name, vocabulary, boundaries, data_dir, *documents):
    return tokenized(text_of(*documents or DOCUMENTS), name, vocabulary, boundaries, data_dir)


def prepared(data_dir):
    (folder,) = (data_dir / "tokens").iterdir()
    return folder


@pytest.fixture
def words(tmp_path):
    """A tokenizer file that lowers letters and drops spaces."""
    known = {"[UNK]": 0, "[SEP]": 5, "the": 1, "cat": 2, "##s": 3}
    tokenizer = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "words.json"))
    return str(tmp_path / "words.json")


@pytest.mark.parametrize("boundaries", [False, True])
@pytest.mark.parametrize("name", ["bytes", "characters", "bpe", "file"])
def test_the_bytes_of_the_tokens_add_up_to_the_text(name, boundaries, tmp_path, words):
    path = words if name == "file" else name
    dataset = encoded(path, VOCABULARY.get(name, 0), boundaries, tmp_path)
    size = vocabulary_size(path, VOCABULARY.get(name, 0), boundaries)
    for split in ("validation", "test"):
        fields = dataset.arrays[split]
        assert fields["tokens"].shape == fields["bytes"].shape
        assert fields["bytes"].sum() == len(TEXT)
        assert fields["tokens"].max() < size
    assert set(dataset.arrays["train"]) == {"tokens"}
    np.testing.assert_array_equal(dataset.arrays["train"]["tokens"], dataset.arrays["test"]["tokens"])


@settings(max_examples=50, deadline=None)
@given(documents=st.lists(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), min_size=1, max_size=4))
def test_the_bytes_of_any_document_add_up(documents):
    for pieces in (documents, [b"".join(documents)]):
        trained = tokenizers._tokenizer("bpe", 260, [TEXT])
        lengths = list(tokenizers._encoded(trained, filter(None, pieces), None, "bytes"))
        assert sum(part.sum() for part in lengths) == len(b"".join(documents))
        assert all((part >= 0).all() for part in lengths)


def test_bytes_are_the_text_itself(tmp_path):
    joined = encoded("bytes", 0, False, tmp_path).arrays["test"]
    assert joined["tokens"].tobytes() == TEXT
    assert (joined["bytes"] == 1).all()
    assert not (tmp_path / "tokens").exists()
    separated = encoded("bytes", 0, True, tmp_path).arrays["test"]
    assert separated["tokens"].dtype == np.uint16
    assert bytes(separated["tokens"][separated["tokens"] < 256].astype(np.uint8)) == TEXT


@pytest.mark.parametrize("name", ["bytes", "characters", "bpe", "file"])
def test_a_boundary_stands_before_each_document_and_nowhere_else(name, tmp_path, words):
    path = words if name == "file" else name
    documents = [b"the cat", b"", b"the <|endoftext|> [SEP]", b"cat"]
    packed = encoded(path, VOCABULARY.get(name, 0), True, tmp_path, *documents).arrays["test"]
    joined = encoded(path, VOCABULARY.get(name, 0), False, tmp_path, *documents).arrays["test"]
    at = packed["tokens"] == tokenizers.boundary_token(path)
    assert at.sum() == 3
    assert at[0]
    np.testing.assert_array_equal(packed["tokens"][~at], joined["tokens"])
    np.testing.assert_array_equal(np.add.reduceat(packed["bytes"], np.flatnonzero(at)), [7, 23, 3])
    assert (packed["bytes"][at] == 0).all()


def test_characters_are_the_most_frequent_ones(tmp_path):
    tokens = encoded("characters", 5, False, tmp_path, b"aaaa bbb cc d").arrays["test"]["tokens"]
    unknown = 0
    np.testing.assert_array_equal(tokens == unknown, [character in "cd" for character in "aaaa bbb cc d"])
    assert set(tokens) == {unknown, 2, 3, 4}  # 1 is the boundary


def test_byte_pairs_are_trained_on_the_training_split_alone(tmp_path):
    text = text_of(b"aaaaaaaa" * 50)
    text.arrays["validation"] = text_of(b"zzzzzzzz" * 50).arrays["test"]
    arrays = tokenized(text, "bpe", 260, False, tmp_path).arrays
    assert arrays["train"]["tokens"].size < 400 / 4
    assert arrays["validation"]["tokens"].size == 400


@pytest.mark.slow
def test_training_is_deterministic(tmp_path):
    text = corpus("stdlib")
    short = text_of(text.arrays["test"]["tokens"][:200_000].tobytes())
    first, second = (tokenized(short, "bpe", 500, True, tmp_path / name) for name in ("first", "second"))
    assert first.provenance == second.provenance
    assert len(first.provenance["tokenizer"]["sha256"]) == 64
    code = (
        "import hashlib, pathlib, sys; from lab.data.text.tokenizers import _tokenizer;"
        "trained = _tokenizer('bpe', 500, [pathlib.Path(sys.argv[1]).read_bytes()]).to_str(pretty=True);"
        "print(hashlib.sha256(trained.encode()).hexdigest())"
    )
    (tmp_path / "text").write_bytes(short.arrays["test"]["tokens"].tobytes())
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "text")], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == first.provenance["tokenizer"]["sha256"]


def test_where_a_document_is_cut_does_not_change_its_tokens(tmp_path, monkeypatch):
    text = Path(tokenizers.__file__).read_bytes()
    whole = encoded("bpe", 400, True, tmp_path / "whole", text, text)
    monkeypatch.setattr(tokenizers, "PIECE", 500)
    monkeypatch.setattr(tokenizers, "PIECES", 3)
    pieces = encoded("bpe", 400, True, tmp_path / "pieces", text, text)
    for split in SPLITS:
        left, right = whole.arrays[split]["tokens"], pieces.arrays[split]["tokens"]
        assert abs(left.size - right.size) < 0.01 * left.size
    assert pieces.arrays["test"]["bytes"].sum() == 2 * len(text)


@pytest.mark.parametrize(
    ("size", "dtype"), [(256, np.uint8), (257, np.uint16), (2**16, np.uint16), (2**16 + 1, np.int32)]
)
def test_tokens_have_the_smallest_type(size, dtype, tmp_path):
    known = {"[UNK]": 0, "a": size - 1}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.save(str(tmp_path / "wide.json"))
    dataset = encoded(str(tmp_path / "wide.json"), 0, False, tmp_path, b"a")
    assert vocabulary_size(str(tmp_path / "wide.json"), 0, False) == size
    assert dataset.arrays["train"]["tokens"].dtype == dtype
    assert dataset.arrays["train"]["tokens"][0] == size - 1


# What is prepared


def test_a_corpus_is_prepared_once_for_its_content(tmp_path, monkeypatch):
    first = encoded("bpe", 300, True, tmp_path)
    monkeypatch.setattr(tokenizers, "_prepare", None)
    again = encoded("bpe", 300, True, tmp_path)
    assert again.provenance == first.provenance
    assert isinstance(again.arrays["train"]["tokens"], np.memmap)
    with pytest.raises(TypeError):
        encoded("bpe", 300, True, tmp_path, *DOCUMENTS, b"more")
    with pytest.raises(TypeError):
        encoded("bpe", 300, True, tmp_path, TEXT)  # the same bytes as one document
    with pytest.raises(TypeError):
        encoded("bpe", 301, True, tmp_path)
    with pytest.raises(TypeError):
        encoded("bpe", 300, False, tmp_path)


def test_a_tokenizer_file_gives_its_own_tokens_and_all_of_them(tmp_path, words):
    fields = encoded(words, 0, False, tmp_path, b"  The cats\n\nunknown the ").arrays["test"]
    np.testing.assert_array_equal(fields["tokens"], [1, 2, 3, 0, 1])
    np.testing.assert_array_equal(fields["bytes"], [5, 4, 1, 9, 5])


def test_a_tokenizer_file_is_known_by_its_content(tmp_path, words):
    first = encoded(words, 0, False, tmp_path)
    Path(words).rename(tmp_path / "moved.json")
    again = encoded(str(tmp_path / "moved.json"), 0, False, tmp_path)
    assert {**again.provenance["tokenizer"], "name": ""} == {**first.provenance["tokenizer"], "name": ""}
    (tmp_path / "moved.json").write_text((tmp_path / "moved.json").read_text().replace('"the"', '"THE"'))
    assert encoded(str(tmp_path / "moved.json"), 0, False, tmp_path).provenance != again.provenance


def test_an_interrupted_preparation_is_made_again(tmp_path, monkeypatch):
    encode = tokenizers._encode
    monkeypatch.setattr(
        tokenizers,
        "_encode",
        lambda tokenizer, group, field: 1 / (field == "tokens") and encode(tokenizer, group, field),
    )
    with pytest.raises(ZeroDivisionError):
        encoded("bpe", 300, True, tmp_path)
    monkeypatch.setattr(tokenizers, "_encode", encode)
    assert encoded("bpe", 300, True, tmp_path).arrays["test"]["bytes"].sum() == len(TEXT)
    assert not list(prepared(tmp_path).glob(".*"))


def test_a_damaged_file_is_named(tmp_path):
    encoded("bpe", 300, True, tmp_path)
    file = prepared(tmp_path) / "train.tokens.npy"
    file.write_bytes(file.read_bytes()[:-2])
    with refused("train.tokens.npy"):
        encoded("bpe", 300, True, tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "ACGT" * 250 + "AC" * 59_500,
        "the function(a,b){return a+b}" * 4000,
        " " * 120_000,
        "9" * 120_000,
        "=-" * 60_000,
        "_\u0301" * 60_000,
    ],
    ids=["letters", "code", "blanks", "digits", "signs", "marks"],
)
def test_a_line_without_white_space_trains_in_linear_time(line):
    start = time.process_time()
    trained = tokenizers._tokenizer("bpe", 300, [line.encode()])
    assert time.process_time() - start < 2  # 120 kB in one word took 4 to 12 seconds
    assert trained.decode(trained.encode(line).ids) == line


def test_progress_of_a_long_text_is_shown_to_somebody_who_looks_on(tmp_path, monkeypatch, capfd):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    encoded("characters", 20, False, tmp_path / "short")
    assert not terminal.getvalue()
    monkeypatch.setattr(tokenizers, "LONG_WAIT", len(TEXT))
    encoded("characters", 20, False, tmp_path / "long")
    assert "own as tokens: characters" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_nothing_is_shown_where_nobody_looks_on(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tokenizers, "LONG_WAIT", 0)
    encoded("bpe", 300, False, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_byte_pairs_of_ordinary_text_are_those_of_the_library():
    text = Path(tokenizers.__file__).read_text() + " ".join("x" * length for length in range(1, 1000))
    plain, trainer = tokenizers._byte_level(400)
    plain.train_from_iterator([text], trainer)
    trained = tokenizers._tokenizer("bpe", 400, [text.encode()])
    assert trained.to_str() == tokenizers.tokenizer_file.as_text(plain).to_str()


@pytest.mark.parametrize("character", ["a", "\u00e9", "\u4e2d", "\U0001f600"])
def test_a_document_in_one_line_is_cut_between_characters(character, monkeypatch):
    monkeypatch.setattr(tokenizers, "PIECE", 10)
    document = b"<" + (character * 50).encode()
    pieces = list(tokenizers._pieces(document))
    assert b"".join(pieces) == document
    assert max(map(len, pieces)) <= 20
    assert "".join(piece.decode() for piece in pieces) == document.decode()
    assert b"".join(tokenizers._pieces(b"\x80" * 50)) == b"\x80" * 50


def test_the_folder_has_the_tokenizer(tmp_path):
    facts = encoded("bpe", 300, True, tmp_path).provenance["tokenizer"]
    assert facts == json.loads((prepared(tmp_path) / "facts.json").read_text())
    trained = Tokenizer.from_file(str(prepared(tmp_path) / "tokenizer.json"))
    text = "the cat sät"
    assert trained.decode(trained.encode(text).ids) == text
    assert tokenizers.boundary_token("bpe") == trained.token_to_id(tokenizers.BOUNDARY)


# The task


@pytest.mark.parametrize("documents", ["joined", "packed", "masked"])
@pytest.mark.parametrize("name", ["bytes", "characters", "bpe"])
def test_a_task_loads_what_its_size_says(name, documents, corpus):
    task = CausalLanguage(corpus, context=8, tokenizer=name, vocabulary=VOCABULARY[name], documents=documents)
    dataset = task.load()
    task.check(dataset)
    assert max(fields["tokens"].max() for fields in dataset.arrays.values()) < task.vocab_size
    batches = task.evaluation_batches(dataset.arrays["validation"], 4)
    assert ("segments" in batches) == (documents == "masked")
    assert json.dumps(dataset.provenance)


def test_tokenizers_that_are_none_are_refused_in_one_sentence(tmp_path, words):
    with refused("byte", "bytes", "characters", "bpe"):
        CausalLanguage(tokenizer="byte")
    with refused("spiece.model", "bpe", "tokenizer.json"):
        CausalLanguage(tokenizer="spiece.model")
    with pytest.raises(FileNotFoundError, match=r"no\.json' cannot be read: No such file"):
        CausalLanguage(tokenizer=str(tmp_path / "no.json"))
    with refused("vocabulary", 5, "bytes"):
        CausalLanguage(vocabulary=5)
    with refused("vocabulary", 256, "bpe", 257):
        CausalLanguage(tokenizer="bpe", vocabulary=256)


def test_a_tokenizer_without_a_boundary_packs_nothing(tmp_path, words):
    check_tokenizer(words, 0, True)
    plain = str(tmp_path / "plain.json")
    Path(plain).write_text(Path(words).read_text().replace("[SEP]", "[PES]"))
    check_tokenizer(plain, 0, False)
    with pytest.raises(ValueError, match="has no token for the end of a document: none of "):
        CausalLanguage(tokenizer=plain, documents="packed")


@pytest.fixture
def beginning(tmp_path):
    """A tokenizer file that puts a token before a text, as LLaMA's, and one behind it."""
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "[UNK]": 2, "x": 3}, unk_token="[UNK]"))
    added = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=added)
    tokenizer.save(str(tmp_path / "beginning.json"))
    return str(tmp_path / "beginning.json")


def test_a_decoders_windows_begin_with_what_the_tokenizer_puts_before_a_text(beginning):
    task = CausalLanguage(tokenizer=beginning, context=8, evaluation_windows=0)
    arrays = {"tokens": np.arange(2, 31, dtype=np.uint8), "bytes": np.arange(29)}
    batch = task.evaluation_batches(arrays, 4)
    assert batch["tokens"].shape == (1, 4, 9)
    assert not batch["tokens"][..., 0].any()
    asked = batch["weight"].astype(bool)
    np.testing.assert_array_equal(batch["tokens"][..., 1:][asked], arrays["tokens"])  # the first one too
    np.testing.assert_array_equal(batch["bytes"][asked], arrays["bytes"])
    windows = task.batch({"tokens": np.arange(100, dtype=np.uint8)}, 0, 3, 13)["tokens"]
    assert not windows[:, 0].any()
    np.testing.assert_array_equal(windows[:, 1:], windows[:, 1:2] + np.arange(8))
    np.testing.assert_array_equal(np.diff(np.sort(windows[:, 1]))[:-2], 8)  # but for those that are moved back
    for one in (task, CausalLanguage(context=8)):
        traced = jax.make_jaxpr(lambda arrays, one=one: one.batch(arrays, 0, 3, 2))(arrays)
        assert all(const.size for const in traced.consts)  # of empty ones the compiler of jax 0.11.2 dies
    packed = CausalLanguage(tokenizer=beginning, context=8, documents="packed")
    np.testing.assert_array_equal(np.diff(packed.batch(arrays, 0, 3, 3)["tokens"]), 1)
