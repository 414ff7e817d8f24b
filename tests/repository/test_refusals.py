"""What an error must say is found in it by whole words, and its absence is."""

import pytest
from refusals import assert_names, names, refused


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("0", "steps is 0: it must be at least 1"),
        ("-4", "batch_size is -4"),
        ("1.5", "top_p is 1.5"),
        ("'gelu'", "did you mean 'gelu'?"),
        ("settings.steps", "--settings.steps is 'x'"),
        ("(4, -1)", "windows are (4, -1)"),
    ],
)
def test_a_word_is_found(word, message):
    assert names(message, word)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("0", "steps is 10, not 0.5"),
        ("1", "seeds are -1"),
        ("-1", "seeds are -10"),
        ("gelu", "activation geluu"),
        ("steps", "stepps, n_steps"),
        ("dropout", "steps is 0"),
    ],
)
def test_a_part_of_another_word_is_not_found(word, message):
    assert not names(message, word)


@pytest.mark.parametrize("message", ["steps is 1", "steps is 0\nmore", "steps is 0. It must be more", ""])
def test_what_names_too_little_or_says_too_much_fails(message):
    with pytest.raises(AssertionError):
        assert_names(message, "steps", 0)


def test_what_is_not_refused_fails():
    with pytest.raises(pytest.fail.Exception), refused("steps"):
        pass
    with pytest.raises(KeyError), refused("steps"):
        raise KeyError("steps")  # another error
