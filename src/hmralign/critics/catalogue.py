"""Critics by the words that a user writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hmralign.body.model import BodyModel
from hmralign.critics.critic import Critic
from hmralign.critics.language import language_of_file
from hmralign.critics.learned_scorer import scorer_of_file
from hmralign.critics.names import CRITICS, is_critic, is_descriptions_file, is_scorer_file
from hmralign.critics.published_scorers import hmr_scorer_of_file, scorenet_of_file
from hmralign.critics.setting import CriticSetting
from hmralign.fitting.detector_noise import noise_of
from hmralign.models.checkpoint import checkpoint_kind
from hmralign.models.paper.config import HYPONET
from hmralign.models.scorer_checkpoint import SHIPPED_SCORERS, scorer_path
from hmralign.structures import InputError
from hmralign.structures.extensions import load_extension, made_by

SCORER_KINDS: Mapping[str, Callable[[str, CriticSetting], Critic]] = {
    "scorer": scorer_of_file,
    "scorenet": scorenet_of_file,
    "hmr-scorer": hmr_scorer_of_file,
}
"""Kind of a scorer's checkpoint -> what makes a critic of its path."""


def make_critic(
    name: str,
    body: BodyModel,
    detector: str = "mediapipe",
    seed: int = 0,
    correlation: float = 0.5,
    image_size: tuple[int, int] | None = None,
    persons: Sequence[str] | None = None,
) -> Critic:
    """The critic of that name, for hypotheses of `body`.

    `detector` says whose noise and landmark offsets the keypoints and landmarks have. `seed` is for the critics that
    draw: on each of `persons` by its name alone where they are given (the critic then judges those and no others), else
    on one after the other. `correlation` is the quality of `oracle-noisy` (Spearman, on average over groups).
    `image_size` (width, height), where it is everybody's, is for silhouettes. `mix` has the weights fitted on
    SynthWild's lab split (`critics.mix.LAB_WEIGHTS`); `scorer` was trained for photos, `scorer-lab` on SynthWild's lab
    alone. The path of a checkpoint is a learned scorer, a ScoreNet or an HMR-Scorer, by its kind; that of a file of
    descriptions judges by what it says of `persons`. A critic of the user's own is called with the `CriticSetting`.

    Raises `InputError` for a name that is no critic, a checkpoint that holds no scorer or does not fit the body,
    a critic of the user's that is none, a correlation outside of [0, 1], and noise of the detector that cannot be read.
    """
    if not is_critic(name):
        raise InputError(
            f"there is no critic {name!r}; expected one of {', '.join(CRITICS)}, a scorer's .safetensors, a "
            "file of .descriptions.json, or FILE.py:FUNCTION."
        )
    setting = CriticSetting(
        body, noise_of(detector), seed, correlation, image_size, None if persons is None else tuple(persons)
    )
    if is_scorer_file(name):
        return _of_file(name, setting)
    if is_descriptions_file(name):
        return language_of_file(name, setting)
    critic = made_by(name, load_extension("critics", CRITICS.get(name, name)), setting=setting)
    if not isinstance(critic, Critic):
        raise InputError(f"{name}: made a {type(critic).__name__}, which is no critic (see `hmralign.critics.critic`)")
    return critic


def _of_file(path: str, setting: CriticSetting) -> Critic:
    kind = checkpoint_kind(path)
    if kind not in SCORER_KINDS:
        raise InputError(f"{path}: holds a model of kind '{kind}', expected {' or '.join(map(repr, SCORER_KINDS))}")
    return SCORER_KINDS[kind](path, setting)


def weights_of(name: str) -> Path | None:
    """The file whose content a critic's scores depend on; None for a critic without one."""
    if is_descriptions_file(name):
        return Path(name)
    return scorer_path(name) if name in SHIPPED_SCORERS or is_scorer_file(name) else None


def critic_crop_side(name: str) -> int | None:
    """Side of the crops that a critic looks at, pixels; None for one that does not look at pixels."""
    if is_scorer_file(name) and checkpoint_kind(name) in ("scorenet", "hmr-scorer"):
        return HYPONET.image_size
    return None
