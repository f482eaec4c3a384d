"""A judge learns on groups whose truth is known.

    groups in a seeded order, in rounds
      -> rules that do harm are retired -> what is shown of the memory -> verdicts -> how well they went
      -> of some groups verdicts with one rule left out -> review -> rules through the filter
      -> one transaction per group: episode, credit, cases, rules

Groups of a round see the memory as it was when the round began. Every episode has the name of its group, so that a run
which was stopped goes on where it was, and a second run does nothing. Source: Shen et al. 2026 (arXiv 2602.19180);
that rules are retired and left out is not in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import torch

from hmralign.body.model import BodyModel
from hmralign.critics.vlm.answers import MinedRules, parse_rules
from hmralign.critics.vlm.memory.counting import Counting
from hmralign.critics.vlm.memory.credit import EffectOptions, helpful_rules, rule_effects
from hmralign.critics.vlm.memory.embeddings import Embedder
from hmralign.critics.vlm.memory.episodes import JudgedGroup, control_credit, make_episode, truth_score
from hmralign.critics.vlm.memory.pruning import PruningOptions, retirements, rules_to_keep
from hmralign.critics.vlm.memory.records import NewRule, RuleUse
from hmralign.critics.vlm.memory.retrieval import Retrieved
from hmralign.critics.vlm.memory.rule_filter import review_rule
from hmralign.critics.vlm.memory.store import Memory
from hmralign.critics.vlm.plan import group_generator
from hmralign.critics.vlm.prompts import ReviewedCase, reflection_request
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError, Rule
from hmralign.systems.group_preference.embedding import looks_at_pictures, require_pictures, resolved
from hmralign.systems.group_preference.judging import group_query, judge_groups, make_embedder, shown_of
from hmralign.systems.group_preference.pictures import StoredGroup, draw_group, read_groups
from hmralign.systems.group_preference.rounds import Rounds
from hmralign.systems.group_preference.settings import ExploreConfig, check_plan
from hmralign.systems.group_preference.verdicts import GroupVerdict, comments_of
from hmralign.vlm.asker import Asker
from hmralign.vlm.asking import Answered, Failed, Question
from hmralign.vlm.chat import ChatReply
from hmralign.vlm.structured import usable_text

logger = logging.getLogger("hmralign.critic")

Credit = Literal["shared", "paired", "effects"]
"""How a rule's worth is found at freezing: `shared`, success rate of the prompts it was in; `paired`, share of groups
that were judged better with it than without it; `effects`, change of the rank correlation by least squares over both.
"""


def utc_now() -> str:
    """The time of an episode, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass
class ExploreReport:
    """What a run added to a memory."""

    episodes: int = 0
    """Written by this run."""
    before: int = 0
    """How many of the groups asked for were in the memory already."""
    successes: int = 0
    rho: list[float] = field(default_factory=list)
    """Rank correlation with the truth, per episode written."""
    rules: int = 0
    """Mined, filtered and written."""
    refused_rules: list[tuple[str, str]] = field(default_factory=list)
    """Sentences that became no rules, and why."""
    unjudged: list[tuple[str, str]] = field(default_factory=list)
    """Groups without a verdict, and why; they are no episodes."""
    failed_reviews: list[tuple[str, str]] = field(default_factory=list)
    """Groups whose review gave no answer, and why; their episodes have no new rules."""
    controls: int = 0
    """Episodes whose group was also judged without one of its rules."""
    failed_controls: list[tuple[str, str]] = field(default_factory=list)
    """Groups without a verdict the second time, and why; their episodes tell nothing of single rules."""
    retired: list[tuple[str, str]] = field(default_factory=list)
    """Rules that are shown no longer, and why."""
    calls: int = 0


def explore_groups(
    folder: str | Path,
    asker: Asker,
    body: BodyModel,
    memory: Memory,
    config: ExploreConfig | None = None,
    clock: Callable[[], str] = utc_now,
    device: str | torch.device = "cpu",
) -> ExploreReport:
    """Fill a memory from a store with truth; continues an unfinished run.

    `clock` gives the time that is written into episodes; CLIP runs on `device`.

    Raises InputError for a store without truth, a frozen memory,
    a memory that was explored in another way, and a plan that does not fit the groups; then as `ask_all`.
    """
    config = config or ExploreConfig()
    store = GroupStore.open(folder)
    if not store.facts.with_truth:
        raise InputError(f"{store.folder}: holds no truth to learn from; build the groups with truth")
    if memory.frozen:
        raise InputError(f"the memory {memory.path} is frozen; explore one that is not, or begin another")
    check_plan(config.judge, store.facts.group_size)
    judge = replace(config.judge, embedding=resolved(config.judge.embedding, memory))
    config = replace(config, judge=judge)
    embedder = make_embedder(judge, memory, device)
    require_pictures(store, embedder)
    rounds = Rounds.open(memory, {"model": asker.backend.model, **_of_model(embedder), **config.record})
    run = _Exploration(store, asker, body, memory, config, clock, rounds, embedder)
    asyncio.run(run.all())
    return run.report


