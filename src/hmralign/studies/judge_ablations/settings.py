"""The study as it is written down: who judges, on which groups, which arms; read from YAML.

An arm is the whole way from exploring to figures with one thing changed. The paper's own arms are `PAPER_ARMS`: its
Table 2 (DPO, base) and its critic's ablations (memories, reflection, UCB), with two controls beside them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from hmralign.alignment.catalogue import make_method
from hmralign.alignment.names import METHODS
from hmralign.critics.names import CRITICS, is_critic
from hmralign.critics.vlm.memory.records import NewRule
from hmralign.critics.vlm.memory.selection import Method as Selection
from hmralign.critics.vlm.prompts import Preset
from hmralign.storage.yaml_file import read_yaml
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.critique import RULE_LENGTH
from hmralign.systems.align.configuration import AlignConfig, align_config, merged
from hmralign.systems.group_preference.settings import ExploreConfig, ScoreConfig, explore_preset, score_preset
from hmralign.training.configuration import from_mapping
from hmralign.vlm.chat import LimitField

Credit = Literal["shared", "paired", "effects"]


def _scored_methods() -> list[str]:
    """Methods that train on scores. A study is a file, so that code of the user's is not among them."""
    return [name for name in METHODS if make_method(name).uses_scores]


@dataclass(frozen=True)
class Arm:
    """One row of the study: what is different."""

    name: str
    """In the tables."""
    rules: bool = True
    """Whether the judge has a memory of rules."""
    prototypes: bool = True
    """Whether the judge has a memory of cases."""
    reflection: bool = True
    """Whether the judge reviews its verdicts for new rules; without it the first rules are all there are."""
    selection: Selection | None = None
    """How rules are chosen, exploring and scoring; None leaves each as the study has it. `random` is the paper's
    "without UCB"."""
    memory: bool = True
    """Whether anything is explored; without it the judge is asked as it is."""
    critic: str | None = None
    """A critic that is computed, in the place of the judge."""
    method: str = "group"
    """How the scores move the model; `none` is the base itself."""
    align: dict[str, Any] = field(default_factory=dict)
    """Settings of the alignment that differ from the study's."""

    def __post_init__(self) -> None:
        """Raise InputError for an arm that contradicts itself."""
        switched = not (self.rules and self.prototypes and self.reflection) or self.selection is not None
        if not self.name.strip():
            raise InputError("an arm has no name")
        if self.method not in (expected := [*_scored_methods(), "none"]):
            raise InputError(f"arm '{self.name}': method is '{self.method}'; expected one of {', '.join(expected)}")
        if self.critic is not None and not is_critic(self.critic):
            raise InputError(f"arm '{self.name}': there is no critic '{self.critic}'; expected one of "
                             f"{', '.join(CRITICS)}, or none for the judge")  # fmt: skip
        if self.critic is not None and (switched or not self.memory):
            raise InputError(f"arm '{self.name}': the critic '{self.critic}' has no memory to take from")
        if not self.memory and switched:
            raise InputError(f"arm '{self.name}': is without any memory and switches off a part of it; expected one")
        if self.method == "none" and (switched or not self.memory or self.critic is not None or self.align):
            raise InputError(f"arm '{self.name}': the base is aligned with nothing; expected a method, or no more keys")

    @property
    def asks(self) -> bool:
        """Whether the judge is asked."""
        return self.critic is None and self.method != "none"

    @property
    def learns(self) -> bool:
        """Whether a memory is explored for it."""
        return self.asks and self.memory


PAPER_ARMS = (
    Arm("full"),
    Arm("no rule memory", rules=False),
    Arm("no prototype memory", prototypes=False),
    Arm("no reflection", reflection=False),
    Arm("no UCB (random rules)", selection="random"),
    Arm("no memory", memory=False),
    Arm("DPO", method="dpo"),
    Arm("reprojection critic", critic="reprojection"),
    Arm("random critic", critic="random"),
    Arm("base", method="none"),
)
"""What stands where a study names no arms."""


