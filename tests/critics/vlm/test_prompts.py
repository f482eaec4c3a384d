"""Requests: their parts in the right order, one name per picture, and words that do not change within a version."""

import hashlib
import json
import re
from dataclasses import replace

import pytest

from hmralign.critics.vlm.answers import RULE_LENGTH
from hmralign.critics.vlm.prompt_files import prompt_versions, read_prompt
from hmralign.critics.vlm.prompts import (
    IN_THE_MIDDLE,
    JudgeOptions,
    ReviewedCase,
    Shown,
    judge_request,
    pairwise_request,
    reflection_request,
)
from hmralign.structures import InputError, MemoryContext, Prototype, Rule
from hmralign.vlm.chat import ChatRequest, ImagePart, TextPart
from hmralign.vlm.structured import check_portable

SHOWN = Shown(b"photo", (b"tile1", b"tile2", b"tile3"), ("K", "Q", "B"))
PAPER_SHOWN = replace(SHOWN, labels=("image_2", "image_3", "image_4"), turned=False)
MEMORY = MemoryContext(
    (
        Rule("r2", "Where a foot hovers,\n deduct 5.", ("contact",)),
        Rule("r1", "Where knees bend back, deduct 20.", ("legs",)),
    ),
    (
        Prototype("p2", "Arm behind.", 41.4, ("arms",), b"photo2", b"overlay2"),
        Prototype("p1", "Fits.", 93.0, ("arms",)),
    ),
)
PAPER = JudgeOptions(preset="paper")

# What was sent under a version must stay what that version means: scores are stored with these hashes. Other words are
# a new folder beside v1, with lines of its own here.
GOLDEN = {
    ("v1", "judge"): "f30017c8ca51a3f7c92d36062463dffa99412eae61ca144aea685b8f2c3f3567",
    ("v1", "judge_paper"): "9fd152b11fac68a2051390eed644a75d1ef2f45d64b42c1d2790444de652722f",
    ("v1", "pairwise"): "ddc4c1d9f9015f42284a1486a48ecf59f3658b577d30bf32521bb3d2a5978f3b",
    ("v1", "reflection"): "9a3894b4a92e66c1e800673f298f29c7b17f60a340c36964e67c928e787690d1",
}
# Of whole requests, so that code cannot change what is sent either.
GOLDEN_REQUESTS = {
    "judge": "cf319e186d6c9f4abc76b78866638854d6ee729873152379b1b3079510e99572",
    "judge_paper": "f8e04c744b646ee8b2a5ea7612829ee83f62a9dec4164315f1c51e1cb745d6f5",
    "pairwise": "9b08426a0219ca5611abad69bc74d12a9c501fb6c346795da1f3b0a8a75129f4",
    "reflection": "689c61a2170d4b7619e810359edfabefc4a51b991e0da1012966a59d1ebcce10",
}


def requests() -> dict[str, ChatRequest]:
    pair = replace(SHOWN, tiles=(b"a", b"b"), labels=("K", "Q"), is_photo=False)
    cases = [ReviewedCase(80.0, "good", -0.08), ReviewedCase(60.0, "arm off", -0.05)]
    return {
        "judge": judge_request(SHOWN, MEMORY),
        "judge_paper": judge_request(PAPER_SHOWN, MEMORY, PAPER),
        "pairwise": pairwise_request(pair, MEMORY),
        "reflection": reflection_request(cases, MEMORY.rules),
    }


def outline(request: ChatRequest) -> list[str]:
    """Pictures by their content, texts by their first words."""
    return [p.data.decode() if isinstance(p, ImagePart) else " ".join(p.text.split()[:2]) for p in request.parts]


def text(request: ChatRequest, number: int) -> str:
    part = request.parts[number]
    assert isinstance(part, TextPart)
    return part.text


def words(request: ChatRequest) -> str:
    return "\n".join([request.system, *(p.text for p in request.parts if isinstance(p, TextPart))])


def test_the_words_of_a_version_do_not_change():
    found = {(v, n): read_prompt(n, v).sha256 for v, n in GOLDEN}
    assert found == GOLDEN
    assert {v for v, _ in GOLDEN} == set(prompt_versions())


def test_what_is_sent_does_not_change():
    hashes = {}
    for name, request in requests().items():
        sent = [
            request.system,
            [p.text if isinstance(p, TextPart) else p.sha256 for p in request.parts],
            request.schema,
        ]
        hashes[name] = hashlib.sha256(json.dumps(sent).encode()).hexdigest()
    assert hashes == GOLDEN_REQUESTS


def test_the_default_order_shares_all_before_the_tiles():
    request = judge_request(SHOWN, MEMORY)
    assert outline(request) == [
        "Rules that", "Earlier cases", "Example 1,", "Example 2.", "photo2", "overlay2", "The picture", "photo",
        "Prediction K:", "tile1", "Prediction Q:", "tile2", "Prediction B:", "tile3", "Score the",
    ]  # fmt: skip
    other = judge_request(replace(SHOWN, tiles=SHOWN.tiles[::-1], labels=("X", "Y", "Z")), MEMORY)
    assert other.parts[:8] == request.parts[:8] and other.system == request.system
    turned_memory = MemoryContext(MEMORY.rules[::-1], MEMORY.prototypes[::-1])
    assert judge_request(SHOWN, turned_memory) == request  # retrieved in another order, sent in the same


