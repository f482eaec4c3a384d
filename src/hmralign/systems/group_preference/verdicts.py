"""From the answers about a group to its verdict, or to the reason why there is none.

Nothing is filled in: a group of which a call failed for good is unjudged, unless `JudgeConfig.incomplete` lets its
other calls decide, which then have to judge every hypothesis and hang together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hmralign.critics.vlm.answers import Preference
from hmralign.critics.vlm.memory.retrieval import Retrieved
from hmralign.critics.vlm.merge import Merged, merge, merge_preferences
from hmralign.critics.vlm.plan import Call
from hmralign.structures import Critique, Finding, InputError, Verdict
from hmralign.structures.counted import counted
from hmralign.structures.critique import HIGHEST_SCORE
from hmralign.systems.group_preference.questions import Said
from hmralign.systems.group_preference.settings import JudgeConfig
from hmralign.vlm.asking import Answered, Failed

Status = Literal["judged", "uninformative", "unjudged"]


@dataclass(frozen=True)
class GroupVerdict:
    """What came of a group. `verdict` and `merged` are None where it is unjudged, and `reason` says why."""

    id: str
    verdict: Verdict | None = None
    merged: Merged | None = None
    reason: str = ""
    missing: tuple[str, ...] = ()
    """Calls without an answer that can be used, and why."""
    calls: int = 0
    """Made now; 0 where the journal had everything."""
    unasked: int = 0
    """Calls that nobody was asked, so that their answers may still come."""

    @property
    def status(self) -> Status:
        """`uninformative`: judged, without a difference that outweighs the judge's own noise."""
        if self.verdict is None:
            return "unjudged"
        return "judged" if self.verdict.informative else "uninformative"

    @property
    def keys(self) -> tuple[str, ...]:
        """Journal keys of the answers behind the verdict."""
        return () if self.verdict is None else tuple(c.key for c in self.verdict.critiques)


def group_verdict(
    group_id: str,
    group_size: int,
    calls: Sequence[Call],
    results: Sequence[Answered[Said] | Failed],
    shown: Retrieved,
    config: JudgeConfig,
) -> GroupVerdict:
    """The verdict from one result for each call."""
    said = [(r.value, r.key) for r in results if isinstance(r, Answered)]
    missing = tuple(
        f"call {number} ({' '.join(call.labels)}): {result.reason}"
        for number, (call, result) in enumerate(zip(calls, results, strict=True))
        if isinstance(result, Failed)
    )
    made = sum(result.calls for result in results)
    unasked = sum(isinstance(result, Failed) and result.trouble == "unasked" for result in results)
    if missing and (config.incomplete == "unjudged" or not said):
        reason = f"{len(missing)} of {counted(len(calls), 'call')} failed; {missing[0]}"
        return GroupVerdict(group_id, reason=reason, missing=missing, calls=made, unasked=unasked)
    critiques = tuple(
        Critique(_findings(value), key, shown.rules, shown.prototypes) for value, key in said
    )  # fmt: skip
    try:
        merged = _merge([value for value, _ in said], critiques, group_size, config)
    except InputError as error:
        if not missing:
            raise
        reason = f"{len(missing)} of {counted(len(calls), 'call')} failed, and the others do not suffice: {error}"
        return GroupVerdict(group_id, reason=reason, missing=missing, calls=made, unasked=unasked)
    return GroupVerdict(group_id, merged.verdict(critiques), merged, missing=missing, calls=made, unasked=unasked)


def comments_of(verdict: Verdict, group_size: int) -> tuple[str, ...]:
    """What was said of each hypothesis: of several comments the first."""
    comments = [""] * group_size
    for critique in verdict.critiques:
        for finding in critique.findings:
            comments[finding.hypothesis] = comments[finding.hypothesis] or finding.comment
    return tuple(comments)


def _findings(said: Said) -> tuple[Finding, ...]:
    """A pair's answer as two findings: all or nothing, or half each."""
    if not isinstance(said, Preference):
        return said
    first = said.first_wins * HIGHEST_SCORE
    return (
        Finding(said.first, first, said.comment),
        Finding(said.second, HIGHEST_SCORE - first, said.comment),
    )


def _merge(said: Sequence[Said], critiques: Sequence[Critique], group_size: int, config: JudgeConfig) -> Merged:
    if config.plan.design == "pairs":
        return merge_preferences([s for s in said if isinstance(s, Preference)], group_size, config.merge)
    return merge(critiques, group_size, config.merge)
