"""Captions: what they say is true, repeatable, free of numerals, short, and mirrored for mirrored bodies."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.language.agreement import margins, statement_loss, wanted
from hmralign.language.caption import TRIVIAL, caption, frequencies
from hmralign.language.description import MOST_WORDS, PoseDescription
from hmralign.language.phrases import FEWEST_TEMPLATES, paraphrases, templates
from hmralign.language.reading import read_text
from hmralign.language.statements import DRAWN_FAMILIES, FAMILIES, READ_ONLY, STATEMENTS, row_of
from hmralign.structures import InputError
from support.described_bodies import drawn_bodies, mirrored_body, posed

BODIES = drawn_bodies(60, 2)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def said(description: PoseDescription) -> set[str]:
    return {s for s, holds in description.statements if holds}


@pytest.mark.parametrize("wording", ["say", "held_out"])
def test_captions_are_true_short_and_have_no_numerals(wording):
    described = caption(BODIES[0], seeded(), *BODIES[1:], wording=wording)
    assert (statement_loss(BODIES[0], wanted(described), *BODIES[1:]) == 0).all()
    for d in described:
        assert 4 <= len(d.statements) and len(d.text().split()) <= MOST_WORDS and d.source == "caption" and not d.unread
        assert not re.search(r"\d|degree", d.text())
        assert all(holds for _, holds in d.statements)


def test_the_same_seed_says_the_same_and_another_one_says_it_otherwise():
    first, again, other = (caption(BODIES[0], seeded(s), *BODIES[1:]) for s in (3, 3, 4))
    assert first == again
    assert sum(a.text() != b.text() for a, b in zip(first, other, strict=True)) > 55


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=15, deadline=None)
def test_mirrored_bodies_give_mirrored_sentences(seed):
    bodies = drawn_bodies(4, seed % 11)
    edge = margins(*bodies).sub(0.25).abs().nan_to_num(9).amin(1) > 1e-3  # the others may round to either side
    straight = caption(bodies[0], seeded(seed), *bodies[1:])
    through_mirror = caption(*(lambda j, r, u: (j, seeded(seed), r, u))(*mirrored_body(*bodies)))
    for here, there, clear in zip(straight, through_mirror, edge.tolist(), strict=True):
        if clear:
            assert here.mirrored() == there and here.mirrored().text() == there.text()
        assert here.mirrored().mirrored() == here


def test_a_symmetric_body_is_described_symmetrically():
    joints, rotmats = posed(left_shoulder=(0, 0, 70), right_shoulder=(0, 0, -70))
    mirrored = mirrored_body(joints, rotmats, torch.tensor([0.0, -1.0, 0.0]))
    symmetric = (joints + mirrored[0] - mirrored[0][:, :1] * torch.tensor([1.0, 0, 0])
                 + joints[:, :1] * torch.tensor([-1.0, 0, 0])) / 2  # fmt: skip
    for seed in range(5):
        description = caption(symmetric, seeded(seed))[0]
        assert description == description.mirrored()
        assert {"left_arm_up", "right_arm_up"} <= said(description)


@pytest.mark.parametrize("wording", ["say", "held_out"])
def test_captions_are_read_back_as_the_same_statements(wording):
    for d in caption(BODIES[0], seeded(5), *BODIES[1:], wording=wording):
        read = read_text(d.text())
        assert read.statements == d.statements and not read.unread


def test_nothing_is_said_of_what_was_not_asked_for():
    for frames in (("body",), ("body", "gravity")):
        for d in caption(BODIES[0], seeded(), *BODIES[1:], frames=frames):
            assert {STATEMENTS[row_of(s)].frame for s in said(d)} <= set(frames)
            assert "camera" not in d.text() and "viewer" not in d.text()
    no_heads = caption(BODIES[0], seeded(), up=BODIES[2])
    assert not any("head_" in s and "hand" not in s for d in no_heads for s in said(d))


def test_what_is_trivial_is_left_out_and_what_is_rare_comes_first():
    share = frequencies()
    assert share["standing"] > TRIVIAL > share["sitting"] and 0 < min(share.values())
    full = caption(BODIES[0], seeded(), *BODIES[1:], most_words=400)
    few = caption(BODIES[0], seeded(), *BODIES[1:], most_words=20)
    rarity = [
        sum(share[STATEMENTS[row_of(s)].family] for s in said(d)) / len(said(d)) for d in (*few, *full) if said(d)
    ]
    assert sum(rarity[:60]) / 60 < 0.7 * sum(rarity[60:]) / len(rarity[60:])
    assert all(share[STATEMENTS[row_of(s)].family] <= TRIVIAL for d in full for s in said(d))
    assert all(said(a) <= said(b) for a, b in zip(few, full, strict=True))


def test_one_quantity_is_said_once():
    for d in caption(BODIES[0], seeded(), *BODIES[1:], most_words=400):
        single = [STATEMENTS[row_of(s)].conditions for s in said(d)]
        quantities = [c[0].quantity for c in single if len(c) == 1]
        assert len(quantities) == len(set(quantities)), d.text()


def test_no_bodies_no_captions_and_bad_bodies_are_refused():
    assert caption(torch.zeros(0, 24, 3), seeded()) == []
    with pytest.raises(InputError, match="24 joints"):
        caption(torch.zeros(1, 29, 3), seeded())
    with pytest.raises(InputError, match="NaN"):
        caption(torch.full((1, 24, 3), torch.nan), seeded())


def test_every_family_has_paraphrases_and_held_out_ones_are_others():
    assert set(templates()) == set(FAMILIES) == set(frequencies())
    for words in templates().values():
        for wording, fewest in FEWEST_TEMPLATES.items():
            assert len(set(words[wording])) == len(words[wording]) >= fewest
        assert not set(words["say"]) & set(words["held_out"])
        assert not any(re.search(r"\d", t) for both in words.values() for t in both)


def test_further_wordings_differ_from_held_out_ones_by_two_words_at_least():
    """A figure on paraphrases that a text space never met would otherwise be one on paraphrases that it nearly met."""
    for family, words in templates().items():
        further = paraphrases()[family]
        assert len(further) >= 2 and len(set(further)) == len(further)
        assert not set(further) & set(words["say"])
        for text in further:
            assert not re.search(r"\d", text)
            assert min(words_apart(text, held) for held in words["held_out"]) >= 2, (family, text)


def words_apart(one: str, other: str) -> int:
    """Words that have to be replaced, put in or left out (Levenshtein 1966)."""
    a, b = one.split(), other.split()
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def test_what_is_only_read_is_never_said_and_leaves_captions_as_they_were():
    assert READ_ONLY <= set(FAMILIES) and READ_ONLY.isdisjoint(DRAWN_FAMILIES)
    assert not any(s.said for s in STATEMENTS if s.family in READ_ONLY)
