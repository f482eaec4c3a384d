"""Synthetic persons with clean masks, and groups of disturbed bodies around the truth."""

from dataclasses import replace

import numpy as np
import torch

from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.data.synthetic.generator import SyntheticMix
from hmralign.data.synthetic.proportions import AS_MODELLED
from hmralign.detection.person_mask import PersonMask, mask_in_box
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.rendering.zbuffer import render
from hmralign.structures import BodyParams, Example, Hypotheses
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_data import make_generator


def sizes_of(example: Example) -> list[tuple[int, int]]:
    """(width, height): synthetic cameras are centred."""
    return [tuple(round(2 * float(c) + 1) for c in K[:2, 2]) for K in example.observation.K]  # type: ignore[misc]


def with_masks(body: BodyModel, example: Example) -> Example:
    """Masks cut from full-image silhouettes, the way real ones are."""
    assert example.annotation is not None
    skin = vertices(body, example.annotation.body)
    masks = []
    for i, (width, height) in enumerate(sizes_of(example)):
        seen = render(
            skin[i : i + 1], body.faces, example.observation.K[i], (height, width), ("silhouette",)
        ).silhouette
        assert seen is not None
        mask = PersonMask.from_image(seen[0].numpy())
        masks.append(mask_in_box(mask, example.observation.box[i].numpy(), 48))
    has_mask = torch.ones(len(masks), dtype=torch.bool)
    return replace(
        example, observation=replace(example.observation, mask=torch.from_numpy(np.stack(masks)), has_mask=has_mask)
    )


def persons(n: int, seed: int = 0) -> tuple[BodyModel, Example]:
    """`n` synthetic persons with clean masks and the body they were made with."""
    generator = make_generator(BaseTrainingConfig(measured_noise=None, data=SyntheticMix(proportions=AS_MODELLED)))
    example = generator.sample(n, torch.Generator().manual_seed(seed))
    return generator.model, with_masks(generator.model, example)


def group_around(body: BodyModel, truth: BodyParams, angles: list[float], seed: int = 0) -> Hypotheses:
    """One hypothesis per angle: every joint turned at random by about that many radians; the pelvis stays."""
    generator = torch.Generator().manual_seed(seed)
    n, m = truth.batch_shape[0], len(angles)
    turn = torch.randn(n, m, 23, 3, generator=generator) * torch.tensor(angles)[:, None, None] / 3**0.5
    params = BodyParams(
        truth.global_orient[:, None].expand(n, m, 3, 3),
        truth.body_pose[:, None] @ rotvec_to_rotmat(turn),
        truth.betas[:, None].expand(n, m, -1),
        truth.transl[:, None].expand(n, m, 3),
    )
    return Hypotheses(params, posed_joints(body, params))
