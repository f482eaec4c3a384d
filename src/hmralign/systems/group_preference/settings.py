"""How a judge is asked, explored and used; read from YAML, recorded with the scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from hmralign.critics.vlm.merge import MergeOptions
from hmralign.critics.vlm.plan import PlanOptions, components, plan
from hmralign.critics.vlm.prompts import JudgeOptions, Preset
from hmralign.memory.episodes import EpisodeOptions
from hmralign.memory.retrieval import RetrievalOptions
from hmralign.memory.rule_filter import RuleFilterOptions
from hmralign.memory.selection import FROZEN_SELECTION, PAPER_SELECTION
from hmralign.overlays.hypothesis_tile import PAPER_STYLE, TileStyle
from hmralign.structures import InputError

TruthError = Literal["mpjpe", "pa_mpjpe", "pve"]


@dataclass(frozen=True)
class JudgeConfig:
    """How one group is shown and asked about."""

    options: JudgeOptions = field(default_factory=JudgeOptions)
    """Prompt and sampling."""
    plan: PlanOptions = field(default_factory=PlanOptions)
    """Which hypotheses are in which call."""
    style: TileStyle = field(default_factory=TileStyle)
    """How they are drawn."""
    merge: MergeOptions = field(default_factory=MergeOptions)
    """How calls become scores."""
    incomplete: Literal["unjudged", "merge"] = "unjudged"
    """A group of which a call failed for good: without a verdict, or merged from its other calls where these judge
    every hypothesis and hang together."""
    embedding: Literal["pose", "none"] = "pose"
    """How groups that look alike are found in the memory: by their mean pose, or by words alone."""
    seed: int = 0
    """Of plans and labels."""

    def __post_init__(self) -> None:
        """Raise InputError for a paper's prompt with what it does not speak of."""
        paper = self.options.preset == "paper"
        if paper and (self.style.views != "overlay" or self.plan.naming != "ordinals" or self.plan.design == "pairs"):
            raise InputError(
                f"the paper's prompt with the views {self.style.views}, the naming {self.plan.naming} and the design "
                f"{self.plan.design}; expected overlay, ordinals, and windows or all"
            )

    @property
    def record(self) -> dict[str, Any]:
        """For the facts of a critic: all that decides its scores but model and memory."""
        return {
            "prompt": self.options.record, "plan": asdict(self.plan), "style_sha256": self.style.sha256,
            "merge": asdict(self.merge), "incomplete": self.incomplete, "embedding": self.embedding, "seed": self.seed,
        }  # fmt: skip


PAPER_JUDGE = JudgeConfig(
    JudgeOptions(preset="paper"), PlanOptions(design="all", rounds=1, naming="ordinals"), PAPER_STYLE
)
"""All hypotheses in one call, overlays alone, as in Shen et al. 2026 (arXiv 2602.19180)."""


@dataclass(frozen=True)
class ScoreConfig:
    """How a store is scored with a frozen memory."""

    judge: JudgeConfig = field(default_factory=JudgeConfig)
    retrieval: RetrievalOptions = field(default_factory=lambda: RetrievalOptions(selection=FROZEN_SELECTION))
    """What is shown of the memory."""
    known_images: Literal["refuse", "leave_out"] = "refuse"
    """Groups whose person is in the memory: refuse the whole store, or leave these groups unjudged."""


@dataclass(frozen=True)
class ExploreConfig:
    """How a memory is filled. Switches are for ablations."""

    judge: JudgeConfig = field(default_factory=JudgeConfig)
    retrieval: RetrievalOptions = field(default_factory=RetrievalOptions)
    """What is shown of the memory, and how rules are tried out."""
    episodes: EpisodeOptions = field(default_factory=EpisodeOptions)
    """When a group is a success, and what is kept of it."""
    rule_filter: RuleFilterOptions = field(default_factory=RuleFilterOptions)
    """Which sentences become rules."""
    groups: int | None = None
    """Only so many groups, the first of the seeded order; None for all."""
    round_size: int = 8
    """Groups that see the same memory: they are judged at once, then what was learnt is written."""
    error: TruthError = "mpjpe"
    """What is taken for the truth's verdict."""
    rules: bool = True
    """Whether rules are shown and mined."""
    prototypes: bool = True
    """Whether cases are kept and shown."""
    reflection: bool = True
    """Whether the judge reviews its own verdicts; without it no rules are mined."""
    images: bool = True
    """Whether the memory keeps pictures of its cases. They show people."""
    seed: int = 0
    """Of the order of groups and of rules that are drawn."""

    def __post_init__(self) -> None:
        """Raise InputError for rounds and numbers below one."""
        if self.round_size < 1 or (self.groups is not None and self.groups < 1):
            raise InputError(f"rounds of {self.round_size} groups, {self.groups} in all; expected at least 1")

    @property
    def shown(self) -> RetrievalOptions:
        """What is shown of the memory, switches applied."""
        options = self.retrieval
        options = options if self.rules else replace(options, rules=0)
        return options if self.prototypes else replace(options, prototypes=0)

    @property
    def kept(self) -> EpisodeOptions:
        """What is kept of a group, switches applied."""
        return self.episodes if self.prototypes else replace(self.episodes, cases=0)

    @property
    def mines_rules(self) -> bool:
        """Whether the judge is asked for rules."""
        return self.rules and self.reflection

    @property
    def record(self) -> dict[str, Any]:
        """All that decides what is learnt but the model; how many groups does not change what one of them gives."""
        rest = {n: v for n, v in asdict(self).items() if n not in ("judge", "groups")}
        return {"judge": self.judge.record, **rest}


def judge_preset(preset: Preset) -> JudgeConfig:
    """A judge by the name of its prompt."""
    return PAPER_JUDGE if preset == "paper" else JudgeConfig()


def score_preset(preset: Preset) -> ScoreConfig:
    """How a store is scored by that judge."""
    return ScoreConfig(judge=judge_preset(preset))


def explore_preset(preset: Preset) -> ExploreConfig:
    """How that judge explores; the paper's takes the paper's formula for rules."""
    retrieval = RetrievalOptions(selection=PAPER_SELECTION) if preset == "paper" else RetrievalOptions()
    return ExploreConfig(judge=judge_preset(preset), retrieval=retrieval)


def check_plan(config: JudgeConfig, group_size: int) -> None:
    """Raise InputError, before anything is paid, where the calls of a group could not be merged."""
    calls = plan("", group_size, config.seed, config.plan)
    sets = components([call.hypotheses for call in calls], group_size)
    if len(sets) > 1 and config.merge.disconnected == "refuse":
        raise InputError(
            f"{config.plan.rounds} rounds of windows of {config.plan.window} leave {len(sets)} parts of a group of "
            f"{group_size} that share no hypothesis; expected more rounds, larger windows, or to centre such parts"
        )
