"""Labelled texts: split without overlap, refused in one sentence; and the task that tells their class."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import ablations
from experiments.bert_masked import TASK as MASKED
from experiments.bert_modules import experiment as bert_modules
from lab.data import catalogue
from lab.data.dataset import SPLITS
from lab.data.sets import stdlib
from lab.data.text.labelled_texts import HELD_OUT, labelled_texts
from lab.experiment.experiment import Experiment
from lab.tasks.classification import TextClassification
from lab.tasks.masked import MaskedLanguage
from lab.tasks.task import Task
from lab.training.settings import Hyperparameters, Settings
from models.classifier import classifier
from models.transformer import Transformer

TASK: Task = TextClassification()


def lines(name, count):
    """Text of lines of 16 bytes of which no two are alike."""
    return "".join(f"{name:>8} {index:06d}\n" for index in range(count)).encode()


@pytest.fixture
def library(monkeypatch):
    """A small standard library: path -> text; `big` and `wide` are its largest modules."""
    files = {
        "big/__init__.py": b"",
        "big/one.py": lines("one", 40),
        "big/two.py": lines("two", 30),
        "small.py": lines("small", 10),
        "wide.py": lines("wide", 60),
    }
    monkeypatch.setattr(stdlib, "files", lambda data_dir=None: (dict.fromkeys(SPLITS, files), {"version": "1"}))
    return files


def folder(path, texts):
    """A folder of texts by their paths in it, as data."""
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"folder:{path}"


def decoded(fields):
    return [tokens[mask].tobytes() for tokens, mask in zip(fields["tokens"], fields["mask"], strict=True)]


def test_the_largest_modules_are_told_from_pieces_of_their_files(library):
    dataset = TextClassification(classes=2, context=32).load()
    assert dataset.provenance["labels"] == ["big", "wide"]
    for fields in dataset.arrays.values():
        assert fields["mask"].all()
        for piece, label in zip(decoded(fields), fields["label"], strict=True):
            assert any(piece in text for path, text in library.items() if path.startswith(("big", "wide")[label]))
    assert {split: len(fields["label"]) for split, fields in dataset.arrays.items()} == {
        "train": (32 + 24 + 48) // 2,
        "validation": 2 + 1 + 3,  # of 4, 3 and 6 lines, two a piece
        "test": 2 + 1 + 3,
    }


@pytest.mark.parametrize("context", [16, 33])
def test_no_byte_of_the_library_is_in_two_pieces(context, library):
    dataset = TextClassification(classes=3, context=context).load()
    pieces = [piece for fields in dataset.arrays.values() for piece in decoded(fields)]
    places = sorted((path, text.find(piece)) for path, text in library.items() for piece in pieces if piece in text)
    assert len(places) == len(pieces)
    for (path, start), (other, following) in itertools.pairwise(places):
        assert path != other or following >= start + context
    splits = [set(decoded(fields)) for fields in dataset.arrays.values()]
    assert not splits[0] & splits[1]
    assert not splits[2] & (splits[0] | splits[1])


def test_what_training_has_word_for_word_is_not_evaluated(library):
    library["wide.py"] = 54 * lines("same", 1) + lines("wide", 6)
    fields = TextClassification(classes=2, context=16).load().arrays
    assert sum(lines("same", 1) in piece for piece in decoded(fields["train"])) == 48
    assert lines("same", 1) not in decoded(fields["validation"]) + decoded(fields["test"])
    assert lines("wide", 6)[:16] in decoded(fields["test"])


def test_files_of_a_folder_are_split_by_their_names(tmp_path):
    texts = {f"{label}/{index}.txt": f"{label}{index}" for label in ("neg", "pos") for index in range(23)}
    data = folder(tmp_path, {**texts, "neg/notes.md": "no text", ".hidden/a.txt": "no label", "README": "no folder"})
    dataset = TextClassification(data, 2, 16).load()
    found = {split: decoded(fields) for split, fields in dataset.arrays.items()}
    assert {split: len(own) for split, own in found.items()} == {"train": 34, "validation": 6, "test": 6}
    assert sorted(text for own in found.values() for text in own) == sorted(text.encode() for text in texts.values())
    for fields in dataset.arrays.values():
        assert [text.startswith(b"pos") for text in decoded(fields)] == fields["label"].tolist()
        assert set(fields["label"]) == {0, 1}
    (tmp_path / "neg" / "new.txt").write_text("one more")
    changed = decoded(TextClassification(data, 2, 16).load().arrays["test"])
    assert len(set(changed) & set(found["test"])) >= 5


def test_splits_that_are_given_stay_and_the_others_are_taken_from_train(tmp_path):
    texts = {f"train/{label}/{index}.txt": f"{label}{index}" for label in "ab" for index in range(2 * HELD_OUT)}
    data = folder(tmp_path, {**texts, "test/a/0.txt": "held out"})
    arrays = labelled_texts(data, 2).arrays
    assert {split: len(fields["label"]) for split, fields in arrays.items()} == {
        "train": 36,
        "validation": 4,
        "test": 1,
    }
    assert arrays["test"]["tokens"].tobytes() == b"held out"
    folder(tmp_path, {"validation/b/0.txt": "own"})
    arrays = labelled_texts(data, 2).arrays
    assert [len(arrays[split]["label"]) for split in SPLITS] == [40, 1, 1]


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({"a.txt": "x"}, "has no labels"),
        ({"a/1.txt": "x"}, "has one label, 'a'"),
        ({"a/1.txt": "x", "b/1.md": "x"}, r"b has no \.txt file"),
        (
            {"a/1.txt": "x", "a/2.txt": "x", "b/1.txt": "x"},
            "label 'a' has 2 files: it needs 3",
        ),
        ({"train/a/1.txt": "x", "c/1.txt": "x"}, "has the folders train and c"),
        ({"test/a/1.txt": "x", "test/b/1.txt": "x"}, "has a folder test"),
        (
            {
                f"{split}/{label}/1.txt": "x"
                for split, label in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "c"))
            },
            "test has the label 'c', which train lacks",
        ),
    ],
    ids=str,
)
def test_a_folder_that_is_none_of_labels_is_refused(texts, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        TextClassification(folder(tmp_path, texts), 2).load()


@pytest.mark.parametrize(("text", "sentence"), [(b"\xff", "is not UTF-8 text"), (b" \n", "is empty")])
def test_a_file_that_is_no_text_is_refused(text, sentence, tmp_path):
    texts = {f"{label}/{index}.txt": "x" for label in "ab" for index in range(3)}
    with pytest.raises(ValueError, match=rf"a/2\.txt {sentence}"):
        TextClassification(folder(tmp_path, {**texts, "a/2.txt": text}), 2).load()


def test_bad_fields_are_refused(tmp_path, library):
    for fields, sentence in (
        ({"data": "stdlibs"}, r"data is 'stdlibs': allowed values are stdlib and folder:DIR .*"),
        ({"classes": 1}, "classes must be at least 2, not 1"),
        ({"context": 0}, "context must be at least 1 token, not 0"),
        ({"evaluation_texts": -1}, r"evaluation_texts must be 0 \(all\) or more, not -1"),
        ({"tokenizer": "byte"}, "did you mean 'bytes'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            TextClassification(**fields)
    with pytest.raises(FileNotFoundError, match="there is no folder nowhere"):
        TextClassification("folder:nowhere").load()
    with refused("classes", 4, 3):
        TextClassification(classes=4).load()
    texts = {f"{label}/{index}.txt": "x" for label in "ab" for index in range(3)}
    with pytest.raises(ValueError, match=r"classes is 10, but .* has 2 labels: a, b"):
        TextClassification(folder(tmp_path, texts)).load()


@pytest.mark.parametrize(
    ("classes", "context", "sentence"),
    [
        (2, 97, "stdlib has no text of 97 tokens in validation"),
        (3, 129, "has no text of 129 tokens in validation"),
    ],
)
def test_a_context_that_is_too_long_is_refused(classes, context, sentence, library):
    task = TextClassification(classes=classes, context=context)
    with pytest.raises(ValueError, match=sentence):
        task.check(task.load())


def test_a_class_without_a_training_example_is_refused(library):
    library["small.py"] = lines("small", 3)
    task = TextClassification(classes=3, context=64)
    with pytest.raises(ValueError, match=r"classes is 3.*64.*'small'"):
        task.check(task.load())


@pytest.fixture
def of_bert(tmp_path):
    """The path of a tokenizer.json in the manner of BERT: words between [CLS], 2, and [SEP], 3."""
    words = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


def test_what_a_tokenizer_adds_to_a_text_is_added(of_bert, tmp_path):
    texts = {f"{split}/{label}/0.txt": "a b c d" for split in ("train", "validation") for label in "xy"}
    data = folder(tmp_path / "texts", {**texts, "test/x/0.txt": "a [CLS]", "test/y/0.txt": "a b c d"})
    task = TextClassification(data, 2, 5, tokenizer=of_bert)
    test = task.load().arrays["test"]
    assert test["tokens"].tolist() == [[2, 4, 2, 3, 0], [2, 4, 5, 6, 3]]
    assert test["mask"].sum(axis=1).tolist() == [4, 5]
    assert task.vocab_size == 8
    with pytest.raises(ValueError, match="a text of 2 tokens"):
        TextClassification(data, 2, 2, tokenizer=of_bert).load()


def test_every_piece_of_a_module_has_what_a_tokenizer_adds(of_bert, library):
    library.update(dict.fromkeys(library, b"a b c d\n" * 50))
    fields = TextClassification(classes=2, context=6, tokenizer=of_bert).load().arrays["train"]
    assert (fields["tokens"][:, [0, -1]] == [[2, 3]]).all()
    np.testing.assert_array_equal(fields["tokens"][0], [2, 4, 5, 6, 7, 3])


@pytest.mark.parametrize(("tokenizer", "vocabulary"), [("bytes", 0), ("characters", 30), ("bpe", 270)])
def test_the_tokens_are_those_of_the_network_that_it_may_begin_with(tokenizer, vocabulary, library, tmp_path):
    whole = MaskedLanguage("stdlib", 16, tokenizer=tokenizer, vocabulary=vocabulary)
    task = TextClassification(classes=2, context=8, tokenizer=tokenizer, vocabulary=vocabulary)
    assert task.vocab_size == whole.vocab_size - 1
    text = np.asarray(whole.load(tmp_path).arrays["train"]["tokens"]).tobytes()
    arrays = task.load(tmp_path).arrays["train"]
    assert all(piece in text for piece in decoded(arrays))
    if tokenizer != "bytes":
        assert len(list((tmp_path / "tokens").iterdir())) == 1


def test_evaluated_texts_are_spread_over_their_split(library):
    whole, some = (TextClassification(classes=2, context=16, evaluation_texts=count).load() for count in (0, 5))
    for split in ("validation", "test"):
        size = len(whole.arrays[split]["label"])
        chosen = [index * size // 5 for index in range(5)]
        np.testing.assert_array_equal(some.arrays[split]["tokens"], whole.arrays[split]["tokens"][chosen])
    np.testing.assert_array_equal(some.arrays["train"]["tokens"], whole.arrays["train"]["tokens"])
    assert some.provenance["splits"]["test"]["examples"] == 5


def test_the_metrics_are_those_of_the_texts_proper(library):
    task = TextClassification(classes=3, context=16)
    fields = task.load().arrays["validation"]
    batches = task.evaluation_batches(fields, 4)
    assert batches["tokens"].shape[1:] == (4, 16)
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(*batches["label"].shape, 3)).astype(np.float32)
    sums = {"loss": 0.0, "accuracy": 0.0}
    for index, outputs in enumerate(logits):
        batch = {field: jnp.asarray(rows[index]) for field, rows in batches.items()}
        tokens, mask = task.inputs(batch)
        assert (tokens.dtype, mask.dtype) == (jnp.int32, bool)
        for name, (total, _) in task.metrics(jnp.asarray(outputs), batch).items():
            sums[name] += float(total)
    label = fields["label"]
    proper = logits.reshape(-1, 3)[: len(label)]
    nats = np.log(np.exp(proper).sum(axis=1)) - proper[np.arange(len(label)), label]
    np.testing.assert_allclose(sums["loss"], nats.sum(), rtol=1e-5)
    assert sums["accuracy"] == (proper.argmax(axis=1) == label).sum()
    np.testing.assert_allclose(task.loss(jnp.asarray(proper), {"label": jnp.asarray(label)}), nats.mean(), rtol=1e-5)
    with refused((1, 2), (1, 3)):
        task.metrics(jnp.zeros((1, 2)), {"label": jnp.zeros(1, jnp.int32), "weight": jnp.ones(1)})


def test_the_reference_predictors_are_of_the_very_examples(library, tmp_path):
    dataset = TextClassification(classes=2, context=16).load()
    found = catalogue.reference_predictors(dataset, "test", tmp_path)
    assert set(found) == {"most_frequent", "naive_bayes"}
    assert found["most_frequent"]["metric"] == "accuracy"
    assert found["most_frequent"]["value"] == np.mean(dataset.arrays["test"]["label"] == 0)
    assert found["naive_bayes"]["value"] == 1.0  # the names of the files are in every line


def test_a_network_of_the_masked_task_fits_the_experiment():
    assert bert_modules.model.vocab_size == MASKED.vocab_size > bert_modules.task.vocab_size
    assert bert_modules.model.context == bert_modules.task.context == MASKED.context
    assert TASK.tokens_per_example == 128


@pytest.mark.slow
def test_no_piece_of_the_standard_library_is_evaluated_and_trained_on(tmp_path):
    dataset = TextClassification(context=64).load(tmp_path)
    splits = [set(decoded(fields)) for fields in dataset.arrays.values()]
    assert not splits[0] & splits[1]
    assert not splits[2] & (splits[0] | splits[1])
    assert all((np.bincount(fields["label"], minlength=10) > 100).all() for fields in dataset.arrays.values())


@pytest.mark.slow
def test_a_folder_is_learned_from_end_to_end(tmp_path):
    draw = np.random.default_rng(0)
    texts = {
        f"{label}/{index}.txt": "".join(draw.choice(list(letters), draw.integers(3, 16)))
        for label, letters in (("first", "abcd"), ("second", "cdef"))
        for index in range(60)
    }
    task = TextClassification(folder(tmp_path / "texts", texts), 2, 12)
    encoder = Transformer(architecture="encoder", context=12, d_model=8, n_layers=1, n_heads=2, initialization="lecun")
    experiment = Experiment(
        name="folder",
        question="Does it learn?",
        task=task,
        model=classifier(encoder, 2, "mean"),
        activations=("gelu",),
        seeds=(0, 1),
        metric="accuracy",
        settings=Settings(steps=60, batch_size=16, evaluate_every=60),
        hyperparameters=Hyperparameters(learning_rate=1e-2),
    )
    rows = ablations.run(experiment, tmp_path / "out", quiet=True).rows
    held_out = rows[rows["split"] == "validation"].set_index(["metric", "step", "seed"])["value"].sort_index()
    assert (held_out["loss", 60] < held_out["loss", 0] - 0.2).all()
    assert (held_out["accuracy", 60] > 0.8).all()
