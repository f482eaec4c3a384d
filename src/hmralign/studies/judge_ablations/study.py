"""The ablations of GPA, arm by arm.

    learn    groups with truth -> explore with the arm's switches -> a frozen memory
    score    other groups, no truth -> the judge with that memory, or a critic that is computed
    align    base + scores -> the arm's method, recommended settings -> weights, one for each seed
    measure  persons of known truth -> errors of these weights, and of the base

Arms share what is the same: DPO takes the scores of the full agent. Everything is kept (`steps`); a second run asks
nothing and trains nothing. Source: Shen et al. 2026 (arXiv 2602.19180), Tables 2 to 4 and the supplement.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from hmralign.alignment.advantages import silent_groups
from hmralign.body.model import BodyModel
from hmralign.critics.vlm.memory.store import Memory
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import SamplerConfig
from hmralign.preferences.build import GroupStoreConfig, critic_facts, named_critic, require_truth, score_store
from hmralign.preferences.store import GroupStore, writing
from hmralign.preferences.stored_body import stored_body
from hmralign.structures import InputError
from hmralign.studies.alignment.cells import read_measurement, write_measurement
from hmralign.studies.alignment.measure import BY_REPROJECTION, MeasureConfig, measure_persons, persons_at_once
from hmralign.studies.judge_ablations.cost import Cost, cost_of
from hmralign.studies.judge_ablations.judge import Judge, make_asker
from hmralign.studies.judge_ablations.persons import Measured, measured_persons
from hmralign.studies.judge_ablations.settings import Arm, StudyConfig
from hmralign.studies.judge_ablations.steps import Kind, Step, short_hash
from hmralign.studies.table import Run
from hmralign.systems.align.checkpoint import align_checkpoint, open_start
from hmralign.systems.evaluate.predict import PredictConfig
from hmralign.systems.group_preference.explore import explore_groups, freeze_memory, utc_now
from hmralign.systems.group_preference.score import score_groups
from hmralign.systems.group_preference.verdict_files import read_verdicts
from hmralign.vlm.asker import Asker
from hmralign.vlm.journal import Journal

logger = logging.getLogger("hmralign.critic")


@dataclass(frozen=True)
class ArmResult:
    """What came of one arm. Records are plain values."""

    arm: Arm
    steps: dict[str, str]
    """Names of its steps; of alignments and measurements that of each seed."""
    scores: str | None
    """Name of its scores in the store; None for the base."""
    learnt: dict[str, Any] | None = None
    scored: dict[str, Any] | None = None
    aligned: tuple[dict[str, Any], ...] = ()
    """One for each seed."""
    runs: dict[int, Run] = field(default_factory=dict)
    """Errors of each seed's weights; of the base under 0."""
    skipped: str | None = None
    """Why nothing was aligned; None where it was."""
    cost: Cost = field(default_factory=Cost)
    cpu_seconds: float = 0.0
    """CPU seconds of its steps, those that others share included."""


