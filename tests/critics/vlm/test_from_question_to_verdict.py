"""Plan, request, answer and merge together: a judge that sees only pictures and words gives back what it thinks."""

import asyncio
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from hmralign.critics.vlm.answers import parse_judgement, parse_preference
from hmralign.critics.vlm.merge import merge, merge_preferences
from hmralign.critics.vlm.plan import Call, PlanOptions, plan
from hmralign.critics.vlm.prompts import JudgeOptions, Shown, judge_request, pairwise_request
from hmralign.structures import Critique
from hmralign.vlm.chat import ChatRequest, ImagePart, TextPart
from hmralign.vlm.scripted import Scripted
from hmralign.vlm.structured import structured_answer, usable_text


def jpeg(grey: int) -> bytes:
    file = BytesIO()
    Image.new("L", (32, 32), grey).save(file, "JPEG", quality=95)
    return file.getvalue()


PHOTO = jpeg(255)
QUALITY = [float(q) for q in np.random.default_rng(2).permutation(np.arange(20) * 4 + 10)]
TILES = [jpeg(int(q)) for q in QUALITY]
QUALITY_OF = dict(zip(TILES, QUALITY, strict=True))


def shown_tiles(request: ChatRequest) -> list[tuple[str, float]]:
    """Label and quality of each tile, told from the words before it and from its bytes alone."""
    found = []
    for before, part in zip(request.parts, request.parts[1:], strict=False):
        if isinstance(part, ImagePart) and part.data in QUALITY_OF:
            assert isinstance(before, TextPart)
            label = before.text.removeprefix("Prediction ").rstrip(":")
            found.append((label, QUALITY_OF[part.data]))
    return found


def judge(request: ChatRequest) -> str:
    """Sees the level of a call off by its first letter, favours later places by 6 points."""
    tiles = shown_tiles(request)
    level = ord(tiles[0][0][-1]) % 7
    steps = max(1, len(tiles) - 1)
    said = {label: round(q + level + 6 * k / steps) for k, (label, q) in enumerate(tiles)}
    return json.dumps({label: {"score": s, "comment": "ok"} for label, s in said.items()})


def shown(call: Call, options: JudgeOptions) -> Shown:
    tiles = tuple(TILES[i] for i in call.hypotheses)
    return Shown(PHOTO, tiles, call.labels, turned=options.preset == "default")


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_scores_through_both_presets(preset):
    options = JudgeOptions(preset=preset)
    naming = "letters" if preset == "default" else "ordinals"
    backend, critiques = Scripted(judge), []
    for call in plan("g", 20, options=PlanOptions(naming=naming)):
        request = judge_request(shown(call, options), None, options)
        reply = asyncio.run(backend.complete(request))
        assert request.schema and structured_answer(reply, request.schema)
        critiques.append(Critique(parse_judgement(usable_text(reply), call.labels, call.hypotheses)))
    merged = merge(critiques, 20)
    assert np.abs(merged.scores - merged.scores.mean() - np.array(QUALITY) + np.mean(QUALITY)).max() < 1.0
    assert (np.argsort(merged.scores) == np.argsort(QUALITY)).all()
    assert abs(merged.position_slope - 6) < 0.5 and merged.informative


def test_pairs():
    def better(request: ChatRequest) -> str:
        (a, x), (b, y) = shown_tiles(request)
        return json.dumps({"better": a if x > y else b, "comment": "ok"})

    backend, answers, options = Scripted(better), [], JudgeOptions()
    for call in plan("g", 20, options=PlanOptions(design="pairs", rounds=6)):
        request = pairwise_request(replace(shown(call, options), is_photo=False), None, options)
        reply = asyncio.run(backend.complete(request))
        assert request.schema and structured_answer(reply, request.schema)
        answers.append(parse_preference(usable_text(reply), call.labels, call.hypotheses))
    merged = merge_preferences(answers, 20)
    assert np.corrcoef(merged.scores, QUALITY)[0, 1] > 0.95 and abs(merged.position_slope) < 1
