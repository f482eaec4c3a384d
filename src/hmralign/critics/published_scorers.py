"""The papers' scorers as critics: ScoreNet and HMR-Scorer, from converted or newly trained checkpoints.

| critic | what it sees of a hypothesis | picture |
| --- | --- | --- |
| ScoreNet | joints (u, v, d) and twists | the square crop, 256 x 256 |
| HMR-Scorer | joints (u, v, d); bodies that differ in twists alone score alike | it between black bars, 512 x 384 |

Both read image features where the hypothesis has its joints, so that the picture says whether it fits. Scores are raw:
ranks within a person are what the networks were trained for, and no scale across persons.

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 2 and 4.2. Departure: the square crop is
ours, 1.25 times the box of the observed person; nothing is taken from ground truth. Twists of a body are of unit
length, where a sample's are not quite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_ALL_JOINTS
from hmralign.critics.critic import CriticError
from hmralign.critics.setting import CriticSetting
from hmralign.models.paper.body_sample import sample_of_body
from hmralign.models.paper.config import HYPONET, UVD_DIM
from hmralign.models.paper.hmr_scorer import CANVAS, HmrScorer, joints_on_canvas, square_on_canvas
from hmralign.models.paper.image_input import encoder_input, require_crops
from hmralign.models.paper.uvd import unit_sample
from hmralign.models.published.scorers import ScoreNetModel, load_hmr_scorer, load_scorenet
from hmralign.structures import BodyParams, Example, Hypotheses, InputError, Observation

PERSONS_AT_ONCE = 8
"""Pictures in one call; tokens of all their hypotheses are in memory at once."""


@dataclass(frozen=True)
class ScoreNetCritic:
    """Raw scores of ScoreNet. Raises InputError for persons without pixels and bodies of another shape space."""

    body: BodyModel
    network: ScoreNetModel
    name: str = "scorenet"

    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores without bounds, higher is better."""
        return _in_parts(self.body, self.name, self._scores, hypotheses, example)

    def _scores(self, body: BodyParams, seen: Observation, crop: UInt8[Tensor, "person 3 side side"]) -> Tensor:
        config = self.network.score_net.config
        features = self.network.encoder(
            encoder_input(crop, config.image_size, bgr_constants=config.quirks.bgr_constants)
        )
        return self.network.score_net(
            unit_sample(sample_of_body(self.body, body, seen, config.image_size)), features
        )  # (B, N)


@dataclass(frozen=True)
class HmrScorerCritic:
    """Raw scores of HMR-Scorer (`models.paper.hmr_scorer.unit_score` is in 0..1); errors as `ScoreNetCritic`."""

    body: BodyModel
    network: HmrScorer
    name: str = "hmr-scorer"

    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores without bounds, higher is better."""
        return _in_parts(self.body, self.name, self._scores, hypotheses, example)

    def _scores(self, body: BodyParams, seen: Observation, crop: UInt8[Tensor, "person 3 side side"]) -> Tensor:
        sample = sample_of_body(self.body, body, seen, HYPONET.image_size)
        uvd = unit_sample(sample)[..., :UVD_DIM].unflatten(-1, (NUM_ALL_JOINTS, 3))
        joints = joints_on_canvas(uvd, truncated=self.network.config.quirks.truncated_pixels)
        return self.network(square_on_canvas(crop.float() / 255), joints)  # (B, N)


def _in_parts(
    model: BodyModel,
    name: str,
    scores: Callable[[BodyParams, Observation, Tensor], Tensor],
    hypotheses: Hypotheses,
    example: Example,
) -> Float[Tensor, "person hyp"]:
    """Scores of some persons at a time."""
    crops = _crops(name, example.observation)
    if (found := hypotheses.body.betas.shape[-1]) != model.num_betas:
        raise CriticError(
            f"critic {name!r}: bodies have {found} shape coefficients, the scorer's body has {model.num_betas}"
        )
    parts = torch.arange(len(crops)).split(PERSONS_AT_ONCE)
    return torch.cat([scores(hypotheses.body[p], example.observation[p], crops[p]) for p in parts])


def _crops(name: str, observation: Observation) -> UInt8[Tensor, "person 3 side side"]:
    try:
        return require_crops(observation)
    except InputError as error:
        raise CriticError(f"critic {name!r}: {error}") from error


def scorenet_of_file(path: str, setting: CriticSetting) -> ScoreNetCritic:
    """A checkpoint of ScoreNet, of any size. Errors as `load_scorenet`."""
    network = load_scorenet(path, setting.body.skeleton_hash, None).to(setting.body.device)
    return ScoreNetCritic(setting.body, network, Path(path).stem)


def hmr_scorer_of_file(path: str, setting: CriticSetting) -> HmrScorerCritic:
    """A checkpoint of HMR-Scorer. Errors as `load_hmr_scorer`, and InputError for one of another picture's size."""
    network = load_hmr_scorer(path, setting.body.skeleton_hash, None).to(setting.body.device)
    size = network.config.encoder
    if (2 * size.height, 2 * size.image_width) != CANVAS:
        raise InputError(
            f"{path}: sees pictures of {size.height} x {size.image_width} pixels, expected half of "
            f"{CANVAS[0]} x {CANVAS[1]}"
        )
    return HmrScorerCritic(setting.body, network, Path(path).stem)
