"""From a drawn group to the questions about it."""

from __future__ import annotations

from collections.abc import Callable

from hmralign.critics.vlm.answers import Preference, parse_judgement, parse_preference
from hmralign.critics.vlm.plan import Call, plan
from hmralign.critics.vlm.prompts import IN_THE_BOX, IN_THE_MIDDLE, Shown, judge_request, pairwise_request
from hmralign.overlays.hypothesis_tile import GroupPictures
from hmralign.structures import Finding, MemoryContext
from hmralign.systems.group_preference.settings import JudgeConfig
from hmralign.vlm.asking import Question
from hmralign.vlm.chat import ChatReply
from hmralign.vlm.structured import usable_text

Said = tuple[Finding, ...] | Preference
"""What one call says."""


def group_calls(group_id: str, group_size: int, config: JudgeConfig) -> tuple[Call, ...]:
    """Calls of a group: the same whenever it is asked about."""
    return plan(group_id, group_size, config.seed, config.plan)


def group_questions(
    calls: tuple[Call, ...], pictures: GroupPictures, memory: MemoryContext, config: JudgeConfig
) -> list[Question[Said]]:
    """A question for each call, in their order."""
    photo = pictures.photo_tile()
    return [_question(call, pictures, photo, memory, config) for call in calls]


def _question(
    call: Call, pictures: GroupPictures, photo: bytes, memory: MemoryContext, config: JudgeConfig
) -> Question[Said]:
    style = pictures.style
    shown = Shown(
        photo,
        tuple(pictures.tile(i, label) for i, label in zip(call.hypotheses, call.labels, strict=True)),
        call.labels,
        target=IN_THE_BOX if style.outline else IN_THE_MIDDLE,
        is_photo=pictures.is_photo,
        turned=style.views != "overlay",
    )
    ask = pairwise_request if config.plan.design == "pairs" else judge_request
    return Question(ask(shown, memory, config.options), call_reader(call, pairs=config.plan.design == "pairs"))


def call_reader(call: Call, *, pairs: bool) -> Callable[[ChatReply], Said]:
    """Reads what a call says; what it gives raises `AnswerError` for an answer that cannot be used."""

    def read(reply: ChatReply) -> Said:
        parse = parse_preference if pairs else parse_judgement
        return parse(usable_text(reply), call.labels, call.hypotheses)

    return read
