"""Words in order, words as a bag, words never met."""

import pytest
import torch

from hmralign.models.language.text_encoder import TextEncoder, sentences
from hmralign.models.language.word_encoder import WordEncoder, WordEncoderConfig, vocabulary
from hmralign.structures import InputError

TEXTS = ["The left arm is bent.", "the right leg is straight", "the left leg is bent"]


def encoder(kind="small", **sizes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = WordEncoderConfig(kind=kind, **{"width": 16, "depth": 1, "heads": 2, "trigrams": 64} | sizes)
        return WordEncoder(config, vocabulary(TEXTS, least=1)).eval()


@pytest.mark.parametrize("kind", ["small", "bag"])
def test_a_sentence_has_one_vector_whatever_stands_beside_it(kind):
    one = encoder(kind)
    assert isinstance(one, TextEncoder) and (one.name, one.dims) == (kind, 16)
    alone, among = one(["the left arm is bent"]), one(["bent", "the left arm is bent", "a b c d e f g h"])
    torch.testing.assert_close(alone[0], among[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(one(["THE left arm, is bent!"]), alone)


def test_order_counts_for_the_small_one_and_not_for_the_bag():
    said, exchanged = (
        "the left arm is bent and the right leg straight",
        "the right arm is bent and the left leg straight",
    )
    assert torch.allclose(*encoder("bag")([said, exchanged]), atol=1e-5)
    assert not torch.allclose(*encoder("small")([said, exchanged]), atol=1e-3)


def test_unknown_words_are_told_and_look_like_their_relatives():
    one = encoder(trigrams=4096)
    assert one.unknown("The left arm is bending") == ["bending"]
    first, second, third = one(["bending", "bendings", "xylophone"])
    assert (first @ second) > (first @ third)


def test_hidden_words_count_as_unknown_ones():
    one = encoder()
    shown = one(["the left arm"])
    one.hidden = frozenset({"arm"})
    assert not torch.allclose(one(["the left arm"]), shown)
    assert torch.equal(one(["the left leg"]), encoder()(["the left leg"]))


def test_the_bag_counts_all_words_and_the_small_one_the_first_48():
    long = " ".join(["left"] * 48)
    small, bag = encoder(), encoder("bag")
    assert torch.allclose(*small([long, long + " arm"]), atol=1e-6)
    assert not torch.allclose(*bag([long, long + " arm"]), atol=1e-6)


def test_the_vocabulary_is_what_occurs_often_enough():
    assert vocabulary(TEXTS, least=3) == ("is", "the") and vocabulary(TEXTS, least=2)[2:] == ("bent", "left", "leg")


def test_sentences_are_parted_and_bounded():
    assert sentences("One.  Two;\nthree? ... Four") == ["one", "two", "three", "four"]
    for bad, said in (("", "no words"), (" . !", "no words"), ("a " * 10_001, "10001 words"), ("a. " * 65, "65 sent")):
        with pytest.raises(InputError, match=said):
            sentences(bad)


def test_what_is_no_text_is_refused():
    with pytest.raises(InputError, match="no texts"):
        encoder()([])
    with pytest.raises(InputError, match="text 1 is empty"):
        encoder()(["arm", " "])
    assert torch.isfinite(encoder()(["手を上げる", "123"])).all()


@pytest.mark.parametrize("bad", [{"width": 0}, {"width": 10, "heads": 4}, {"trigrams": 0}, {"depth": 0}])
def test_sizes_without_meaning_are_refused(bad):
    with pytest.raises(InputError, match="word encoder"):
        WordEncoderConfig(**bad)


def test_a_vocabulary_has_each_word_once():
    with pytest.raises(InputError, match="vocabulary"):
        WordEncoder(WordEncoderConfig(), ("a", "a"))


def test_borrowed_vectors_bring_synonyms_together():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one = WordEncoder(
            WordEncoderConfig(width=16, depth=1, heads=2, trigrams=64), ("bent",), ("bent", "flexed", "sun")
        )
    vectors = torch.tensor([[1.0, 0.1, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 1.0]])
    one.borrow(vectors)
    assert one.given.shape == (4, 16) and not one.given[0].any() and not one.given[:, 3:].any()
    torch.testing.assert_close(one.given[1:].std(0, correction=0)[:2], torch.ones(2), atol=1e-4, rtol=0)
    assert (one.given[1] - one.given[2]).norm() < (one.given[1] - one.given[3]).norm()
    assert one.unknown("bent flexed bending") == ["bending"]
    one.hidden = frozenset({"bent"})
    hidden, synonym, other = one(["bent", "flexed", "sun"])
    assert (hidden @ synonym) > (hidden @ other)
