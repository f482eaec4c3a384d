"""Many questions to one model: from the journal where it has the answer, else asked, retried, committed.

For each question: (1) the journal: a stored answer that can be used costs no call; (2) the budget: the call that could
exceed it is not made; (3) the call; (4) its attempt is committed; (5) only then is its answer used. A call that failed
on the way is sent again as it is. An answer that cannot be used (cut, refused, not in the form asked for, a label
missing) is asked for again with another seed, and with a word on what was wrong where that can help. What fails for
good is a `Failed` with its reason, never a made-up answer, and the other questions go on.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from hmralign.structures.counted import counted
from hmralign.structures.errors import InputError
from hmralign.vlm.budget import Budget, Ledger
from hmralign.vlm.chat import (
    ChatBackend,
    ChatReply,
    ChatRequest,
    LimitField,
    NamesLimit,
    TextPart,
    Usage,
    request_key,
)
from hmralign.vlm.errors import AnswerError, AnswerTrouble, BudgetError, ServerError, ServerTrouble
from hmralign.vlm.image_tokens import CHARACTERS_PER_TOKEN, ImageGrid, check_pictures_were_read, estimated_prompt_tokens
from hmralign.vlm.interrupts import draining_on_signals
from hmralign.vlm.journal import Journal
from hmralign.vlm.pacing import Concurrency, Pace
from hmralign.vlm.prices import PriceTable

logger = logging.getLogger("hmralign.vlm")

Value = TypeVar("Value")

OnResult = Callable[[int, "Answered[Any] | Failed"], None]

_REPAIRABLE: tuple[AnswerTrouble, ...] = ("json", "schema", "labels")


@dataclass(frozen=True)
class Question(Generic[Value]):
    """One thing to know."""

    request: ChatRequest
    parse: Callable[[ChatReply], Value]
    """Reads the answer; raises `AnswerError` where it cannot be used. Called again on stored answers."""
    sample: int = 0
    """Number of the sample where the same request is asked often."""


@dataclass(frozen=True)
class Answered(Generic[Value]):
    """A question with its answer."""

    value: Value
    key: str
    """Key of the question in the journal."""
    calls: int
    """Made now; 0 where the journal had the answer."""


@dataclass(frozen=True)
class Failed:
    """A question without an answer."""

    reason: str
    key: str
    trouble: AnswerTrouble | ServerTrouble
    calls: int
    """Made now."""


@dataclass(frozen=True)
class Pending:
    """A question that has to be asked, and how."""

    key: str
    """Key of the question in the journal."""
    request: ChatRequest
    """To be sent next."""
    attempt: int
    """Answers that came before and cannot be used."""
    left: int
    """Answers that may be asked for."""
    trouble: AnswerError | None
    """With the last of them."""


@dataclass(frozen=True)
class Limits:
    """How hard to try."""

    concurrency: int = 16
    """Most calls at once; halved when the server is overrun."""
    answer_attempts: int = 3
    """Answers to ask for before a question has failed, those of earlier runs included."""
    retry_failed: bool = False
    """Ask anew where earlier runs used up their attempts."""
    journal_only: bool = False
    """Ask nobody: a question without an answer in the journal has failed."""
    server_attempts: int = 6
    """Times one call is sent where no answer comes."""
    first_wait: float = 1.0
    """Before the second time, seconds; doubled each time, unless the server names a time."""
    longest_wait: float = 120.0
    """A server that asks for more has failed, seconds."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Prompt and answer together, by the estimate and corrected by what was used."""
    retry_temperature: float = 0.3
    """Least temperature of a second attempt: at 0 another seed gives the same answer."""
    failures_in_a_row: int = 20
    """Questions without any answer of the server after which it is taken to be gone."""
    refusals_in_a_row: int = 6
    """Calls that reached nobody, in a run that has reached nobody yet, after which no server is taken to be there."""
    check_pictures: ImageGrid | None = None
    """Refuse answers whose prompt had fewer tokens than its pictures by this rule; None where it does not hold."""

    def __post_init__(self) -> None:
        """Raise InputError for a limit that lets nothing through."""
        for name in (
            "concurrency", "answer_attempts", "server_attempts", "failures_in_a_row", "refusals_in_a_row",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"the limit {name} is {getattr(self, name)}; expected at least 1")
        for name in ("requests_per_minute", "tokens_per_minute"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise InputError(f"the limit {name} is {value}; expected more than 0, or none")


async def ask_all(
    backend: ChatBackend,
    journal: Journal,
    questions: Iterable[Question[Any]],
    limits: Limits | None = None,
    budget: Budget | None = None,
    prices: PriceTable | None = None,
    *,
    on_result: OnResult | None = None,
) -> list[Answered[Any] | Failed]:
    """Answer all questions; results in their order.

    Questions are taken one by one as places get free, so they may be made when they are taken. `on_result` hears of
    each result with its number, as it comes.

    Ctrl-C and SIGTERM drain: calls in flight finish and are committed, then `KeyboardInterrupt` or `SystemExit` is
    raised; a second signal stops at once. `BudgetError`, a `ServerError` that concerns every request (a wrong key, an
    unknown model), and a server that is gone or was never there stop the run in the same way. Run again, it goes on
    from the journal.
    """
    run = _Run(backend, journal, limits or Limits(), budget or Budget(), prices or PriceTable(), on_result)
    return await run.all(questions)


def varied(request: ChatRequest, attempt: int, trouble: AnswerError | None, least_temperature: float) -> ChatRequest:
    """The request of a later attempt: another seed, some temperature, and a word on what was wrong where it helps.

    Only our own reason is sent to the model, never words of its answer: these may be copied from a photo.
    """
    if attempt == 0:
        return request
    parts = request.parts
    if trouble is not None and trouble.trouble in _REPAIRABLE:
        parts = (*parts, TextPart(f"\n\nAn earlier answer could not be used: {trouble.reason}. Answer completely."))
    seed = None if request.seed is None else request.seed + 1009 * attempt
    return replace(request, parts=parts, seed=seed, temperature=max(request.temperature, least_temperature))


def standing(journal: Journal, model: str, question: Question[Any], limits: Limits) -> Answered[Any] | Failed | Pending:
    """What the journal says of a question: its answer, that its attempts are used up, or what to send next."""
    key = request_key(model, question.request, question.sample)
    trouble: AnswerError | None = None
    stored = _stored_replies(journal, key)
    for reply in reversed(stored):
        try:
            return Answered(read_reply(question, reply, limits.check_pictures), key, 0)
        except AnswerError as error:
            trouble = trouble or error
    left = limits.answer_attempts - (0 if limits.retry_failed else len(stored))
    if left <= 0 and trouble is not None:
        reason = f"{trouble} (in an earlier run, {counted(len(stored), 'attempt')})"
        return Failed(reason, key, trouble.trouble, 0)
    request = varied(question.request, len(stored), trouble, limits.retry_temperature)
    return Pending(key, request, len(stored), left, trouble)


def _stored_replies(journal: Journal, key: str) -> list[ChatReply]:
    """Answers that came, in their order; an error that an earlier version kept as an answer is none."""
    replies = []
    for attempt in journal.attempts(key):
        if attempt.status != "error":
            try:
                replies.append(attempt.reply())
            except ServerError as error:
                logger.info("attempt %d at %s is no answer: %s", attempt.attempt, key[:12], error)
    return replies


def read_reply(question: Question[Any], reply: ChatReply, check_pictures: ImageGrid | None) -> Any:
    """Value of an answer. Raises `AnswerError` where it cannot be used."""
    if check_pictures is not None:
        check_pictures_were_read(question.request, reply, check_pictures)
    if not reply.text.strip() and reply.finish_reason in ("stop", "unsaid"):
        raise AnswerError("the answer is empty", trouble="empty")
    try:
        return question.parse(reply)
    except RecursionError:
        raise AnswerError("the answer is nested too deeply", trouble="json") from None


def commit_reply(
    journal: Journal,
    question: Question[Any],
    request: ChatRequest,
    key: str,
    reply: ChatReply,
    *,
    model: str,
    check_pictures: ImageGrid | None,
    usage: Usage,
    cost: float | None,
    sent: float,
    done: float,
) -> Any:
    """The value of a reply, given out only after the attempt is in the journal.

    `request` is what was sent, which may be a variation of the question's. Raises what reading the reply raises, after
    the commit.
    """
    value, error = None, None
    try:
        value = read_reply(question, reply, check_pictures)
    except Exception as raised:  # also a fault of the parser: the answer was paid for
        error = raised
    status = "ok" if error is None else "refused" if reply.finish_reason == "refusal" else "invalid"
    reason = "" if error is None else getattr(error, "detail", f"{type(error).__name__} while reading the answer")
    journal.record(
        key, request, model=model, status=status, sent=sent, done=done, reply=reply, reason=reason, usage=usage,
        cost=cost,
    )  # fmt: skip
    if error is not None:
        raise error
    return value


def worst_usage(request: ChatRequest) -> Usage:
    """Tokens of a request with the longest answer that it allows, by the estimate."""
    return Usage(estimated_prompt_tokens(request), request.max_tokens)


def metered(reply: ChatReply, worst: Usage) -> Usage:
    """What was used; estimated where the server does not say."""
    prompt, answer = reply.usage.prompt_tokens, reply.usage.completion_tokens
    return Usage(
        worst.prompt_tokens if prompt is None else prompt,
        math.ceil(len(reply.text) / CHARACTERS_PER_TOKEN) if answer is None else answer,
        reply.usage.cached_tokens,
    )


@dataclass
class _Run:
    backend: ChatBackend
    journal: Journal
    limits: Limits
    budget: Budget
    prices: PriceTable
    on_result: OnResult | None
    results: dict[int, Answered[Any] | Failed] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    stopped_by: BaseException | None = None
    failures_in_a_row: int = 0
    unreached_in_a_row: int = 0
    unreached: ServerError | None = None
    was_reached: bool = False

    def __post_init__(self) -> None:
        self.model = self.backend.model
        self.limit_field: LimitField = (
            self.backend.limit_field if isinstance(self.backend, NamesLimit) else "max_tokens"
        )
        self.ledger = Ledger(self.budget, self.prices.of(self.model), self.journal, self.model)
        self.places = Concurrency(self.limits.concurrency)
        self.requests = Pace(self.limits.requests_per_minute)
        self.tokens = Pace(self.limits.tokens_per_minute)
        self.jitter = random.Random(0)
        self.stopping = asyncio.Event()

    async def all(self, questions: Iterable[Question[Any]]) -> list[Answered[Any] | Failed]:
        numbered = enumerate(questions)
        workers = [asyncio.create_task(self._work(numbered)) for _ in range(self.limits.concurrency)]
        with draining_on_signals(self._stop, workers):
            await asyncio.gather(*workers, return_exceptions=True)
        if self.unreached is not None and not self.was_reached:
            self._stop(self.unreached)
        if self.stopped_by is not None:
            raise self.stopped_by
        return [self.results[i] for i in sorted(self.results)]

    def _stop(self, reason: BaseException) -> None:
        """Begin nothing new; `reason` is raised when the calls in flight are done."""
        self.stopped_by = self.stopped_by or reason
        self.stopping.set()

    async def _work(self, numbered: Iterator[tuple[int, Question[Any]]]) -> None:
        try:
            while not self.stopping.is_set() and (taken := next(numbered, None)) is not None:
                number, question = taken
                result = await self._answer(question)
                if result is not None:
                    self.results[number] = result
                    if self.on_result:
                        self.on_result(number, result)
        except BaseException as error:
            self._stop(error)
            raise

    async def _answer(self, question: Question[Any]) -> Answered[Any] | Failed | None:
        """None where the run stops before there is a result."""
        key = request_key(self.model, question.request, question.sample)
        async with self.locks.setdefault(key, asyncio.Lock()):  # the same question twice is one call
            found = standing(self.journal, self.model, question, self.limits)
            if not isinstance(found, Pending):
                return found
            if self.limits.journal_only:
                return _unasked(found)
            attempts = range(found.attempt, found.attempt + found.left)
            return await self._ask(question, key, found.trouble, attempts)

    async def _ask(
        self, question: Question[Any], key: str, trouble: AnswerError | None, attempts: range
    ) -> Answered[Any] | Failed | None:
        """Ask until an answer can be used; the number of an attempt decides its seed."""
        calls = 0
        for attempt in attempts:
            request = varied(question.request, attempt, trouble, self.limits.retry_temperature)
            request = replace(request, limit_field=self.limit_field)
            for sending in range(self.limits.server_attempts):
                try:
                    value = await self._send(question, request, key)
                    return None if value is _STOPPED else Answered(value, key, calls + 1)
                except AnswerError as error:
                    calls, trouble = calls + 1, error
                    logger.info("question %s, attempt %d: %s", key[:12], attempt, error.detail)
                    break
                except ServerError as error:
                    calls += 1
                    self._note_reach(error)
                    wait = self._wait(error, sending)
                    if wait is None:
                        return self._failed(error, key, calls)
                    await self._sleep(wait)
        assert trouble is not None
        return Failed(str(trouble), key, trouble.trouble, calls)

    async def _send(self, question: Question[Any], request: ChatRequest, key: str) -> Any:
        """One call, committed; its value, or `_STOPPED`. Raises `ServerError`, `AnswerError`."""
        worst = worst_usage(request)
        window = await self.places.enter()
        overrun = success = False
        try:
            if not await self._may_send(worst):
                return _STOPPED
            started = time.time()
            try:
                reply = await self.backend.complete(request)
            except ServerError as error:
                overrun = error.slow_down
                self._commit_error(request, key, error, started, worst)
                raise
            success = self.was_reached = True
            self.failures_in_a_row = 0
            return self._committed(question, request, key, reply, started, worst)
        finally:
            await self.places.leave(window, overrun=overrun, success=success)

    async def _may_send(self, worst: Usage) -> bool:
        await self._sleep(max(self.requests.wait_for(1.0), self.tokens.wait_for(float(_tokens(worst)))))
        if self.stopping.is_set():
            return False
        try:
            self.ledger.promise(worst)
        except BudgetError as error:
            self._stop(error)
            return False
        return True

    def _committed(
        self, question: Question[Any], request: ChatRequest, key: str, reply: ChatReply, started: float, worst: Usage
    ) -> Any:
        usage = metered(reply, worst)
        cost = self.ledger.settle(worst, usage)
        self.tokens.correct(float(_tokens(usage) - _tokens(worst)))
        return commit_reply(
            self.journal, question, request, key, reply, model=self.model, check_pictures=self.limits.check_pictures,
            usage=usage, cost=cost, sent=started, done=time.time(),
        )  # fmt: skip

    def _commit_error(self, request: ChatRequest, key: str, error: ServerError, started: float, worst: Usage) -> None:
        self.journal.record(
            key, request, model=self.model, status="error", sent=started, done=time.time(), reason=str(error),
            error_body=error.raw,
        )  # fmt: skip
        # A call that was cut off may have been worked on, so its promise stays spent.
        if error.trouble not in ("timeout", "body"):
            self.ledger.settle(worst, Usage())

    def _note_reach(self, error: ServerError) -> None:
        """Stops the run where nobody is there: at once where nobody ever was, else when a question has waited in vain.

        A server that was there may be starting anew, so calls wait for it as for a busy one.
        """
        if error.trouble != "unreachable":
            self.was_reached = True
        elif not self.was_reached:
            self.unreached, self.unreached_in_a_row = error, self.unreached_in_a_row + 1
            if self.unreached_in_a_row >= self.limits.refusals_in_a_row:
                self._stop(error)

    def _wait(self, error: ServerError, sending: int) -> float | None:
        """Seconds until the same call is sent again, None where it is not."""
        if not error.retryable or sending + 1 >= self.limits.server_attempts:
            return None
        if not self.was_reached:
            return self.limits.first_wait
        wait = error.retry_after
        if wait is None:
            return min(self.limits.longest_wait, self.limits.first_wait * 2.0**sending) * self.jitter.uniform(0.75, 1.0)
        if wait > self.limits.longest_wait:
            return None
        self.places.pause(wait)
        return wait

    def _failed(self, error: ServerError, key: str, calls: int) -> Failed:
        """No answer came. Stops the run where the others cannot fare better."""
        self.failures_in_a_row += error.retryable
        gone = error.trouble == "unreachable" and self.was_reached
        if gone or error.trouble == "account" or self.failures_in_a_row >= self.limits.failures_in_a_row:
            self._stop(error)
        return Failed(str(error), key, error.trouble, calls)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, unless the run stops."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self.stopping.wait(), seconds)
            except asyncio.TimeoutError:
                pass


_STOPPED = object()


def _unasked(found: Pending) -> Failed:
    last = "" if found.trouble is None else f"; the last one: {found.trouble.detail}"
    return Failed(f"the journal has no answer, and nobody is asked{last}", found.key, "unasked", 0)


def _tokens(usage: Usage) -> int:
    return (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
