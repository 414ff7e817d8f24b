"""One's own text files as people have them: each is read as the text that it is, or refused by its name."""

import gzip
import lzma

import pytest

from lab.data.text import labelled_texts, own_files

TEXT = "the cat sat \u00fcber the mat\n" * 20
CYRILLIC = "\u043a\u043e\u0442 \u0438 \u043c\u044b\u0448\u044c\n" * 20


def found(pattern):
    return b"".join(text for texts in own_files.read(str(pattern))[0].values() for text in texts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.txt", TEXT.encode()),
        ("a b,c [1].txt", TEXT.encode()),
        ("[a-z]*?.txt", TEXT.encode()),
        ("mark.txt", TEXT.encode("utf-8-sig")),
        ("text.txt.gz", gzip.compress(TEXT.encode(), mtime=0)),
        ("two.gz", gzip.compress(TEXT[:50].encode(), mtime=0) + gzip.compress(TEXT[50:].encode(), mtime=0)),
        ("text.txt.xz", lzma.compress(TEXT.encode())),
        ("named as another.txt", lzma.compress(TEXT.encode("utf-8-sig"))),
    ],
)
def test_a_file_is_read_as_the_text_that_it_is(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert found(tmp_path / name) == TEXT.encode()


def test_a_mark_is_taken_off_every_file(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(TEXT.encode("utf-8-sig"))
    assert found(tmp_path / "*.txt") == 2 * TEXT.encode()


@pytest.mark.parametrize("text", [TEXT, CYRILLIC, "ab", "fa\u00e7ade"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_text_of_two_or_four_bytes_a_character_is_refused(encoding, text, tmp_path):
    (tmp_path / "wide.txt").write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=r"wide\.txt is not UTF-8 text"):
        found(tmp_path / "wide.txt")


@pytest.mark.parametrize("text", ["ab\0", "\0" * 9, "\0", "one\0two\0three\0" * 9, "abc\0" * 9, "", "x", CYRILLIC])
def test_text_with_a_nul_here_and_there_is_text(text, tmp_path):
    (tmp_path / "text.txt").write_text(text)
    assert own_files.text_of(tmp_path / "text.txt") == text.encode()


@pytest.mark.parametrize(
    "content",
    [gzip.compress(TEXT.encode(), mtime=0)[:-9], lzma.compress(TEXT.encode())[:-9], b"\x1f\x8b", b"\xfd7zXZ\0\0"],
)
def test_a_compressed_file_that_is_damaged_is_named(content, tmp_path):
    (tmp_path / "half.txt.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"half\.txt\.gz"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("content", "what"), [(b"(\xb5/\xfd\x04", "zstd"), (b"PK\x03\x04\xff", "zip"), (b"%PDF-1.7\n\xff", "PDF")]
)
def test_a_file_of_another_kind_is_told_apart(content, what, tmp_path):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(ValueError, match=what):
        found(tmp_path)


# Folders and globs


def test_a_folder_is_all_that_is_in_it_but_what_is_hidden(tmp_path):
    folder = tmp_path / "my [texts]"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("a.txt", "deep/b.md", "deep/deeper/c", ".hidden", ".git/d.txt"):
        (folder / name).write_text(f"<{name}>")
    assert found(folder) == found(f"{folder}/") == b"<a.txt><deep/b.md><deep/deeper/c>"
    assert found(folder / "**") == found(folder)
    assert found(folder / "*") == b"<a.txt>"
    assert found(folder / "**" / "*.*") == b"<a.txt><deep/b.md>"
    assert found(folder / "deep" / "**" / "**" / "c") == b"<deep/deeper/c>"


def test_a_glob_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    assert found("**/*.txt") == found("deep") == found(".") == found("d*/a.txt") == b"a"


def test_folders_that_lead_to_themselves_are_read_once(tmp_path):
    folder = tmp_path / "texts"
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        (folder / name / "text.txt").write_text(name)
        (folder / name / "up").symlink_to(folder, target_is_directory=True)
        (folder / name / "root").symlink_to(tmp_path, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d.txt").write_text("d")
    (folder / "z").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    for pattern in (folder, folder / "**" / "*.txt", folder / "**"):
        assert sorted(found(pattern)) == sorted(b"abcd")
    with pytest.raises(FileNotFoundError, match="self"):
        found(folder / "self")


def test_labelled_texts_may_be_compressed(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for index, pack in enumerate((bytes, gzip.compress, lzma.compress)):
            suffix = ("", ".gz", ".xz")[index]
            (tmp_path / label / f"{index}.txt{suffix}").write_bytes(pack(f"{label} {index}".encode("utf-8-sig")))
    dataset = labelled_texts.labelled_texts(f"folder:{tmp_path}", 2)
    texts = b"".join(fields["tokens"].tobytes() for fields in dataset.arrays.values())
    assert len(texts) == 6 * len("cat 0")
    assert texts.count(b"dog ") == 3
