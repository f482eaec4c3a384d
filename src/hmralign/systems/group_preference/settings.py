"""How a judge is asked, explored and used; read from YAML, recorded with the scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hmralign.critics.vlm.memory.episodes import EpisodeOptions
from hmralign.critics.vlm.memory.pruning import RetirementOptions
from hmralign.critics.vlm.memory.retrieval import RetrievalOptions
from hmralign.critics.vlm.memory.rule_filter import RuleFilterOptions
from hmralign.critics.vlm.memory.selection import FROZEN_SELECTION, PAPER_SELECTION
from hmralign.critics.vlm.merge import MergeOptions
from hmralign.critics.vlm.plan import PlanOptions, components, plan
from hmralign.critics.vlm.prompts import JudgeOptions, Preset
from hmralign.overlays.hypothesis_tile import PAPER_STYLE, TileStyle
from hmralign.structures import InputError
from hmralign.structures.counted import counted

TruthError = Literal["mpjpe", "pa_mpjpe", "pve"]
EmbeddingKind = Literal["pose", "clip", "mix", "none"]
SHARE_OF_CLIP = 0.5
"""In a mix, where nothing is said."""


@dataclass(frozen=True)
class EmbeddingConfig:
    """How groups that look alike are found in a memory. What is left open is the memory's own; a new one takes poses.

    `embedding.resolved` fills in what is left open, `embedding.embedder_of` makes the embedder.
    """

    kind: EmbeddingKind | None = None
    """By their mean pose, by CLIP vectors of the person's picture, by both, or by words alone."""
    clip: str | None = None
    """Folder of the CLIP model (`save_pretrained` of the transformers library); nothing is fetched."""
    weight: float | None = None
    """Share of CLIP in the similarity of a mix, 0 to 1; where nothing is said, 0.5."""

    def __post_init__(self) -> None:
        """Raise InputError for a weight that is none, or that no mix takes."""
        if self.weight is not None and not 0 < self.weight < 1:
            raise InputError(f"the weight of CLIP is {self.weight}; expected between 0 and 1")
        if self.weight is not None and self.kind not in ("mix", None):
            raise InputError(f"a weight of CLIP is given, and the embedding is '{self.kind}'; expected mix")
        if self.clip is not None and self.kind in ("pose", "none"):
            raise InputError(f"a CLIP model is given, and the embedding is '{self.kind}'; expected clip or mix")

    @property
    def record(self) -> str | dict[str, Any]:
        """What decides which cases are found, but for the hash of the model, which the memory has."""
        if self.kind == "mix":
            return {"kind": "mix", "weight": self.weight or SHARE_OF_CLIP}
        return self.kind or "pose"

    @property
    def clip_folder(self) -> Path:
        """Raise InputError where there is none."""
        if self.clip is None:
            raise InputError(
                f"the embedding '{self.kind}' needs a CLIP model; expected its folder (embedding.clip, --clip)"
            )
        return Path(self.clip)


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
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """How groups that look alike are found in the memory."""
    seed: int = 0
    """Seed of plans and labels."""

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
            "merge": asdict(self.merge), "incomplete": self.incomplete, "embedding": self.embedding.record,
            "seed": self.seed,
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
    leave_one_out: float = 0.0
    """Share of the groups that are judged again with one of the shown rules left out, 0 to 1: what that changes is the
    credit of this rule alone. Each costs the calls of a group once more."""
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
    retire: bool = True
    """Whether rules that do harm, or lose to their opposite, are shown no longer."""
    retirement: RetirementOptions = field(default_factory=RetirementOptions)
    """When they are."""
    seed: int = 0
    """Seed of the order of groups and of rules that are drawn."""

    def __post_init__(self) -> None:
        """Raise InputError for rounds and numbers below one, and for a share that is none."""
        if self.round_size < 1 or (self.groups is not None and self.groups < 1):
            raise InputError(
                f"rounds of {counted(self.round_size, 'group')}, {self.groups} in all; expected at least 1"
            )
        if not 0 <= self.leave_one_out <= 1:
            raise InputError(f"the share of groups judged without a rule is {self.leave_one_out}; expected 0 to 1")

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
    def retires(self) -> bool:
        """Whether rules can go; without rules nothing is shown, so nothing is found out."""
        return self.retire and self.rules

    @property
    def mines_rules(self) -> bool:
        """Whether the judge is asked for rules."""
        return self.rules and self.reflection

    @property
    def record(self) -> dict[str, Any]:
        """All that decides what is learnt but the model; how many groups does not change what one of them gives.

        What is switched off is left out, as in the record of a memory from before there was such a switch.
        """
        left_out = {"judge", "groups", *(() if self.retire else ("retire", "retirement"))}
        left_out |= set() if self.leave_one_out else {"leave_one_out"}
        rest = {n: v for n, v in asdict(self).items() if n not in left_out}
        return {"judge": self.judge.record, **rest}


def judge_preset(preset: Preset) -> JudgeConfig:
    """A judge by the name of its prompt."""
    return PAPER_JUDGE if preset == "paper" else JudgeConfig()


def score_preset(preset: Preset) -> ScoreConfig:
    """How a store is scored by that judge."""
    return ScoreConfig(judge=judge_preset(preset))


def explore_preset(preset: Preset) -> ExploreConfig:
    """How that judge explores; the paper's takes the paper's formula for rules, and no rule is retired."""
    if preset == "paper":
        return ExploreConfig(PAPER_JUDGE, RetrievalOptions(selection=PAPER_SELECTION), retire=False)
    return ExploreConfig()


def check_plan(config: JudgeConfig, group_size: int) -> None:
    """Raise InputError, before anything is paid, where the calls of a group could not be merged."""
    calls = plan("", group_size, config.seed, config.plan)
    sets = components([call.hypotheses for call in calls], group_size)
    if len(sets) > 1 and config.merge.disconnected == "refuse":
        raise InputError(
            f"{counted(config.plan.rounds, 'round')} of windows of {config.plan.window} leave "
            f"{counted(len(sets), 'part')} of a group of "
            f"{group_size} that share no hypothesis; expected more rounds, larger windows, or to centre such parts"
        )