def exploring_order(groups: int, config: ExploreConfig) -> list[int]:
    """Numbers of the groups of a store in the order in which they are explored."""
    generator = torch.Generator().manual_seed(config.seed)
    return torch.randperm(groups, generator=generator)[: config.groups].tolist()


@dataclass
class _Exploration:
    store: GroupStore
    asker: Asker
    body: BodyModel
    memory: Memory
    config: ExploreConfig
    clock: Callable[[], str]
    rounds: Rounds
    embedder: Embedder | None
    report: ExploreReport = field(default_factory=ExploreReport)

    async def all(self) -> None:
        order, size = exploring_order(len(self.store), self.config), self.config.round_size
        try:
            for start in range(0, len(order), size):
                groups = self._groups(order[start : start + size])
                new = [group for group in groups if not self.memory.has_episode(group.episode)]
                self.report.before += len(groups) - len(new)
                if not new:
                    continue
                # Once a round has started, its memory stays as it was then, whatever was written since.
                if not any(self.rounds.has_begun(group.episode) for group in groups):
                    self._retire()
                await self._round(new)
                done = min(start + size, len(order))
                logger.info("%d of %d groups explored, %d rules", done, len(order), len(self.memory.rules()))
            self._retire()
        finally:
            await self.asker.close()

    def _retire(self) -> None:
        """Rules that go by what is known now: after the same episodes always the same ones, in one transaction."""
        if not self.config.retires:
            return
        options, rules = self.config.retirement, {rule.id: rule for rule in self.memory.rules()}
        effects = rule_effects(self.memory.episodes(), self.memory.log(), options.effects)
        reasons = retirements(tuple(rules.values()), effects, self.memory.conflicts(), options)
        if reasons:
            self.memory.retire(reasons, self.clock())
        for name, reason in sorted(reasons.items()):
            logger.info("rule %s is shown no longer: %s", name, reason)
            self.report.retired.append((rules[name].text, reason))

    def _groups(self, numbers: Sequence[int]) -> list[StoredGroup]:
        """Groups of a round, in its order."""
        entries = {n: self.store.entries[n] for n in numbers}
        shards = {e.shard for e in entries.values()}
        read = {
            (shard, group.entry.row): group
            for shard in sorted(shards)
            for group in read_groups(self.store, shard, self.config.error, self.body)
        }
        return [read[entry.shard, entry.row] for entry in entries.values()]

    async def _round(self, groups: list[StoredGroup]) -> None:
        shown = self._shown(groups)
        verdicts = await judge_groups(
            self.asker, groups, lambda group: shown[group.episode], self.body, self.config.judge
        )
        self.report.calls += sum(v.calls for v in verdicts)
        self.report.unjudged += [(v.id, v.reason) for v in verdicts if v.verdict is None]
        judged = [
            (group, verdict, self._judged(group, verdict, shown[group.episode]))
            for group, verdict in zip(groups, verdicts, strict=True)
            if verdict.verdict is not None
        ]
        controls = await self._judge_without([group for group, _, _ in judged], shown)
        reviews = await self._review([(case, shown[group.episode]) for group, _, case in judged])
        for (group, verdict, case), review in zip(judged, reviews, strict=True):
            self._commit(group, verdict, case, shown[group.episode], review, controls.get(group.episode))

    def _shown(self, groups: list[StoredGroup]) -> dict[str, Retrieved]:
        """What each group is shown: as recorded, where its round had already started."""
        shown: dict[str, Retrieved] = {}
        new: dict[str, Retrieved] = {}
        for group in groups:
            recorded = self.rounds.recorded(self.memory, group.episode)
            if recorded is None:
                options, seed = self.config.shown, self.config.seed
                recorded = new[group.episode] = shown_of(self.memory, group, self.embedder, options, seed)
            shown[group.episode] = recorded
        self.rounds.begin(new, self._to_leave_out(new))
        return shown

    def _to_leave_out(self, shown: Mapping[str, Retrieved]) -> dict[str, str]:
        """Episode -> rule, for a share of the episodes that are shown any.

        Whether an episode is one of them depends on its name and the seed alone. The rule is the one that was left out
        least often, so that little is known of none of them for long; ties are drawn.
        """
        often = Counter(use.rule for use in self.memory.log() if use.control is not None)
        chosen: dict[str, str] = {}
        for episode, retrieved in shown.items():
            generator = group_generator(f"left out {episode}", self.config.seed)
            draw, *ties = torch.rand(1 + len(retrieved.rules), generator=generator, dtype=torch.float64).tolist()
            if draw < self.config.leave_one_out and retrieved.rules:
                _, _, rule = min((often[name], tie, name) for name, tie in zip(retrieved.rules, ties, strict=True))
                chosen[episode] = rule
                often[rule] += 1
        return chosen

    async def _judge_without(
        self, groups: Sequence[StoredGroup], shown: Mapping[str, Retrieved]
    ) -> dict[str, GroupVerdict]:
        """Second verdicts, by episode: all as before but for the rule that is left out."""
        again = {group.episode: rule for group in groups if (rule := self.rounds.left_out(group.episode)) is not None}
        asked = [group for group in groups if group.episode in again]
        if not asked:
            return {}
        verdicts = await judge_groups(
            self.asker, asked, lambda group: shown[group.episode].without(again[group.episode]), self.body,
            self.config.judge,
        )  # fmt: skip
        self.report.calls += sum(v.calls for v in verdicts)
        self.report.failed_controls += [(v.id, v.reason) for v in verdicts if v.verdict is None]
        return {group.episode: verdict for group, verdict in zip(asked, verdicts, strict=True)}

    def _judged(self, group: StoredGroup, verdict: GroupVerdict, shown: Retrieved) -> JudgedGroup:
        assert verdict.merged is not None and verdict.verdict is not None and group.errors is not None
        query = group_query(group, self.embedder)
        photo, overlays = None, ()
        if self.config.images and self.config.kept.cases:
            pictures = draw_group(group, self.body, self.config.judge.style)
            photo, overlays = pictures.photo_tile(), tuple(pictures.tile(i) for i in range(group.size))
        return JudgedGroup(
            group.episode, group.images, verdict.merged.scores, group.errors,
            comments_of(verdict.verdict, group.size), embedding=query.embedding, space=query.space,
            photo=photo, overlays=overlays,
        )  # fmt: skip

    async def _review(
        self, judged: Sequence[tuple[JudgedGroup, Retrieved]]
    ) -> Sequence[Answered[MinedRules] | Failed | None]:
        """What the judge makes of its verdicts; None where it is not asked."""
        if not self.config.mines_rules or not judged:
            return [None] * len(judged)
        results = await self.asker.ask(iter([self._review_question(case, shown) for case, shown in judged]))
        self.report.calls += sum(r.calls for r in results)
        return results

    def _review_question(self, case: JudgedGroup, shown: Retrieved) -> Question[MinedRules]:
        cases = [
            ReviewedCase(float(score), comment, truth_score(float(error), self.config.episodes.half_error))
            for score, comment, error in zip(case.scores, case.comments, case.errors, strict=True)
        ]
        return Question(reflection_request(cases, shown.context.rules, self.config.judge.options), _read_rules)

    def _commit(
        self,
        group: StoredGroup,
        verdict: GroupVerdict,
        case: JudgedGroup,
        shown: Retrieved,
        review: Answered[MinedRules] | Failed | None,
        control: GroupVerdict | None,
    ) -> None:
        """One transaction with all that came of a group."""
        keys, mined = list(verdict.keys), tuple[NewRule, ...]()
        credit = None
        if control is not None and control.merged is not None:
            credit = control_credit(case, replace(case, scores=control.merged.scores))
            keys += control.keys
        left_out = self.rounds.left_out(group.episode)
        uses = [RuleUse(rule, credit if rule == left_out else None) for rule in shown.rules]
        if isinstance(review, Answered):
            keys.append(review.key)
            mined = self._filtered(review.value, case)
        elif isinstance(review, Failed):
            self.report.failed_reviews.append((group.id, review.reason))
        episode = make_episode(
            case, judge=self.asker.backend.model, time=self.clock(), rules=uses, shown=shown.prototypes,
            mined=mined, journal_keys=keys, index=self.memory.prototype_index(), options=self.config.kept,
        )  # fmt: skip
        if self.memory.commit(episode, case.space):
            self.report.episodes += 1
            self.report.successes += episode.success
            self.report.rho.append(episode.rho)
            self.report.rules += len(mined)
            self.report.controls += credit is not None

    def _filtered(self, mined: MinedRules, case: JudgedGroup) -> tuple[NewRule, ...]:
        """Sentences that become rules; those of one review are compared with one another too."""
        self.report.refused_rules += mined.refused
        known, kept = list(self.memory.rules(retired=True)), list[NewRule]()
        for rule in mined.rules:
            said = review_rule(
                rule.text, rule.tags, known, quotable=case.comments, errors=case.errors.tolist(),
                options=self.config.rule_filter,
            )  # fmt: skip
            if not said.accepted:
                self.report.refused_rules.append((rule.text, said.reason))
                continue
            new = NewRule(said.text, said.tags, self.asker.backend.model, said.conflicts)
            kept.append(new)
            known.append(Rule(new.id, new.text, new.tags))
        return tuple(kept)


