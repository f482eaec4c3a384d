"""Requests to a judge: scores of several predictions, the better of two, and the review that makes new rules.

Source: Shen et al. 2026 (arXiv 2602.19180), supplement C, for what is asked and in which parts; the words are our own.

| preset | order of the parts |
| --- | --- |
| `default` | system, rules by id, prototypes by id, photo, labelled tiles, the ask |
| `paper` | the task, photo, overlays named `image_2` and on, then memory: rules and prototypes |

In the default order calls of one photo share all before the tiles, which a server with a prefix cache reads once. Every
picture has its name in words before it, since counting pictures is what models do badly. Text of the memory was written
by a model: it is put on one line and cut, and the answer's schema limits what it could lead to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hmralign.critics.vlm.answers import (
    COMMENT_LENGTH,
    RULE_LENGTH,
    TAGS,
    FirstField,
    judge_schema,
    pairwise_schema,
    reflection_schema,
)
from hmralign.critics.vlm.prompt_files import LATEST, PromptFile, read_prompt
from hmralign.structures import InputError, MemoryContext, Prototype, Rule
from hmralign.structures.counted import counted
from hmralign.vlm.chat import ChatRequest, ImagePart, TextPart

Preset = Literal["default", "paper"]

IN_THE_BOX = "the person inside the red box"
"""How the target is named where tiles outline it."""
IN_THE_MIDDLE = "the person in the middle of the picture"
"""How the target is named where nothing is outlined."""

_TARGET_LENGTH = 200
_REASONING_LENGTH = 400
_CHARACTERS_PER_WORD = 7
_FORMS: dict[Preset, str] = {"default": "judge", "paper": "judge_paper"}


@dataclass(frozen=True)
class JudgeOptions:
    """How a judge is asked."""

    preset: Preset = "default"
    version: str = LATEST
    """Version of the prompts."""
    first_field: FirstField = "score"
    """What a judge writes first of each prediction; reasons before numbers narrow the numbers."""
    comment_length: int = COMMENT_LENGTH
    """The longest comment, characters."""
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = 0
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that only one server knows."""

    @property
    def record(self) -> dict[str, Any]:
        """For the facts of a critic: the prompt with its hash, and all that decides an answer."""
        rest = ("preset", "first_field", "comment_length", "temperature", "top_p", "seed", "extra")
        return {**read_prompt(_FORMS[self.preset], self.version).record, **{n: getattr(self, n) for n in rest}}


@dataclass(frozen=True)
class Shown:
    """Pictures of one call, JPEG files; `labels` name the tiles in the order shown."""

    photo: bytes
    tiles: tuple[bytes, ...]
    labels: tuple[str, ...]
    target: str = IN_THE_BOX
    """Whom to judge, a phrase that completes "The target is ..."."""
    is_photo: bool = True
    """False where keypoints and mask on paper stand for a photo."""
    turned: bool = True
    """Whether tiles have further views beside the overlay."""

    def __post_init__(self) -> None:
        """Raise InputError for labels that do not name the tiles one to one."""
        if not self.tiles or len(self.labels) != len(self.tiles) or len(set(self.labels)) != len(self.labels):
            raise InputError(
                f"{counted(len(self.tiles), 'tile')} with the labels {list(self.labels)}; expected one label for each"
            )


@dataclass(frozen=True)
class ReviewedCase:
    """What a judge said of one prediction, and how good it truly was (larger is better, any unit)."""

    score: float
    comment: str
    quality: float


def judge_request(
    shown: Shown, memory: MemoryContext | None = None, options: JudgeOptions | None = None
) -> ChatRequest:
    """Ask for a score of every tile. The answer is read by `answers.parse_judgement`.

    Raises InputError for the paper's preset with tiles that have more than the overlay.
    """
    options, memory = options or JudgeOptions(), memory or MemoryContext()
    prompt = read_prompt(_FORMS[options.preset], options.version)
    if options.preset == "paper":
        if shown.turned:
            raise InputError("the paper's preset shows overlays alone; draw the tiles with the view 'overlay'")
        system, parts = prompt.fill("system"), _paper_parts(shown, memory, options, prompt)
    else:
        system, parts = _system(shown, prompt), _default_parts(shown, memory, options, prompt)
    schema = judge_schema(shown.labels, options.first_field, options.comment_length)
    return _request(system, parts, schema, "judgement", _judgement_tokens(len(shown.labels), options), options)


def pairwise_request(
    shown: Shown, memory: MemoryContext | None = None, options: JudgeOptions | None = None
) -> ChatRequest:
    """Ask which of two tiles is better. The answer is read by `answers.parse_preference`.

    Raises InputError for other than two tiles, and for the paper's preset, which has no such question.
    """
    options, memory = options or JudgeOptions(), memory or MemoryContext()
    if len(shown.tiles) != 2 or options.preset != "default":
        raise InputError(
            f"a pair was asked for with {counted(len(shown.tiles), 'tile')}, preset '{options.preset}'; expected 2"
        )
    judge, prompt = read_prompt("judge", options.version), read_prompt("pairwise", options.version)
    first, second = shown.labels
    form = json.dumps({"better": f"{first}, {second} or tie", "comment": "..."})
    ask = prompt.fill("ask", first=first, second=second, form=form)
    evidence = [*_memory_parts(memory, judge), *_picture_parts(shown, judge)]
    schema = pairwise_schema(shown.labels, options.comment_length)
    system = "\n\n".join([prompt.fill("system"), *([judge.fill("turned")] if shown.turned else [])])
    return _request(system, [*evidence, TextPart(ask)], schema, "preference", _judgement_tokens(1, options), options)


