"""How much a hypothesis agrees with how limbs are seen to point out of the picture.

The pixel model reads the tilt of each limb from the pixels along it, which keypoints do not show: a limb and its mirror
image in depth have the same ends in the picture. Limbs whose ends were not seen do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.critics.setting import CriticSetting
from hmralign.models.person_frame import person_frame
from hmralign.models.pixel.checkpoint import load_pixel
from hmralign.models.pixel.limb_tilts import limb_tilts
from hmralign.models.pixel.part_patches import LIMBS, MIRROR_LIMBS
from hmralign.models.pixel.pixel_model import PixelModel
from hmralign.structures import Example, Hypotheses, Observation

PERSONS_AT_ONCE = 128


@dataclass(frozen=True)
class LimbTiltCritic:
    """Minus the mean squared difference of the tilts (sines) of a hypothesis and those that the pixels show."""

    body: BodyModel
    model: PixelModel
    name: str = "limb-tilt"

    needs_truth = False

    def can_judge(self, example: Example) -> Bool[Tensor, " person"]:
        """Persons with a crop and a limb of which both ends were seen."""
        seen = _seen(example.observation).any(-1)
        return seen if example.observation.has_crop is None else seen & example.observation.has_crop

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores, at most 0; 0 in groups of persons who cannot be judged. Raises InputError where nobody has pixels."""
        observation = example.observation
        read = torch.cat([self.read(observation[i]) for i in torch.arange(len(observation.box)).split(PERSONS_AT_ONCE)])
        counted = (_seen(observation) & self.can_judge(example)[:, None]).to(read)[:, None]  # (B, 1, limbs)
        apart = (limb_tilts(hypotheses.joints) - read[:, None]).square()
        return -(apart * counted).sum(-1) / counted.sum(-1).clamp(min=1)

    @torch.no_grad()
    def read(self, observation: Observation) -> Float[Tensor, "person limbs"]:
        """Tilts that the pixels show: the mean of the person's and of the mirror image's."""
        frame = person_frame(observation)
        plain, mirrored = (
            self.model.encoder.read(self.model.features(observation, frame, mirrored=m))[1] for m in (False, True)
        )
        return (plain + mirrored[:, list(MIRROR_LIMBS)]) / 2


def _seen(observation: Observation) -> Bool[Tensor, "person limbs"]:
    seen = observation.confidence > 0
    return seen[:, [a for a, _ in LIMBS]] & seen[:, [b for _, b in LIMBS]]


def make_limb_tilt(setting: CriticSetting) -> LimbTiltCritic:
    """By the shipped pixel model. Raises InputError for another skeleton."""
    model = load_pixel("pixel", setting.body.skeleton_hash).to(setting.body.device)
    return LimbTiltCritic(setting.body, model)