@dataclass(frozen=True)
class JudgeAccess:
    """Who is asked; names as the options of `hmralign critic score`."""

    base_url: str | None = None
    """Address of a server that speaks OpenAI's chat completions."""
    model: str | None = None
    """Name of the model, as the server calls it."""
    local: str | None = None
    """Instead of a server: folder of a Qwen3-VL model that runs in this process."""
    device: str = "cpu"
    """Where a local model runs."""
    allow_remote: bool = False
    """Let pictures of people be sent to another machine than this one."""
    timeout: float = 300.0
    """For one answer, seconds."""
    concurrency: int = 16
    """Most calls at once."""
    send_schema: bool = True
    """Send the form of the answer."""
    limit_field: LimitField = "max_tokens"
    """Name under which the longest answer is sent."""
    profile: str | None = None
    """What `hmralign critic doctor` found."""
    prices: str | None = None
    """YAML file of prices per million tokens."""
    budget_cost: float | None = None
    budget_calls: int | None = None
    budget_tokens: int | None = None
    """Stop before the study's journal exceeds this."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Most per minute."""
    note: str = ""
    """Said in the report beside the model's name, such as its quantisation."""


@dataclass(frozen=True)
class MeasureOn:
    """On whom every model is measured: a split of SynthWild, or a store of groups with truth."""

    split: str | None = None
    """Such as wild/val."""
    data: str | None = None
    """Folder of the benchmark that the split is in."""
    store: str | None = None
    """Store of groups with truth; its persons are measured, not its hypotheses."""
    persons: int | None = None
    """Only the first so many."""
    hypotheses: int = 20
    """Sampled for each person (M), at least 10."""
    kinds: tuple[Literal["raw", "refined"], ...] = ("raw", "refined")
    """Samples as they are, moved onto the keypoints, or both."""
    seed: int = 0
    """Seed of the samples."""

    def __post_init__(self) -> None:
        """Raise InputError for none or two places, and for numbers that measure nothing."""
        if (self.store is None) == (self.split is None) or (self.split is None) != (self.data is None):
            raise InputError("expected either a split with the data folder it is in, or a store with truth")
        if self.hypotheses < 10 or not self.kinds or (self.persons is not None and self.persons < 2):
            raise InputError(f"{counted(self.hypotheses, 'hypothesis')} of "
                             f"{'all' if self.persons is None else self.persons} persons, "
                             f"kinds {list(self.kinds)}; "
                             "expected at least 10 and 2, and one kind or two")  # fmt: skip


@dataclass(frozen=True)
class FreezeConfig:
    """Which rules of a memory are kept."""

    best_rules: int | None = None
    """Only so many, those shown to do good; None keeps all, as the paper does."""
    credit: Credit = "shared"
    """What counts as good, see `hmralign critic freeze`."""


@dataclass(frozen=True)
class FirstRule:
    """A rule that every memory of rules begins with."""

    text: str
    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise InputError for a rule that cannot be shown."""
        if not 0 < len(self.text.strip()) <= RULE_LENGTH or not self.tags:
            raise InputError(f"the rule '{self.text[:40]}' needs 1 to {RULE_LENGTH} characters and at least one tag")

    @property
    def new(self) -> NewRule:
        """To be written into a memory."""
        return NewRule(self.text, self.tags, "first rules of the study")


@dataclass(frozen=True)
class StudyConfig:
    """The whole study."""

    learn: str
    """Store with truth that memories are explored on."""
    score: str
    """Store that the critics score, without looking at truth, and that models are aligned with; of other persons."""
    measure: MeasureOn
    judge: JudgeAccess = field(default_factory=JudgeAccess)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    scoring: ScoreConfig = field(default_factory=ScoreConfig)
    first_rules: tuple[FirstRule, ...] = ()
    """Without any, nothing but reflection makes rules: then `no reflection` asks what `no rule memory` asks."""
    freeze: FreezeConfig = field(default_factory=FreezeConfig)
    base: str | None = None
    """Weights to align; None for the shipped ones that sampled the groups to score."""
    align: dict[str, Any] = field(default_factory=dict)
    """Settings of every alignment, on top of those recommended for its method."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the alignments: figures are means over them, person by person."""
    arms: tuple[Arm, ...] = PAPER_ARMS
    """The first one that is aligned is what the others are compared with."""

    def __post_init__(self) -> None:
        """Raise InputError for names given twice, no arm, and alignment settings that are none."""
        names = [arm.name for arm in self.arms]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"two arms have the name '{twice[0]}'")
        if (
            not any(arm.method != "none" for arm in self.arms)
            or not self.seeds
            or len({*self.seeds}) != len(self.seeds)
        ):
            raise InputError("expected an arm that is aligned, and seeds, each once")
        for arm in self.arms:
            if arm.method != "none":
                self.align_config(arm, "scores", self.seeds[0])

    @property
    def reference(self) -> Arm:
        """What the others are compared with."""
        return next(arm for arm in self.arms if arm.method != "none")

    def explore_config(self, arm: Arm) -> ExploreConfig:
        """How an arm explores."""
        given = self.explore
        return replace(
            given,
            rules=given.rules and arm.rules,
            prototypes=given.prototypes and arm.prototypes,
            reflection=given.reflection and arm.reflection,
            retrieval=_selecting(given.retrieval, arm),
        )

    def score_config(self, arm: Arm) -> ScoreConfig:
        """How an arm scores."""
        retrieval = _selecting(self.scoring.retrieval, arm)
        retrieval = retrieval if arm.rules else replace(retrieval, rules=0)
        return replace(self.scoring, retrieval=retrieval if arm.prototypes else replace(retrieval, prototypes=0))

    def align_config(self, arm: Arm, scores: str, seed: int) -> AlignConfig:
        """How an arm's model is aligned: recommended settings, the study's, the arm's. Errors as `align_config`."""
        content = merged(merged(self.align, arm.align), {"critic": scores, "training": {"seed": seed}})
        return align_config(content, arm.method, f"arm '{arm.name}'")

    @property
    def record(self) -> dict[str, Any]:
        """All that decides the figures, without where things lie."""
        plain = {k: v for k, v in asdict(self).items() if k not in ("learn", "score", "judge", "measure", "base")}
        measure = {k: v for k, v in asdict(self.measure).items() if k not in ("data", "store")}
        return {**plain, "measure": measure}


