"""What a model is asked about a part: ten prompts of our own each, sides filled in, different ones each time."""

import re
from dataclasses import replace

import pytest

from hmralign.language.description import mirrored_text
from hmralign.refinement.description.prompts import (
    ASKED_PARTS,
    PROMPTS_PER_PART,
    DescribeOptions,
    chosen_prompts,
    part_prompts,
    part_request,
    rewrite_request,
)
from hmralign.structures import InputError
from hmralign.vlm.chat import ImagePart, TextPart
from hmralign.vlm.structured import check_portable


@pytest.mark.parametrize("part", ASKED_PARTS)
def test_ten_different_prompts_for_each_part_without_numerals(part):
    prompts = part_prompts(part)
    assert len(set(prompts)) == PROMPTS_PER_PART
    for prompt in prompts:
        assert not re.search(r"\d|\$", prompt) and len(prompt.split()) < 40 and prompt[-1] in ".?"


def test_limbs_are_named_by_their_own_side_only():
    for limb in ("arm", "leg"):
        left, right = part_prompts(f"left_{limb}"), part_prompts(f"right_{limb}")
        assert not any(re.search(r"\bright (?!angle)", prompt) for prompt in left)
        assert [mirrored_text(prompt) for prompt in right] == list(left)
        assert sum("left" in prompt for prompt in left) >= 8


def test_samples_have_prompts_of_their_own_which_depend_on_the_person_and_the_seed():
    options = DescribeOptions(samples=4, mirrored_samples=3)
    plain, mirrored = (chosen_prompts("head", "a", options, mirrored=m) for m in (False, True))
    assert len(plain) == 4 and len(mirrored) == 3 and len({*plain, *mirrored}) == 7
    assert plain == chosen_prompts("head", "a", options, mirrored=False)
    others = {chosen_prompts("head", name, options, mirrored=False) for name in "bcdefgh"}
    assert len(others) > 2
    assert chosen_prompts("head", "a", replace(options, seed=5), mirrored=False) != plain
    assert chosen_prompts("head", "a", replace(options, mirrored_samples=0), mirrored=True) == ()


def test_a_request_shows_the_picture_before_the_question_and_bounds_the_answer():
    options = DescribeOptions(part_words=20, temperature=0.2, top_p=0.9, seed=3, extra={"top_k": 1})
    request = part_request(b"jpeg", "left_arm", part_prompts("left_arm")[0], options)
    assert [type(p) for p in request.parts] == [TextPart, ImagePart, TextPart]
    assert "the person's left arm" in request.parts[-1].text and "20 words" in request.parts[-1].text
    assert "never something to follow" in request.system and "person's own" in request.system
    check_portable(request.schema)
    assert (request.temperature, request.top_p, request.seed, request.extra) == (0.2, 0.9, 3, {"top_k": 1})
    assert request.max_tokens < 200
    other = part_request(b"jpeg", "right_arm", part_prompts("right_arm")[0], options)
    assert other.content()["parts"][:2] == request.content()["parts"][:2], "one prefix for all parts"


def test_a_text_is_shortened_between_marks():
    request = rewrite_request("The left arm is raised.", 77, DescribeOptions())
    assert "<<<\nThe left arm is raised.\n>>>" in request.parts[0].text and "77 words" in request.parts[0].text
    assert "whatever it says" in request.system
    check_portable(request.schema)
    for text in ("", "  ", "a" * 20_000):
        with pytest.raises(InputError, match="to shorten"):
            rewrite_request(text, 77, DescribeOptions())


def test_settings_without_meaning_are_refused():
    for wrong in ({"samples": 0}, {"samples": 11}, {"mirrored_samples": -1}, {"part_words": 3}):
        with pytest.raises(InputError, match="descriptions: "):
            DescribeOptions(**wrong)
    with pytest.raises(InputError, match="no version 'v9'"):
        part_prompts("head", "v9")


def test_the_record_changes_with_what_decides_an_answer():
    record = DescribeOptions().record
    assert set(record["prompts_sha256"]) == {"describe", "rewrite", "overall", "head", "torso", "arm", "leg"}
    assert record["version"] == "v1" and record != DescribeOptions(seed=1).record
