"""Settings of one alignment run, and the recommended ones of each method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from hmralign.alignment.direct_reward import DirectRewardConfig
from hmralign.alignment.methods import BestOfNConfig, DpoConfig, GroupConfig, KtoConfig, SftConfig
from hmralign.critics.names import CriticChoice
from hmralign.storage.yaml_file import read_yaml
from hmralign.structures import InputError
from hmralign.training.configuration import from_mapping
from hmralign.training.preference_configuration import PreferenceTrainingConfig

Method = Literal["sft", "best-of-n", "dpo", "kto", "group", "direct-reward"]

BEST_METHOD: Method = "dpo"
"""What is done where no method is named: of those that follow the scorer it gained most (docs/results/alignment.md)."""


@dataclass(frozen=True)
class RefreshConfig:
    """Iterated offline: groups are sampled anew from the model as it is, which then is the reference."""

    rounds: int = 1
    """Rounds of training; 1 never samples again. `training.steps` are the steps of each."""
    tolerance: float = 0.25
    """A round whose held-out score is lower than the best so far by more than so many standard deviations within a
    group is thrown away, and ends the run: the critic is being exploited."""


@dataclass(frozen=True)
class AlignConfig:
    """One run. Of the methods' sections only that of `method` counts."""

    method: Method = "best-of-n"
    """What is done with the groups."""
    critic: str = "reprojection"
    """Scores in the store that are trained on; also the reward of `direct-reward`."""
    held_out_critic: CriticChoice = "plausibility"
    """Judges held-out persons during the run. Another than is trained on; of a `mix` it may be a part, which is warned
    of."""
    min_persons: int = 100
    """Fewest persons to learn from; a store with fewer is refused. With up to 40, DPO with the learned scorer gained
    nothing and forgot; with 160 it gained in every run (docs/alignment.md)."""
    held_out_share: float = 0.1
    """Share of the groups that are only looked at."""
    held_out_hypotheses: int = 8
    """Hypotheses sampled per held-out person at each look."""
    max_held_out: int = 200
    """At most so many held-out persons are looked at."""
    sft: SftConfig = field(default_factory=SftConfig)
    best_of_n: BestOfNConfig = field(default_factory=BestOfNConfig)
    dpo: DpoConfig = field(default_factory=DpoConfig)
    kto: KtoConfig = field(default_factory=KtoConfig)
    group: GroupConfig = field(default_factory=GroupConfig)
    direct_reward: DirectRewardConfig = field(default_factory=DirectRewardConfig)
    refresh: RefreshConfig = field(default_factory=RefreshConfig)
    training: PreferenceTrainingConfig = field(default_factory=PreferenceTrainingConfig)

    @property
    def uses_scores(self) -> bool:
        """Whether the method trains on scores of the store."""
        return self.method not in ("sft", "direct-reward")

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if not 0 <= self.held_out_share < 1 or self.held_out_hypotheses < 2 or self.max_held_out < 1:
            raise InputError(
                "alignment configuration: held_out_share must be in 0..1 (1 excluded), held_out_hypotheses at least 2 "
                "and max_held_out at least 1"
            )
        if self.min_persons < 1:
            raise InputError(f"alignment configuration: min_persons is {self.min_persons}; expected at least 1")
        if self.refresh.rounds < 1:
            raise InputError(f"alignment configuration: refresh.rounds is {self.refresh.rounds}; expected at least 1")
        if self.held_out_critic == self.critic:
            raise InputError(
                f"alignment configuration: '{self.critic}' is trained on and cannot be the held-out critic as well"
            )


def recommended(method: Method, **changes) -> AlignConfig:
    """Defaults of a method: where nothing else is said, `hmralign align` uses these.

    Rates of best-of-N, DPO and group are those chosen on validation persons with the learned scorer
    (docs/results/alignment.md); with reprojection DPO gains nothing at any rate. The others are guesses.
    """
    rates = {"sft": 3e-4, "best-of-n": 1e-3, "dpo": 1e-4, "kto": 1e-4, "group": 1e-3, "direct-reward": 1e-4}
    training = replace(PreferenceTrainingConfig(), learning_rate=rates[method])
    return replace(AlignConfig(method=method, training=training), **changes)


def read_align_config(
    path: str | Path | None, method: Method | None = None, default_critic: Callable[[], str] | None = None
) -> AlignConfig:
    """A YAML file on top of the method's recommended settings; without a file these alone.

    Without `method` it is the file's, or `BEST_METHOD`. `default_critic` is asked where scores are trained on and the
    file does not say whose. Raises InputError naming the file and the key that is unknown or has a wrong value, or for
    another method's file.
    """
    content = {} if path is None else _read_mapping(Path(path))
    where = "recommended settings" if path is None else str(path)
    chosen = content.get("method", BEST_METHOD) if method is None else method
    if chosen not in get_args(Method):
        raise InputError(f"{where}: method is {chosen!r}; expected one of {', '.join(get_args(Method))}")
    if default_critic is not None and recommended(chosen).uses_scores and "critic" not in content:
        content["critic"] = default_critic()
    return align_config(content, chosen, where)


def _read_mapping(path: Path) -> dict[str, Any]:
    content = read_yaml(path, "a readable YAML file")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys with values, got {content!r}")
    return content


def align_config(content: dict[str, Any], method: Method, where: str) -> AlignConfig:
    """Nested settings on top of the method's recommended ones; `where` names them in errors, as `read_align_config`."""
    if content.get("method", method) != method:
        raise InputError(f"{where}: is a configuration of '{content['method']}', not of '{method}'")
    return from_mapping(AlignConfig, merged(asdict(recommended(method)), content), where)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with some replaced."""
    result = dict(base)
    for key, value in over.items():
        inner = base.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
