"""Settings of one alignment run, and the recommended ones of each method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hmralign.alignment.catalogue import make_method
from hmralign.alignment.labelled import LabelledConfig
from hmralign.alignment.method import Method
from hmralign.alignment.names import METHODS
from hmralign.critics.names import CriticChoice
from hmralign.storage.yaml_file import read_yaml
from hmralign.structures import InputError
from hmralign.training.configuration import from_mapping
from hmralign.training.preference_configuration import PreferenceTrainingConfig

BEST_METHOD = "dpo"
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
    """One run."""

    method: str = "best-of-n"
    """What is done with the groups: one of `METHODS`, or the name of code of the user's own."""
    settings: Any = None
    """The method's own, of the class `Method.settings`; None stands for its defaults."""
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
    labelled: LabelledConfig = field(default_factory=LabelledConfig)
    refresh: RefreshConfig = field(default_factory=RefreshConfig)
    training: PreferenceTrainingConfig = field(default_factory=PreferenceTrainingConfig)

    @property
    def uses_scores(self) -> bool:
        """Whether the method trains on scores of the store."""
        return make_method(self.method).uses_scores

    @property
    def scores(self) -> tuple[str, ...]:
        """Critics whose scores of the store are trained on."""
        if not self.uses_scores:
            return ()
        return (self.critic, *(name for name in (self.labelled.scores,) if name is not None))

    @property
    def follows_critic(self) -> bool:
        """Whether `critic` matters: its scores are trained on, or its gradient is followed."""
        return self.uses_scores or make_method(self.method).followed(self.settings, self.critic) == self.critic

    @property
    def mapping(self) -> dict[str, Any]:
        """Nested settings, as a configuration file has them."""
        plain = asdict(self)
        settings = plain.pop("settings")
        return {**plain, section(make_method(self.method)): settings}

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning, and for another method's settings."""
        kind = make_method(self.method).settings
        if self.settings is None:
            object.__setattr__(self, "settings", kind())
        elif type(self.settings) is not kind:
            raise InputError(
                f"alignment configuration: settings of '{self.method}' are a {type(self.settings).__name__}; expected "
                f"a {kind.__name__}"
            )
        if not 0 <= self.held_out_share < 1 or self.held_out_hypotheses < 2 or self.max_held_out < 1:
            raise InputError(
                "alignment configuration: held_out_share must be in 0..1 (1 excluded), held_out_hypotheses at least 2 "
                "and max_held_out at least 1"
            )
        if self.min_persons < 1:
            raise InputError(f"alignment configuration: min_persons is {self.min_persons}; expected at least 1")
        if self.refresh.rounds < 1:
            raise InputError(f"alignment configuration: refresh.rounds is {self.refresh.rounds}; expected at least 1")
        if self.labelled.share > 0 and (self.refresh.rounds > 1 or not self.uses_scores):
            raise InputError(
                f"alignment configuration: labelled.share is {self.labelled.share}; expected a method that trains on "
                "scores, and refresh.rounds = 1"
            )
        if self.held_out_critic == self.critic:
            raise InputError(
                f"alignment configuration: '{self.critic}' is trained on and cannot be the held-out critic as well"
            )


def recommended(method: str, **changes) -> AlignConfig:
    """Defaults of a method: where nothing else is said, `hmralign align` uses these.

    Rates are the methods' own: those of best-of-N, DPO and group are chosen on validation persons with the learned
    scorer (docs/results/alignment.md), the others are guesses.
    """
    training = replace(PreferenceTrainingConfig(), learning_rate=make_method(method).learning_rate)
    return replace(AlignConfig(method=method, training=training), **changes)


def section(method: Method) -> str:
    """Name of a method's settings in a configuration file. Raises InputError for one that has another meaning there."""
    name = method.name.replace("-", "_")
    if name in _keys():
        raise InputError(f"a method is called '{method.name}', which is a key of every alignment configuration")
    return name


def _keys() -> list[str]:
    return [f.name for f in fields(AlignConfig)]


def read_align_config(
    path: str | Path | None, method: str | None = None, default_critic: Callable[[], str] | None = None
) -> AlignConfig:
    """A YAML file on top of the method's recommended settings; without a file these alone.

    Without `method` it is the file's, or `BEST_METHOD`; a file names methods of this package alone, never code.
    `default_critic` is asked where scores are trained on and the file does not say whose. Raises InputError naming the
    file and the key that is unknown or has a wrong value, or for another method's file.
    """
    content = {} if path is None else _read_mapping(Path(path))
    where = "recommended settings" if path is None else str(path)
    chosen = content.get("method", BEST_METHOD) if method is None else method
    if method is None and (not isinstance(chosen, str) or chosen not in METHODS):
        raise InputError(
            f"{where}: method is {chosen!r}; expected one of {', '.join(METHODS)} (code of your own is named on the "
            "command line)"
        )
    if default_critic is not None and make_method(chosen).uses_scores and "critic" not in content:
        content["critic"] = default_critic()
    return align_config(content, chosen, where)


def _read_mapping(path: Path) -> dict[str, Any]:
    content = read_yaml(path, "a readable YAML file")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys with values, got {content!r}")
    return content


def align_config(content: dict[str, Any], method: str, where: str) -> AlignConfig:
    """Nested settings on top of the method's recommended ones; `where` names them in errors, as `read_align_config`.

    Of the sections with methods' settings all are checked and only that of `method` counts.
    """
    if content.get("method", method) != method:
        raise InputError(f"{where}: is a configuration of '{content['method']}', not of '{method}'")
    chosen = make_method(method)
    methods = {section(m): m for m in (*(make_method(name) for name in METHODS), chosen)}
    keys = [key for key in _keys() if key != "settings"]
    if unknown := [key for key in content if key not in keys and key not in methods]:
        raise InputError(f"{where}: unknown key '{unknown[0]}'; expected some of {', '.join([*keys, *methods])}")
    settings = {
        name: from_mapping(m.settings, content[name], f"{where}: {name}")
        for name, m in methods.items()
        if name in content
    }
    base = {key: value for key, value in asdict(recommended(method)).items() if key != "settings"}
    plain = {key: value for key, value in content.items() if key in keys}
    made = from_mapping(AlignConfig, merged(base, plain), where)
    return replace(made, settings=settings.get(section(chosen), chosen.settings()))


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with some replaced."""
    result = dict(base)
    for key, value in over.items():
        inner = base.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
