"""What can go wrong between a question and an answer.

`ServerError`: no answer came. `AnswerError`: an answer came and cannot be used. `BudgetError`: the next call would cost
too much. `RemoteRefused`: pictures would leave this machine without leave. Nothing here is ever turned into a score.
"""

from __future__ import annotations

from typing import Literal

from hmralign.structures.counted import counted
from hmralign.structures.errors import HmralignError, InputError

ServerTrouble = Literal[
    "unreachable", "connection", "timeout", "rate_limit", "server", "body", "request", "account", "unasked"
]
"""`unreachable`: nobody is there, so nothing was sent. `connection`: it broke off. `request`: the server refuses this
request. `account`: it refuses every request of this user, model or address. `unasked`: nobody was to be asked."""

AnswerTrouble = Literal["empty", "length", "refusal", "json", "schema", "labels", "prompt_cut"]

SHOWN_CHARACTERS = 160
_RETRYABLE = ("unreachable", "connection", "timeout", "rate_limit", "server", "body")


class ServerError(HmralignError):
    """No answer came.

    `retry_after` is in seconds, None where the server names no time; `raw` is the server's body, shortened.
    """

    def __init__(
        self,
        message: str,
        *,
        trouble: ServerTrouble,
        status: int | None = None,
        retry_after: float | None = None,
        raw: str = "",
    ) -> None:
        super().__init__(message)
        self.trouble: ServerTrouble = trouble
        self.status = status
        self.retry_after = retry_after
        self.raw = raw

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.trouble in _RETRYABLE

    @property
    def slow_down(self) -> bool:
        """Whether the server has more to do than it can."""
        return self.trouble in ("rate_limit", "timeout")


class AnswerError(HmralignError):
    """An answer came and cannot be used.

    `reason` is ours alone and may be sent to the model. `detail`, for people and for the journal, also has what is
    `quoted` of the answer; the message shows the beginning of the answer besides.
    """

    def __init__(self, reason: str, *, trouble: AnswerTrouble, text: str = "", quoted: str = "") -> None:
        self.detail = f"{reason}; it has {quoted}" if quoted else reason
        super().__init__(f"{self.detail}; the answer was {shortened(text)!r}" if text else self.detail)
        self.reason = reason
        self.trouble: AnswerTrouble = trouble


class BudgetError(HmralignError):
    """The next call would exceed the budget; every answer that was paid for is in the journal."""


class RemoteRefused(InputError):
    """The server is not on this machine, and it was not said that pictures may leave it."""


def shortened(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """The beginning of a text, with a note of what was left out."""
    return text if len(text) <= limit else f"{text[:limit]}... ({counted(len(text), 'character')})"
