"""Files of tokenizers as people have them: each encodes every text, or is refused in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import decoders as decode

from lab.data.text import tokenizer_file, tokenizers
from lab.tasks.language import CausalLanguage

TEXT = "the fox, the number 3  \u00e9\u4e2d\U0001f600 had linds.\n"
MERGES = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "unk_token": "a"}
WORDS = {"type": "WordLevel", "vocab": {"[UNK]": 0, "the": 1}, "unk_token": "[UNK]"}
PIECES = {"type": "Unigram", "vocab": [["?", 0.0], ["a", -1.0]], "unk_id": 0}
WORD_PIECES = {"type": "WordPiece", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9}


def written(path, model, **parts):
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model, **parts}))
    return str(path)


def template(*special_tokens):
    pieces = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[X]", "type_id": 0}}]
    known = {token["id"]: token for token in special_tokens}
    return {"type": "TemplateProcessing", "single": pieces, "pair": pieces, "special_tokens": known}


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({**MERGES, "vocab": {}, "merges": []}, "vocabulary"),
        ({**MERGES, "merges": ["a zz"]}, "'zz'"),
        ({**MERGES, "merges": [["b", "a"]]}, "'ba'"),
        ({**MERGES, "vocab": {"aa": 0, "bb": 1}, "merges": ["aa bb"]}, "'aabb'"),  # the library panics
        ({**MERGES, "continuing_subword_prefix": "##"}, "'##'"),  # and here
        ({**MERGES, "merges": ["ab"]}, "'ab'"),
        ({**MERGES, "merges": [["a", "b", "ab"]]}, r"\['a', 'b', 'ab'\]"),
        ({**MERGES, "merges": [[0, 1]]}, r"\[0, 1\]"),
        ({**MERGES, "unk_token": "?"}, "unk|Unk"),
        ({**WORDS, "vocab": {}}, "vocabulary"),
        ({**WORDS, "unk_token": "<unk>"}, "'<unk>'"),
        ({**WORDS, "unk_token": None}, "None"),
        ({key: value for key, value in WORDS.items() if key != "unk_token"}, "unk_token"),
        ({"vocab": {"the": 0}, "unk_token": "<unk>"}, "'<unk>'"),  # an old file, which names no type
        ({**WORDS, **WORD_PIECES, "unk_token": "<unk>"}, "'<unk>'"),
        ({**PIECES, "vocab": []}, "vocabulary"),
        ({**PIECES, "unk_id": 2}, "[Uu]nk"),
        ({**PIECES, "unk_id": None}, "unk_id"),
        ({**WORDS, "vocab": {"[UNK]": 2**31}}, str(2**31)),
        ({**WORDS, "vocab": {"[UNK]": -1}}, "-1"),
        (1, "model"),
        ({}, "vocabulary"),
    ],
)
def test_a_file_that_cannot_encode_every_text_is_refused_when_it_is_read(model, named, tmp_path, capfd):
    path = written(tmp_path / "own.json", model)
    with pytest.raises(ValueError, match=named) as error:
        CausalLanguage(tokenizer=path)
    assert path in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"\0binary", b'{"version": "1.0"}', b"[" * 200_000, b"\xff"], ids=len
)
def test_a_file_of_something_else_is_refused(content, tmp_path):
    (tmp_path / "other.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.json") as error:
        CausalLanguage(tokenizer=str(tmp_path / "other.json"))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("processor", "named"),
    [
        (template(), r"'\[X\]'"),  # the library panics when it encodes
        ({"type": "Sequence", "processors": [template()]}, r"'\[X\]'"),
        (template({"id": "[X]", "ids": [7], "tokens": ["[X]"]}), "token 7"),
        ({"type": "BertProcessing", "sep": ["[SEP]", 8], "cls": ["[CLS]", 0]}, "token 8"),
    ],
)
def test_what_is_put_around_a_text_is_in_the_vocabulary(processor, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        tokenizer_file.read(written(tmp_path / "own.json", WORDS, post_processor=processor))


def test_a_panic_of_the_library_is_an_error_like_others(tmp_path):
    normalizer = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    with pytest.raises(ValueError, match=r"own\.json.*precompiled_charsmap"):
        tokenizer_file.read(written(tmp_path / "own.json", WORDS, normalizer=normalizer))


def test_an_interrupt_is_not_taken_for_a_panic(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer_file, "_built", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tokenizer_file.read(written(tmp_path / "own.json", WORDS))


def test_a_text_is_always_encoded_as_the_same_tokens(tmp_path):
    tokenizer = tokenizer_file.read(written(tmp_path / "own.json", {**MERGES, "dropout": 0.5}))
    assert {tuple(tokenizer.encode("ab" * 20).ids) for _ in range(5)} == {(2,) * 20}


# Files in the style of published models


def llama(path):
    """Pieces with byte fallback, a blank before every text, <s> before its tokens, and no pre-tokenizer."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    known = ["<unk>", "<s>", "</s>", *fallback, *"\u2581thefoxad", "he", "the", "\u2581the"]
    merges = [("h", "e"), ("t", "he"), ("\u2581", "the")]
    vocabulary = {token: index for index, token in enumerate(known)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    strip = [decode.Replace("\u2581", " "), decode.ByteFallback(), decode.Fuse(), decode.Strip(" ", 1, 0)]
    tokenizer.decoder = decode.Sequence(strip)
    tokenizer.save(path)


def t5(path):
    """Unigram pieces of NFKC text in which blanks are joined, and </s> behind the tokens."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=40, unk_token="<unk>", special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(["the fox had linds. "] * 9, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(path)


def gap(path):
    """Byte pairs with an added token that says it is 5000: the library, and so every user of it, reads the next one."""
    tokenizer, trainer = tokenizers._byte_level(300)
    tokenizer.train_from_iterator([TEXT], trainer)
    definition = json.loads(tokenizer.to_str())
    definition["added_tokens"].append({**definition["added_tokens"][0], "id": 5000, "content": "<gap>"})
    Path(path).write_text(json.dumps(definition))


@pytest.mark.parametrize(
    ("make", "added", "boundary"),
    [(llama, ([1], []), 2), (t5, ([], [1]), 1), (gap, ([], []), 0)],
    ids=["llama", "t5", "gap"],
)
def test_a_published_file_gives_its_own_tokens_and_all_bytes(make, added, boundary, tmp_path):
    path = str(tmp_path / "tokenizer.json")
    make(path)
    tokenizer = tokenizer_file.read(path)
    assert tokenizers.added_tokens(path) == added
    assert tokenizers.boundary_token(path) == boundary
    tokens, sizes = (
        np.concatenate(list(tokenizers._encoded(tokenizer, [TEXT.encode()] * 2, None, field)))
        for field in ("tokens", "bytes")
    )
    assert tokens.max() < tokenizers.vocabulary_size(path, 0, False)
    assert tokens.tolist() == 2 * Tokenizer.from_file(path).encode(TEXT, add_special_tokens=False).ids
    assert sizes.sum() == 2 * len(TEXT.encode())
    if make is not t5:  # which has no token for most of the text, and forgets blanks
        assert tokenizer.decode(tokens[: tokens.size // 2].tolist()) == TEXT