def _read_rules(reply: ChatReply) -> MinedRules:
    return parse_rules(usable_text(reply))


def freeze_memory(
    memory: Memory,
    path: str | Path,
    *,
    best_rules: int | None = None,
    baseline: float | None = None,
    pruning: PruningOptions | None = None,
    credit: Credit = "shared",
    effects: EffectOptions | None = None,
    time: str = "",
) -> str:
    """An immutable copy of a memory; gives its content hash.

    With `best_rules` only so many rules are kept. With shared credit those whose success rate is shown to be above
    `baseline`: by default the rate of the judge without rules, from the episodes of the first rounds. With paired
    credit those that raise the rank correlation in more than half of the groups that were also judged without them.
    By effects those whose effect is shown to be above zero (`effects`). Raises InputError where there are no such
    episodes, for a baseline outside 0..1 or one that the credit has no use for, and as `Memory.freeze`.
    """
    keep = None
    if best_rules is not None:
        if best_rules < 0:
            raise InputError(f"{best_rules} rules are to be kept; expected 0 or more")
        keep = _best(memory, best_rules, baseline, pruning, credit, effects)
    elif baseline is not None:
        raise InputError("a baseline is given, and all rules are to be kept; say how many of the best")
    return memory.freeze(path, keep=keep, time=time)


