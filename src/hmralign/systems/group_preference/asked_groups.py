"""Groups on their way to the questions about them. The next ones are drawn while calls about the last are in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from hmralign.body.model import BodyModel
from hmralign.critics.vlm.memory.retrieval import Retrieved
from hmralign.critics.vlm.plan import Call
from hmralign.structures import InputError
from hmralign.systems.group_preference.pictures import StoredGroup, draw_group
from hmralign.systems.group_preference.questions import Said, group_calls, group_questions
from hmralign.systems.group_preference.settings import JudgeConfig
from hmralign.vlm.asking import Question

AHEAD = 2
"""Groups that are drawn before they are needed: their pictures are in memory."""

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class AskedGroup:
    """A group with what is shown of the memory and a question for each call; none where it cannot be drawn."""

    group: StoredGroup
    retrieved: Retrieved
    calls: tuple[Call, ...] = ()
    questions: tuple[Question[Said], ...] = ()
    undrawn: str = ""
    """Why it cannot be drawn; empty where it can."""


def asked_groups(
    groups: Sequence[StoredGroup], shown: Callable[[StoredGroup], Retrieved], body: BodyModel, config: JudgeConfig
) -> Generator[AskedGroup, None, None]:
    """All groups in their order. `shown` is called in this thread, where the memory is open."""

    def drawn(item: tuple[StoredGroup, Retrieved]) -> AskedGroup:
        group, retrieved = item
        try:
            pictures = draw_group(group, body, config.style)
        except InputError as error:
            return AskedGroup(group, retrieved, undrawn=str(error))
        calls = group_calls(group.id, group.size, config)
        questions = group_questions(calls, pictures, retrieved.context, config)
        return AskedGroup(group, retrieved, calls, tuple(questions))

    return made_ahead(drawn, ((group, shown(group)) for group in groups), AHEAD)


def made_ahead(make: Callable[[Item], Made], items: Iterable[Item], ahead: int) -> Generator[Made, None, None]:
    """As `map(make, items)`, made in one other thread, at most `ahead` before they are taken.

    What `make` raises is raised where its result would have been. Items are taken in the caller's thread. Closing the
    iterator waits for the one that is being made.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
