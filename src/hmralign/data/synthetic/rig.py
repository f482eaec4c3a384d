"""Synthetic persons before several calibrated cameras at the same instant: what a rig without motion capture records.

Each person has cameras of its own, drawn as a world's views are, one independent of the other. The first view is what
a model sees of the person; the others are evidence that no single photo holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import rest_joints
from hmralign.data.keypoint_box import MIN_CONFIDENCE
from hmralign.data.synthetic.generator import Generator
from hmralign.data.synthetic.views import Views, sample_views
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams, Example, InputError, TensorRecord


@dataclass(frozen=True)
class RigPersons(TensorRecord):
    """Persons, each seen by as many cameras; annotations are in the frame of their own view."""

    views: Example
    """Axes (person, view)."""
    T_view_first: Float[Tensor, "person view 4 4"]
    """From the first view's `cam` frame into each view's, metres; the identity for the first."""


def sample_rig(source: Generator, count: int, cameras: int, generator: torch.Generator) -> RigPersons:
    """`count` persons before `cameras` cameras each, with one pose, shape and length of limbs in all of them.

    Persons who are hardly seen in their first view are replaced by others. Raises InputError for no cameras or persons.
    """
    if cameras < 1 or count < 1:
        raise InputError(f"{count} persons before {cameras} cameras; expected at least one of each")
    body_pose, up = source.poses.sample(count, generator)
    betas = source.mix.beta_sd * torch.randn(count, source.model.num_betas, generator=generator).clamp(-3, 3)
    rest = rest_joints(source.model, betas)  # (n, 29, 3)
    stretched = source.mix.proportions.stretch(rest, generator)
    drawn = [sample_views(up, source.mix.views, generator) for _ in range(cameras)]
    nobody = torch.zeros(count, dtype=torch.bool)
    seen = [
        source.observed(BodyParams(v.global_orient, body_pose, betas, v.transl), stretched, v, nobody, generator)[0]
        for v in drawn
    ]
    pelvis = stretched[:, 0]
    transforms = torch.stack([_between(drawn[0], view, pelvis) for view in drawn], 1)  # (n, view, 4, 4)
    transforms[:, 0] = torch.eye(4)  # to the last bit
    index = _well_seen(seen[0], source.mix.min_keypoints, generator)
    return RigPersons(Example.stack(seen, 1)[index], transforms[index])


def _between(first: Views, view: Views, pelvis: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4 4"]:
    """From one `cam` frame into another, by where both see the pelvis and how it is turned."""
    T = torch.eye(4).repeat(len(pelvis), 1, 1)
    T[:, :3, :3] = view.global_orient @ first.global_orient.mT
    placed = (T[:, :3, :3] @ (pelvis + first.transl)[..., None])[..., 0]
    T[:, :3, 3] = pelvis + view.transl - placed
    return T


def _well_seen(first: Example, min_keypoints: int, generator: torch.Generator) -> Tensor:
    """Numbers of persons, with others in place of those who are hardly seen or reach behind the camera."""
    assert first.annotation is not None
    good = (first.observation.confidence > MIN_CONFIDENCE).sum(-1) >= min_keypoints
    good &= (first.annotation.joints[..., 2] > 0.25).all(-1)
    if not good.any():
        raise InputError("no person of the rig is seen by its first camera; expected more persons")
    index = torch.arange(len(good))
    spare = good.nonzero()[:, 0]
    index[~good] = spare[torch.randint(len(spare), (int((~good).sum()),), generator=generator)]
    return index


def with_rig_noise(
    persons: RigPersons, degrees: float, metres: float, generator: torch.Generator
) -> Float[Tensor, "person view 4 4"]:
    """The rig as a calibration that errs has it: turned by `degrees` and moved by `metres` (root mean square over the
    three axes together) in every view but the first."""
    assert persons.views.annotation is not None
    shape = (*persons.T_view_first.shape[:2], 3)
    turn = math.radians(degrees) / math.sqrt(3) * torch.randn(shape, generator=generator)
    shift = metres / math.sqrt(3) * torch.randn(shape, generator=generator)
    turn[:, 0], shift[:, 0] = 0.0, 0.0
    R = rotvec_to_rotmat(turn)  # (n, view, 3, 3)
    pelvis = persons.views.annotation.joints[..., 0, :, None]  # (n, view, 3, 1)
    T = persons.T_view_first.clone()
    T[..., :3, :3] = R @ T[..., :3, :3]
    # About the person: a rig that errs still has its cameras look at the scene.
    T[..., :3, 3] = (R @ (T[..., :3, 3:] - pelvis) + pelvis)[..., 0] + shift
    return T