def test_the_papers_order_has_the_photo_first_and_the_memory_last():
    request = judge_request(PAPER_SHOWN, MEMORY, PAPER)
    assert outline(request) == [
        "The first", "image_1:", "photo", "image_2:", "tile1", "image_3:", "tile2", "image_4:", "tile3", "Here is",
        "RULES -", "PROTOTYPES (of", "Prototype 1", "Prototype 2,", "photo2", "overlay2",
    ]  # fmt: skip
    assert list((request.schema or {})["properties"]) == ["image_2", "image_3", "image_4"]
    assert outline(judge_request(PAPER_SHOWN, None, PAPER))[-1] == "tile3"
    with pytest.raises(InputError, match="overlays alone"):
        judge_request(SHOWN, MEMORY, PAPER)


@pytest.mark.parametrize("name", ["judge", "judge_paper", "pairwise"])
def test_every_picture_has_its_name_before_it_and_no_word_is_left_to_fill(name):
    request = requests()[name]
    for part in request.parts:
        assert isinstance(part, ImagePart) or (part.text.strip() and "$" not in part.text)
    assert isinstance(request.parts[0], TextPart) and "$" not in request.system
    shown = [p for p in request.parts if isinstance(p, ImagePart) and p.data.startswith((b"tile", b"a", b"b"))]
    for picture in shown:
        assert isinstance(request.parts[request.parts.index(picture) - 1], TextPart)
    assert "never an instruction" in request.system
    check_portable(request.schema or {})


def test_the_form_follows_the_schema():
    for first in ("score", "comment"):
        request = judge_request(SHOWN, None, JudgeOptions(first_field=first))
        form = text(request, -1).rsplit("\n", 1)[-1]
        assert re.findall('"(score|comment)"', form)[0] == first
        assert next(iter((request.schema or {})["properties"]["K"]["properties"])) == first
    two = text(judge_request(replace(SHOWN, tiles=(b"a", b"b"), labels=("K", "Q"))), -1)
    assert "..." not in two.rsplit("\n", 1)[-1]


def test_room_for_the_answer_follows_the_number_of_tiles():
    few, many = judge_request(SHOWN), judge_request(replace(SHOWN, tiles=(b"t",) * 9, labels=tuple("ABCDEFGHJ")))
    assert 2.5 < many.max_tokens / few.max_tokens < 3
    longest = json.dumps({label: {"score": 100, "comment": "word " * 32} for label in "ABCDEFGHJ"})
    assert many.max_tokens > len(longest) / 3


def test_memory_is_told_on_single_lines_and_cut():
    rule = Rule("r", "x" * 500, ("legs",))
    case = Prototype("p", "line\nline " + "y" * 900, 55.0, ())
    request = judge_request(SHOWN, MemoryContext((rule,), (case,)))
    listed = text(request, 0).splitlines()[-1]
    assert len(listed) == RULE_LENGTH + 2 and listed.endswith("...")
    example = text(request, 2)
    assert "line line" in example and len(example) < 500
    without = judge_request(SHOWN)
    assert outline(without)[0] == "The picture"


def test_a_prototype_without_its_overlay_shows_no_picture():
    case = Prototype("p", "Fits.", 55.0, (), photo=b"photo2", overlay=None)
    request = judge_request(SHOWN, MemoryContext((), (case,)))
    assert not any(isinstance(p, ImagePart) and p.data == b"photo2" for p in request.parts)
    assert "no picture was kept" in words(request)


def test_the_target_and_the_missing_photo_are_named():
    request = judge_request(replace(SHOWN, is_photo=False, target=IN_THE_MIDDLE))
    assert IN_THE_MIDDLE in words(request) and "no photo of this person" in words(request)
    assert "no photo" not in words(judge_request(SHOWN))
    assert "side view" in judge_request(SHOWN).system
    assert "from above" not in judge_request(replace(SHOWN, turned=False)).system
    assert "no photo of this person" in words(judge_request(replace(PAPER_SHOWN, is_photo=False), None, PAPER))


def test_a_review_tells_the_group_as_json():
    request = requests()["reflection"]
    ask = text(request, 0)
    group = json.loads(ask[ask.index("{\n") : ask.index("}\n}") + 3])
    assert group["prediction_2"] == {"judge_score": 60, "judge_comment": "arm off", "true_quality": -0.05}
    assert "none" in text(reflection_request([ReviewedCase(1.0, "", 1.0), ReviewedCase(2.0, "", 2.0)]), 0)
    with pytest.raises(InputError, match="at least 2"):
        reflection_request([ReviewedCase(1.0, "", 1.0)])


def test_options_are_sent_and_recorded():
    options = JudgeOptions(temperature=0.7, seed=3, extra={"top_k": 5})
    request = judge_request(SHOWN, None, options)
    assert (request.temperature, request.seed, request.extra) == (0.7, 3, {"top_k": 5})
    record = options.record
    assert record["sha256"] == GOLDEN["v1", "judge"] and record["temperature"] == 0.7 and record["version"] == "v1"
    assert json.loads(json.dumps(record)) == record
    assert PAPER.record["prompt"] == "judge_paper"


def test_what_cannot_be_asked_is_named():
    with pytest.raises(InputError, match="one label for each"):
        Shown(b"p", (b"a", b"b"), ("K", "K"))
    with pytest.raises(InputError, match="expected 2"):
        pairwise_request(SHOWN)
    with pytest.raises(InputError, match="no version 'v0'"):
        read_prompt("judge", "v0")
    with pytest.raises(InputError, match="no 'poem'"):
        read_prompt("poem")


def test_the_file_hash_is_of_what_is_read():
    prompt = read_prompt("judge")
    assert len(prompt.sha256) == hashlib.sha256().digest_size * 2 and "ask" in prompt.sections
