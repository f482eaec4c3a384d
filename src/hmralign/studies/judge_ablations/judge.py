"""Who judges in a study, and how the report calls it: a server or a local model, or an object that is handed in.

What is handed in has to be named by who hands it in, so that a computed judge is never taken for a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hmralign.structures import InputError
from hmralign.studies.judge_ablations.settings import JudgeAccess
from hmralign.vlm.asker import Asker
from hmralign.vlm.asking import Limits
from hmralign.vlm.backends import make_backend, read_profile
from hmralign.vlm.budget import Budget
from hmralign.vlm.chat import ChatBackend
from hmralign.vlm.journal import Journal
from hmralign.vlm.prices import PriceTable


@dataclass(frozen=True)
class Judge:
    """Whoever answers, and the words for it in the first line of the report."""

    backend: ChatBackend
    what: str
    """Such as "a program that knows the truth; no vision-language model"."""
    model: bool = False
    """Whether it is a vision-language model; otherwise the report says that it shows a mechanism and no more."""

    def __post_init__(self) -> None:
        """Raise InputError for a judge that nobody has named."""
        if not self.what.strip():
            raise InputError("the judge of the study is not named; expected words for the first line of the report")


def open_judge(access: JudgeAccess) -> Judge:
    """By the configuration. Raises InputError where nobody is given, and as `make_backend`."""
    if access.base_url is None and access.local is None:
        raise InputError("the study has nobody to ask; expected judge: base_url with model, or local")
    backend = make_backend(
        access.base_url, access.model, None if access.local is None else Path(access.local),
        allow_remote=access.allow_remote, device=access.device, timeout=access.timeout,
        concurrency=access.concurrency, plain_schema=not access.send_schema, limit_field=access.limit_field,
    )  # fmt: skip
    where = f"behind {access.base_url}" if access.local is None else f"in this process, on {access.device}"
    return Judge(backend, f"the model {backend.model} {where}{f' ({access.note})' if access.note else ''}", model=True)


def make_asker(judge: Judge, access: JudgeAccess, journal: Journal) -> Asker:
    """With limits, budget and prices. Raises InputError for a budget without prices, and a profile of another model."""
    if access.budget_cost is not None and access.prices is None:
        raise InputError("judge: budget_cost needs prices")
    profile = None if access.profile is None else read_profile(access.profile, judge.backend.model)
    limits = Limits(
        concurrency=1 if access.local is not None else access.concurrency,
        requests_per_minute=access.requests_per_minute, tokens_per_minute=access.tokens_per_minute,
        check_pictures=None if profile is None else profile.picture_check(),
    )  # fmt: skip
    budget = Budget(access.budget_cost, access.budget_calls, access.budget_tokens)
    return Asker(
        judge.backend, journal, limits, budget, PriceTable.load(access.prices) if access.prices else PriceTable()
    )
