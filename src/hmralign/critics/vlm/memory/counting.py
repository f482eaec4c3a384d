"""From the log of uses to a rule's counters: nothing is ever counted up in place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hmralign.critics.vlm.memory.records import LoggedUse, StoredRule
from hmralign.critics.vlm.memory.success import LEVEL, success_threshold
from hmralign.structures import Rule


@dataclass(frozen=True)
class Counting:
    """How the log of uses becomes counters."""

    tau: float | None = None
    """Threshold on the rank correlation, raised for small groups as in `success_threshold`; None counts each episode
    by the threshold that was in force then."""
    level: float = LEVEL
    """Chance of a random judge's success, at most; with `tau`."""
    credit: Literal["shared", "paired"] = "shared"
    """`shared`: all rules of a prompt share the outcome of its group. `paired`: only uses that were also judged
    without the rule count, as successes where the rule raised the correlation."""


def counted_rules(rules: Iterable[StoredRule], log: Iterable[LoggedUse], counting: Counting) -> tuple[Rule, ...]:
    """Rules with their counters, in the order in which they come."""
    uses, successes = dict[str, int](), dict[str, int]()
    for use in log:
        won = _outcome(use, counting)
        if won is not None:
            uses[use.rule] = uses.get(use.rule, 0) + 1
            successes[use.rule] = successes.get(use.rule, 0) + won
    return tuple(Rule(r.id, r.text, r.tags, uses.get(r.id, 0), successes.get(r.id, 0)) for r in rules)


def _outcome(use: LoggedUse, counting: Counting) -> bool | None:
    """Whether a use went well; None where it does not count."""
    if counting.credit == "paired":
        return None if use.control is None else use.control > 0
    if counting.tau is None:
        return use.outcome
    return use.rho > success_threshold(use.group_size, counting.tau, counting.level)
