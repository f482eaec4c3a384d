"""A backend that answers from a function: for tests, and for judges that are computed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from hmralign.vlm.chat import ChatReply, ChatRequest, Usage
from hmralign.vlm.completion import write_completion
from hmralign.vlm.image_tokens import estimated_prompt_tokens


class Scripted:
    """Answers with what `answer` returns for a request: a text or a whole reply; what it raises is raised."""

    def __init__(
        self, answer: Callable[[ChatRequest], str | ChatReply], *, model: str = "scripted", delay: float = 0.0
    ) -> None:
        """`delay` is the time each answer takes, in seconds."""
        self._answer, self._model, self._delay = answer, model, delay
        self.requests: list[ChatRequest] = []
        self.in_flight = 0
        self.most_in_flight = 0

    @property
    def model(self) -> str:
        """Name given at the start."""
        return self._model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer once."""
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self._delay)
            answer = self._answer(request)
        finally:
            self.in_flight -= 1
        if isinstance(answer, str):
            usage = Usage(estimated_prompt_tokens(request), max(1, len(answer) // 4), None)
            answer = ChatReply(answer, usage=usage, model=self._model)
        return answer if answer.raw else replace(answer, raw=write_completion(answer))
