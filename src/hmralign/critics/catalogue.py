"""Critics by the words that a user writes."""

from __future__ import annotations

import torch

from hmralign.body.model import BodyModel
from hmralign.critics.by_rule import CriticWeights, quick_body, weighted_critics
from hmralign.critics.consistency import ConsistencyCritic
from hmralign.critics.controls import OracleCritic, RandomCritic
from hmralign.critics.critic import Critic
from hmralign.critics.landmarks3d import Landmarks3dCritic
from hmralign.critics.learned_scorer import ScorerCritic
from hmralign.critics.mix import LAB_WEIGHTS, MixCritic
from hmralign.critics.names import CRITICS, CriticChoice
from hmralign.critics.noisy_oracle import NoisyOracleCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.reprojection import ReprojectionCritic
from hmralign.critics.silhouette import SilhouetteCritic
from hmralign.fitting.detector_noise import noise_of
from hmralign.models.scorer_checkpoint import load_scorer
from hmralign.structures import InputError

__all__ = ["CriticChoice", "make_critic"]


def make_critic(
    name: CriticChoice,
    body: BodyModel,
    detector: str = "mediapipe",
    seed: int = 0,
    correlation: float = 0.5,
    image_size: tuple[int, int] | None = None,
) -> Critic:
    """The critic of that name, for hypotheses of `body`.

    `detector` says whose noise and landmark offsets the keypoints and landmarks have; `seed` starts the generator of
    the critics that draw; `correlation` is the quality of `oracle-noisy` (Spearman, on average over groups);
    `image_size` (width, height), where it is everybody's, is for silhouettes. `mix` has the weights fitted on
    SynthWild's lab split (`critics.mix.LAB_WEIGHTS`); `scorer` was trained for photos, `scorer-lab` on SynthWild's lab
    alone. Raises `InputError` for a name that is none of `CriticChoice`, a
    correlation outside of [0, 1], and noise of the detector that cannot be read.
    """
    noise = noise_of(detector)
    match name:
        case "oracle":
            return OracleCritic()
        case "oracle-pa":
            return OracleCritic("pa_mpjpe")
        case "oracle-pve":
            return OracleCritic("pve", body)
        case "oracle-noisy":
            return NoisyOracleCritic(torch.Generator().manual_seed(seed), correlation)
        case "reprojection":
            return ReprojectionCritic(body, noise.offsets, noise.sigma[:, -1])
        case "silhouette":
            return SilhouetteCritic(quick_body(body), image_size)
        case "plausibility":
            return PlausibilityCritic(body)
        case "landmarks3d":
            return Landmarks3dCritic(body, noise.offsets)
        case "random":
            return RandomCritic(torch.Generator().manual_seed(seed))
        case "mix":
            return MixCritic(weighted_critics(body, noise, CriticWeights(**LAB_WEIGHTS), image_size))
        case "consistency":
            return ConsistencyCritic()
        case "scorer" | "scorer-lab":
            return ScorerCritic(body, load_scorer(name, body.skeleton_hash), noise.offsets, name)
    raise InputError(f"there is no critic {name!r}; expected one of {', '.join(CRITICS)}.")
