import numpy as np
import pytest

from hmralign.critics.vlm.memory.text_similarity import text_similarity, text_vectors

TEXTS = [
    "If a foot floats above the ground, deduct 5 points",
    "If the foot floats above the ground, deduct 5 points",
    "Where an arm enters the torso, deduct 8 points",
    "The horizon of the photo is tilted",
    "",
]


def test_vectors_have_length_one_or_none():
    np.testing.assert_allclose(np.linalg.norm(text_vectors(TEXTS), axis=1), [1, 1, 1, 1, 0], atol=1e-6)


def test_case_punctuation_and_spacing_do_not_matter():
    assert text_similarity("IF a foot  floats!", ["if a foot floats"])[0] == pytest.approx(1)


def test_what_says_the_same_is_nearer():
    one, similar, other, nothing, empty = text_similarity(TEXTS[0], TEXTS)
    assert one == pytest.approx(1, abs=1e-6) and 0.75 < similar < 1
    assert other < 0.5 and abs(nothing) < 0.2 and empty == 0


def test_similarities_are_products_of_vectors_and_come_out_the_same_again():
    vectors = text_vectors(TEXTS)
    np.testing.assert_allclose(vectors @ vectors.T, text_vectors(TEXTS) @ vectors.T)
    np.testing.assert_allclose(text_similarity(TEXTS[0], TEXTS[1:]), (vectors @ vectors[0])[1:], atol=1e-6)