@dataclass
class AblationStudy:
    """A study in progress; `run.run_ablations` begins, ends and reports one."""

    config: StudyConfig
    out: Path
    judge: Judge | None
    """None where no arm asks."""
    journal: Journal
    device: str | torch.device = "cpu"
    """Where CLIP runs, critics judge, and models are aligned and measured."""

    def __post_init__(self) -> None:
        """Raise InputError for stores that do not go together, before anything is asked."""
        config = self.config
        self.learn_store, self.score_store = GroupStore.open(config.learn), GroupStore.open(config.score)
        self.body: BodyModel = stored_body(self.score_store.facts)
        if not self.learn_store.facts.with_truth:
            raise InputError(f"{config.learn}: holds no truth to learn from; build the groups with truth")
        if len(self.score_store) == 0 or len(self.learn_store) == 0:
            raise InputError(f"{config.learn if len(self.score_store) else config.score}: holds no groups")
        self.base = open_start(self.score_store, config.base, self.body).name
        self.base_sha256 = checkpoint_hash(self.base)
        for arm in config.arms:
            if arm.critic is not None:
                facts = critic_facts(arm.critic, self.body, self._groups_config)  # pyright: ignore[reportArgumentType]
                require_truth(arm.critic, facts, self.score_store.facts.with_truth)
        self.steps: dict[str, Step] = {}

    @cached_property
    def measured(self) -> Measured:
        """Read when it is first needed."""
        return measured_persons(self.config.measure, self.learn_store, self.score_store, self.body)

    @property
    def asker(self) -> Asker:
        """The judge with the study's journal."""
        assert self.judge is not None
        return make_asker(self.judge, self.config.judge, self.journal)

    @property
    def _groups_config(self) -> GroupStoreConfig:
        facts = self.score_store.facts
        return GroupStoreConfig(
            facts.group_size, detector=facts.detector, with_truth=facts.with_truth, seed=facts.seed
        )  # fmt: skip

    def run(self, arm: Arm) -> ArmResult:
        """All steps of an arm."""
        if arm.method == "none":
            step, run = self._measure(self.base)
            return ArmResult(arm, {"measure": step.name}, None, runs={0: run}, cpu_seconds=_cpu([step]))
        logger.info("arm '%s'", arm.name)
        learn = self._learn(arm) if arm.learns else None
        score, keys = (self._computed(arm), []) if arm.critic is not None else self._judged(arm, learn)
        scored = _result(score)
        before = [step for step in (learn, score) if step is not None]
        names = {step.name.split("_")[0]: step.name for step in before}
        result = ArmResult(
            arm, names, scored["name"], None if learn is None else _result(learn), scored,
            cost=cost_of(self.journal, [*keys, *self._keys_of_memory(learn)]), cpu_seconds=_cpu(before),
        )  # fmt: skip
        if scored["speaking"] == 0:
            return _replaced(result, skipped="no group has scores that differ, so there is nothing to align with")
        return self._aligned(result, before)

    def _aligned(self, result: ArmResult, before: list[Step]) -> ArmResult:
        """The arm's weights of each seed, and their errors."""
        names, aligned, runs, steps = dict(result.steps), [], {}, list(before)
        assert result.scores is not None
        for seed in self.config.seeds:
            align = self._align(result.arm, result.scores, seed)
            measure, runs[seed] = self._measure(str(align.folder / "model.safetensors"))
            aligned.append(_result(align))
            names |= {f"align, seed {seed}": align.name, f"measure, seed {seed}": measure.name}
            steps += [align, measure]
        return _replaced(result, steps=names, aligned=tuple(aligned), runs=runs, cpu_seconds=_cpu(steps))

    # -- steps --------------------------------------------------------------------------------------------------------

    def _step(self, kind: Kind, decided_by: dict[str, Any], do: Callable[[Step], dict[str, Any]]) -> Step:
        """Do it unless it is done, and what it made is where it was."""
        step = Step.of(self.out, kind, decided_by)
        self.steps[step.name] = step
        done = step.done()
        if done is None or ("name" in done and self._other_scores(done)):
            with step.counted():
                result = do(step)
            step.finish(result)
            logger.info("%s: %.1f CPU s", step.name, _result(step)["cpu_seconds"])
        return step

    def _other_scores(self, done: dict[str, Any]) -> bool:
        """Whether scores are gone, or others are there than the record is of, as after groups were judged anew."""
        name = done["name"]
        return bool(self.score_store.unscored(name)) or self._hash_of_scores(name) != done.get("scores_sha256")

    def _hash_of_scores(self, name: str) -> str:
        scores = self.score_store.scores(name)
        return hashlib.sha256(scores.contiguous().numpy().tobytes()).hexdigest()

    def _learn(self, arm: Arm) -> Step:
        """Explore and freeze."""
        explore, freeze = self.config.explore_config(arm), self.config.freeze
        first = [rule.new for rule in self.config.first_rules] if explore.rules else []
        groups = min(explore.groups or len(self.learn_store), len(self.learn_store))
        decided_by = {
            "groups": self.learn_store.content_hash(), "model": self.asker.backend.model, "explore": explore.record,
            "number": groups, "first_rules": [[rule.text, list(rule.tags)] for rule in first],
            "freeze": asdict(freeze),
        }  # fmt: skip

        def do(step: Step) -> dict[str, Any]:
            step.folder.mkdir(parents=True, exist_ok=True)
            frozen = step.folder / "frozen.sqlite"
            with Memory.open(step.folder / "memory.sqlite") as memory:
                memory.add_rules(first, utc_now())
                report = explore_groups(self.config.learn, self.asker, self.body, memory, explore, device=self.device)
                frozen.unlink(missing_ok=True)  # of a run that was stopped, perhaps before the memory was complete
                freeze_memory(
                    memory, frozen, best_rules=freeze.best_rules, credit=freeze.credit, time=utc_now()
                )  # fmt: skip
            with Memory.open(frozen) as memory:
                rho = [episode.rho for episode in memory.episodes()]
                successes = sum(episode.rho > episode.threshold for episode in memory.episodes())
                return {
                    "memory_sha256": memory.content_hash(), "groups": groups, "episodes": len(rho),
                    "successes": successes, "mean_rho": round(sum(rho) / len(rho), 4) if rho else None,
                    "rules": len(memory.rules()), "cases": len(memory.prototype_index().ids),
                    "unjudged": [list(pair) for pair in report.unjudged],
                }  # fmt: skip

        return self._step("learn", decided_by, do)

    def _judged(self, arm: Arm, learn: Step | None) -> tuple[Step, list[str]]:
        """Scores of the judge, and the keys of the answers behind them."""
        config = self.config.score_config(arm)
        memory_sha256 = None if learn is None else _result(learn)["memory_sha256"]
        settings = asdict(config) if learn is not None else {"judge": asdict(config.judge)}
        decided_by = {
            "groups": self.score_store.content_hash(), "model": self.asker.backend.model, "scoring": settings,
            "memory_sha256": memory_sha256,
        }  # fmt: skip
        name = f"gpa-{short_hash(decided_by)}"

        def do(_: Step) -> dict[str, Any]:
            if learn is None:
                report = score_groups(self.config.score, self.asker, self.body, config, name=name)
            else:
                with Memory.open(learn.folder / "frozen.sqlite") as memory:
                    report = score_groups(
                        self.config.score, self.asker, self.body, config, memory, name=name, device=self.device
                    )
            counts = {"judged": report.judged, "uninformative": report.uninformative}
            return self._of_scores(name) | counts | {"unjudged": [list(pair) for pair in report.unjudged]}

        step = self._step("score", decided_by, do)
        lines = read_verdicts(self.score_store, name)
        return step, [c["key"] for line in lines for c in line.get("critiques", [])]

    def _computed(self, arm: Arm) -> Step:
        """Scores of a critic that is computed, in the store under its own name."""
        name: Any = arm.critic
        facts = critic_facts(name, self.body, self._groups_config)
        decided_by = {"groups": self.score_store.content_hash(), "critic": facts.sha256}

        def do(_: Step) -> dict[str, Any]:
            with writing(self.config.score) as store:
                body = self.body.to(self.device)
                score_store(store, name, named_critic(name, body, self._groups_config), facts, self.device)
            return self._of_scores(name)

        return self._step("score", decided_by, do)

    def _of_scores(self, name: str) -> dict[str, Any]:
        scores = GroupStore.open(self.config.score).scores(name)
        speaking = int((~silent_groups(scores)).sum())
        return {
            "name": name, "groups": len(scores), "speaking": speaking, "scores_sha256": self._hash_of_scores(name)
        }  # fmt: skip

    def _align(self, arm: Arm, scores: str, seed: int) -> Step:
        config = self.config.align_config(arm, scores, seed)
        facts = self.score_store.critic_facts(scores)
        decided_by = {
            "base": self.base_sha256, "groups": self.score_store.content_hash(), "scores": facts.get("sha256"),
            "scores_sha256": self._hash_of_scores(scores), "config": asdict(config),
        }  # fmt: skip

        def do(step: Step) -> dict[str, Any]:
            found = align_checkpoint(Path(self.config.score), self.base, config, step.folder, device=self.device)
            return {
                "seed": seed, "sha256": checkpoint_hash(found.path), "groups": found.result.groups,
                "stopped": found.result.stopped,
            }  # fmt: skip

        return self._step("align", decided_by, do)

    def _measure(self, checkpoint: str) -> tuple[Step, Run]:
        on = self.config.measure
        sampler = SamplerConfig(num_hypotheses=on.hypotheses, num_steps=self.score_store.facts.sampler_steps)
        detector, batch = self.score_store.facts.detector, persons_at_once(on.hypotheses)
        predict = PredictConfig(sampler, selection=BY_REPROJECTION, detector=detector, seed=on.seed, batch=batch)
        config = MeasureConfig(predict, on.kinds, (10,))
        decided_by = {
            "checkpoint": checkpoint_hash(checkpoint), "persons": self.measured.record, "measure": asdict(config),
        }  # fmt: skip

        def do(step: Step) -> dict[str, Any]:
            self.measured.require_new(checkpoint)
            policy = open_policy(checkpoint, self.body.to(self.device)).policy
            columns, seconds = measure_persons(policy, self.measured.persons, config)
            write_measurement(step.folder / "columns.npz", columns, seconds)
            return {}

        step = self._step("measure", decided_by, do)
        return step, Run(read_measurement(step.folder / "columns.npz")[0], {})

    def _keys_of_memory(self, learn: Step | None) -> list[str]:
        if learn is None:
            return []
        with Memory.open(learn.folder / "frozen.sqlite") as memory:
            return [key for episode in memory.episodes() for key in episode.journal_keys]


def same_scores(study: AblationStudy, results: Sequence[ArmResult]) -> list[list[str]]:
    """Sets of arms whose scores are equal though they were scored apart: the judge was not moved by what differs."""
    store = GroupStore.open(study.config.score)
    first_of: dict[str, str] = {}
    for result in results:
        if result.scores is not None:
            first_of.setdefault(result.scores, result.arm.name)
    sets: list[tuple[torch.Tensor, list[str]]] = []
    for name, arm in first_of.items():
        scores = store.scores(name)
        known = next((names for other, names in sets if torch.equal(other, scores)), None)
        if known is None:
            sets.append((scores, [arm]))
        else:
            known.append(arm)
    return [names for _, names in sets if len(names) > 1]


def _replaced(result: ArmResult, **changes: Any) -> ArmResult:
    return ArmResult(**{**{name: getattr(result, name) for name in vars(result)}, **changes})


def _result(step: Step) -> dict[str, Any]:
    found = step.done()
    assert found is not None
    return found


def _cpu(steps: Sequence[Step]) -> float:
    return round(sum(_result(step)["cpu_seconds"] for step in {s.name: s for s in steps}.values()), 1)
