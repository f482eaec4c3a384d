"""Critics by the words that a user writes."""

from __future__ import annotations

from collections.abc import Sequence

from hmralign.body.model import BodyModel
from hmralign.critics.critic import Critic
from hmralign.critics.names import CRITICS, is_critic
from hmralign.critics.setting import CriticSetting
from hmralign.fitting.detector_noise import noise_of
from hmralign.structures import InputError
from hmralign.structures.extensions import load_extension, made_by


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
    alone. A critic of the user's own is called with the `CriticSetting`.

    Raises `InputError` for a name that is no critic, a critic of the user's that is none, a correlation outside of
    [0, 1], and noise of the detector that cannot be read.
    """
    if not is_critic(name):
        raise InputError(f"there is no critic {name!r}; expected one of {', '.join(CRITICS)}, or FILE.py:FUNCTION.")
    setting = CriticSetting(
        body, noise_of(detector), seed, correlation, image_size, None if persons is None else tuple(persons)
    )
    critic = made_by(name, load_extension("critics", CRITICS.get(name, name)), setting=setting)
    if not isinstance(critic, Critic):
        raise InputError(f"{name}: made a {type(critic).__name__}, which is no critic (see `hmralign.critics.critic`)")
    return critic