def _best(
    memory: Memory,
    count: int,
    baseline: float | None,
    pruning: PruningOptions | None,
    credit: Credit,
    effects: EffectOptions | None,
) -> tuple[str, ...]:
    """Rules to keep, by one of the ways to find their worth."""
    if credit == "effects":
        if baseline is not None:
            raise InputError("a baseline is a success rate, and effects have none; expected shared or paired credit")
        found = rule_effects(memory.episodes(), memory.log(), effects)
        active = {rule.id for rule in memory.rules()}
        return helpful_rules(found, count, effects, memory.conflicts(), among=active)
    if credit == "paired" and not any(use.control is not None for use in memory.log()):
        raise InputError(f"the memory {memory.path} has no group that was also judged without one of its rules; "
                         "explore with leave_one_out, or choose another credit")  # fmt: skip
    if baseline is None:
        baseline = 0.5 if credit == "paired" else unaided_rate(memory)
    if not 0 <= baseline <= 1:
        raise InputError(f"the baseline is {baseline}; expected 0 to 1")
    return rules_to_keep(memory.rules(Counting(credit=credit)), baseline, count, pruning, memory.conflicts())


def _of_model(embedder: Embedder | None) -> dict[str, object]:
    """Which model's vectors a memory is explored with; what needs no weights is said by the settings."""
    return {"vectors": embedder.space.record} if embedder is not None and looks_at_pictures(embedder) else {}


def unaided_rate(memory: Memory) -> float:
    """Share of successes among episodes that were shown no rule. Raises InputError where there is none."""
    unaided = [episode.rho > episode.threshold for episode in memory.episodes() if not episode.rules]
    if not unaided:
        raise InputError(f"the memory {memory.path} has no episode without rules to compare with; give a baseline")
    return sum(unaided) / len(unaided)