def _selecting(retrieval: Any, arm: Arm) -> Any:
    if arm.selection is None:
        return retrieval
    return replace(retrieval, selection=replace(retrieval.selection, method=arm.selection))


def read_study(path: str | Path) -> StudyConfig:
    """From YAML; see the preset `gpa-ablations`. Raises InputError naming the file and what is wrong in it."""
    return study_from(read_yaml(Path(path), "a readable YAML file"), str(path))


def study_from(content: Any, where: str = "study") -> StudyConfig:
    """From nested mappings. Keys are the fields of `StudyConfig` and two more: `preset` chooses prompt, pictures and
    plan, and `judging` (a `JudgeConfig`) says how groups are shown and asked about, exploring and scoring alike.
    """
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected keys with values, got {content!r}")
    content = dict(content)
    preset: Preset = content.pop("preset", "default")
    if preset not in get_args(Preset):
        raise InputError(f"{where}: preset: {preset!r}; expected default or paper")
    judging = _mapping(content.pop("judging", {}), f"{where}: judging")
    for name, config in (("explore", explore_preset(preset)), ("scoring", score_preset(preset))):
        given = _mapping(content.get(name, {}), f"{where}: {name}")
        if "judge" in given:
            raise InputError(f"{where}: {name}: judge: stands in `judging`, for exploring and scoring alike")
        plain = merged(asdict(config), {**given, "judge": judging})
        content[name] = from_mapping(type(config), plain, f"{where}: {name}")
    for name, kind in (("arms", Arm), ("first_rules", FirstRule)):
        if name in content:
            content[name] = tuple(_listed(content[name], kind, f"{where}: {name}"))
    return _built(content, where)


def _built(content: dict[str, Any], where: str) -> StudyConfig:
    """With the parts that are dataclasses already left as they are."""
    made = {name: content.pop(name) for name in ("explore", "scoring", "arms", "first_rules") if name in content}
    if missing := [name for name in ("learn", "score", "measure") if name not in content]:
        raise InputError(f"{where}: {missing[0]} is missing")
    study = from_mapping(StudyConfig, content, where)
    try:
        return replace(study, **made)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected keys with values, got {value!r}")
    return value


def _listed(value: Any, kind: type, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list, got {value!r}")
    made = []
    for number, entry in enumerate(value):
        if "name" in (fields := kind.__dataclass_fields__) and "name" not in _mapping(entry, f"{where}: {number}"):
            raise InputError(f"{where}: {number}: name is missing; keys are {', '.join(fields)}")
        try:
            made.append(from_mapping(kind, entry, f"{where}: {number}"))
        except TypeError as error:  # a field without a default
            raise InputError(f"{where}: {number}: {error}") from error
    return made
