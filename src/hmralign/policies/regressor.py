"""The deterministic regressor as a policy: it proposes one body and no more."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hmralign.body.model import BodyModel
from hmralign.models.full_image_checkpoint import load_regressor
from hmralign.models.full_image_regressor import FullImageRegressor
from hmralign.models.person_frame import person_frame
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import InputError, Observation, PersonGroup


class RegressorPolicy(nn.Module):
    """A `FullImageRegressor` with the body it is bound to.

    Bodies are asked for without a translation, as every policy is: they stand where the keypoints put them. Where the
    regressor itself puts them is `models.full_image_regressor.placed_body`.
    """

    def __init__(self, model: FullImageRegressor, body: BodyModel) -> None:
        super().__init__()
        self.model = model
        self.body = body
        pixels = model.config.trunk == "pixels"
        self.crop_side = model.config.pixels.height if pixels else None

    @classmethod
    def load(cls, checkpoint: str | Path, body: BodyModel, *, num_steps: int = 5, detector: str = "mediapipe"):
        """From a checkpoint's path, on the device of the body; it has no steps and reads no detector's noise.

        Errors as `load_regressor`.
        """
        del num_steps, detector
        return cls(load_regressor(checkpoint, body.skeleton_hash).to(body.v_template.device), body)

    @torch.no_grad()
    def propose(self, observation: Observation, sampler: SamplerConfig, generator: torch.Generator) -> PersonGroup:
        """One body for each person, person frame. Nothing is drawn from the generator.

        Raises InputError for more than one hypothesis, which would be copies.
        """
        del generator
        if sampler.num_hypotheses != 1:
            raise InputError(
                f"number of hypotheses is {sampler.num_hypotheses}; a regressor gives one body per person: expected 1"
            )
        found = self.model(observation)
        turn = person_frame(observation).R_person_cam  # (B, 3, 3)
        rotmats = torch.cat([(turn @ found.rotmats[:, 0])[:, None], found.rotmats[:, 1:]], dim=1)
        return PersonGroup(rotmats[:, None], found.betas[:, None])