def reflection_request(
    cases: Sequence[ReviewedCase], rules: Sequence[Rule] = (), options: JudgeOptions | None = None
) -> ChatRequest:
    """Ask what the judge did wrong in a group, as rules. The answer is read by `answers.parse_rules`.

    `rules` are those it was shown. Predictions are told without pictures and in the order given.
    """
    options = options or JudgeOptions()
    if len(cases) < 2:
        raise InputError(f"a review of {counted(len(cases), 'prediction')} was asked for; expected at least 2")
    prompt = read_prompt("reflection", options.version)
    group = {
        f"prediction_{n}": {
            "judge_score": round(case.score, 1),
            "judge_comment": _line(case.comment, options.comment_length),
            "true_quality": float(f"{case.quality:.4g}"),
        }
        for n, case in enumerate(cases, start=1)
    }
    ask = prompt.fill(
        "ask", rules=_rule_lines(rules) or "none", group=json.dumps(group, indent=1), tags=", ".join(TAGS)
    )
    system = prompt.fill("system", characters=RULE_LENGTH)
    return _request(system, [TextPart(ask)], reflection_schema(), "new_rules", 512, options)


def _system(shown: Shown, prompt: PromptFile) -> str:
    return "\n\n".join([prompt.fill("system"), *([prompt.fill("turned")] if shown.turned else [])])


def _default_parts(shown: Shown, memory: MemoryContext, options: JudgeOptions, prompt: PromptFile) -> list:
    ask = prompt.fill("ask", **_ask_values(shown.labels, options))
    return [*_memory_parts(memory, prompt), *_picture_parts(shown, prompt), TextPart(ask)]


def _memory_parts(memory: MemoryContext, prompt: PromptFile) -> list:
    rules = [TextPart(prompt.fill("rules", rules=_rule_lines(memory.rules)))] if memory.rules else []
    return [*rules, *_prototype_parts(memory.prototypes, prompt)]


def _picture_parts(shown: Shown, prompt: PromptFile) -> list:
    section = "photo" if shown.is_photo else "drawing"
    parts = [TextPart(prompt.fill(section, target=_line(shown.target, _TARGET_LENGTH))), ImagePart(shown.photo)]
    for label, tile in zip(shown.labels, shown.tiles, strict=True):
        parts += [TextPart(prompt.fill("tile", label=label)), ImagePart(tile)]
    return parts


def _paper_parts(shown: Shown, memory: MemoryContext, options: JudgeOptions, prompt: PromptFile) -> list:
    task = prompt.fill("task", **_ask_values(shown.labels, options))
    first = [TextPart(task), *([] if shown.is_photo else [TextPart(prompt.fill("drawing"))])]
    parts = [*first, TextPart(prompt.fill("tile", label="image_1")), ImagePart(shown.photo)]
    for label, tile in zip(shown.labels, shown.tiles, strict=True):
        parts += [TextPart(prompt.fill("tile", label=label)), ImagePart(tile)]
    if not (memory.rules or memory.prototypes):
        return parts
    rules = [TextPart(prompt.fill("rules", rules=_rule_lines(memory.rules)))] if memory.rules else []
    return [*parts, TextPart(prompt.fill("memory")), *rules, *_prototype_parts(memory.prototypes, prompt)]


def _prototype_parts(prototypes: Sequence[Prototype], prompt: PromptFile) -> list:
    if not prototypes:
        return []
    parts: list[TextPart | ImagePart] = [TextPart(prompt.fill("examples"))]
    for number, case in enumerate(sorted(prototypes, key=lambda p: p.id), start=1):
        pictures = [ImagePart(data) for data in (case.photo, case.overlay) if data is not None]
        # A photo without the prediction says nothing about the score.
        if case.overlay is None:
            pictures = []
        said = {"number": number, "score": round(case.score), "reasoning": _line(case.reasoning, _REASONING_LENGTH)}
        parts += [TextPart(prompt.fill("example" if pictures else "example_without_pictures", **said)), *pictures]
    return parts


def _rule_lines(rules: Sequence[Rule]) -> str:
    return "\n".join(f"- {_line(rule.text, RULE_LENGTH)}" for rule in sorted(rules, key=lambda r: r.id))


def _ask_values(labels: Sequence[str], options: JudgeOptions) -> dict[str, str | int]:
    said = {"score": "<0 to 100>", "comment": "<words>"}
    entry = said if options.first_field == "score" else dict(reversed(said.items()))
    form = ", ".join(f'"{label}": {json.dumps(entry)}' for label in labels[:2]).replace('"<0 to 100>"', "<0 to 100>")
    more = ", ..." if len(labels) > 2 else ""
    words = max(1, options.comment_length // _CHARACTERS_PER_WORD)
    return {"labels": ", ".join(labels), "form": "{" + form + more + "}", "words": words}


def _judgement_tokens(labels: int, options: JudgeOptions) -> int:
    """Room for the answer and no more: a grammar that loops on spaces must end soon."""
    return 32 + labels * (32 + options.comment_length // 2)


def _line(text: str, length: int) -> str:
    """One line, cut with an ellipsis."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."


def _request(system: str, parts: list, schema: dict, name: str, tokens: int, options: JudgeOptions) -> ChatRequest:
    return ChatRequest(
        system, tuple(parts), schema, name, tokens, options.temperature, options.top_p, options.seed, options.extra
    )
