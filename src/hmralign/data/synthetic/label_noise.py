"""Bad labels planted on purpose: what goes wrong with pseudo-labels, one kind at a time, where the truth is known.

| kind | what is wrong | does it show in the picture |
| --- | --- | --- |
| `joint_rotations` | every body joint turned at random (as in ADHMR, Shen et al. 2025, sec. 4.2) | yes |
| `limb_swap` | left and right arm, or leg, have each other's (mirrored) pose | where the two differ |
| `depth_flip` | a limb mirrored in the plane that faces the camera | hardly: its projection stays |
| `global_rotation` | the whole body turned about the vertical | yes |
| `lean` | the whole body leant towards the camera, everybody by one angle | partly: limbs look shorter or longer |
| `wrong_person` | pose and shape of another person | yes |

The labels stay bodies: joints are those of the changed parameters. The place (`transl`) is never touched, since models
are trained and measured relative to the pelvis; a label that is off in place alone is not bad for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Bool
from torch import Tensor

from hmralign.body.inverse_kinematics import joints_twists_to_pose, twists
from hmralign.body.lbs import posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import MIRROR_JOINTS, NUM_JOINTS
from hmralign.geometry.frames import mirror_rotmats
from hmralign.geometry.rotations import axis_rotmat, rotvec_to_rotmat
from hmralign.structures import Annotation, BodyParams, Example, InputError

NoiseKind = Literal["joint_rotations", "limb_swap", "depth_flip", "global_rotation", "lean", "wrong_person"]

NOISE_KINDS: tuple[NoiseKind, ...] = get_args(NoiseKind)

_PAIRS = ((13, 14, 16, 17, 18, 19, 20, 21, 22, 23), (1, 2, 4, 5, 7, 8, 10, 11))
"""Rotating joints of both arms, of both legs."""

_LIMBS = ((16, 18, 20, 22, 25), (17, 19, 21, 23, 26), (1, 4, 7, 10, 27), (2, 5, 8, 11, 28))
"""Each limb's joints from shoulder or hip to its end; all but the last rotate."""

_LEAST_TURN = math.radians(45)


@dataclass(frozen=True)
class LabelNoise:
    """One way of being wrong."""

    kind: NoiseKind
    degrees: float = 20.0
    """Root mean square angle of each joint's turn for `joint_rotations`, angle of the `lean`; of no other kind."""

    def __post_init__(self) -> None:
        """Raise InputError for another kind, or an angle that is no strength."""
        if self.kind not in NOISE_KINDS:
            raise InputError(f"there is no label noise '{self.kind}'; expected one of {', '.join(NOISE_KINDS)}")
        if not 0 < self.degrees <= 180:
            raise InputError(f"label noise of {self.degrees} degrees; expected more than 0 and at most 180")


def drawn_bad(persons: int, share: float, generator: torch.Generator) -> Bool[Tensor, " person"]:
    """Marks of exactly `round(share * persons)` persons. Raises InputError for a share outside of 0 to 1."""
    if not 0 <= share <= 1:
        raise InputError(f"share of bad labels is {share}; expected 0 to 1")
    bad = torch.zeros(persons, dtype=torch.bool)
    bad[torch.randperm(persons, generator=generator)[: round(share * persons)]] = True
    return bad


def with_planted_noise(
    model: BodyModel, example: Example, bad: Bool[Tensor, " person"], noise: LabelNoise, generator: torch.Generator
) -> Example:
    """The same observations, the marked persons with labels of that noise, the others with their own, bit for bit.

    Raises InputError where there are no annotations, or a single person is to get another's label.
    """
    if example.annotation is None:
        raise InputError("label noise needs annotated persons; the example has no annotation")
    index = bad.nonzero()[:, 0]
    if len(index) == 0:
        return example
    noisy = noisy_bodies(model, example.annotation.body[index], noise, generator)
    label = Annotation(noisy, posed_joints(model, noisy))
    changed = example.annotation.map(lambda own, new: own.index_copy(0, index, new), label)
    return replace(example, annotation=changed)


def noisy_bodies(model: BodyModel, body: BodyParams, noise: LabelNoise, generator: torch.Generator) -> BodyParams:
    """Every body with that noise; one batch axis, frame `cam`. Raises InputError for `wrong_person` of one person."""
    match noise.kind:
        case "joint_rotations":
            turn = math.radians(noise.degrees) / math.sqrt(3)
            rotvec = turn * torch.randn(body.body_pose.shape[:-1], generator=generator)
            return replace(body, body_pose=body.body_pose @ rotvec_to_rotmat(rotvec))
        case "limb_swap":
            return _swapped(body, generator)
        case "depth_flip":
            return _flipped(model, body)
        case "global_rotation":
            return _turned(body, generator)
        case "lean":
            turn = axis_rotmat("x", torch.tensor(math.radians(noise.degrees)))
            return replace(body, global_orient=turn @ body.global_orient)
        case "wrong_person":
            return _exchanged(body, generator)


def _swapped(body: BodyParams, generator: torch.Generator) -> BodyParams:
    """Both arms, or both legs, whichever is drawn, as in the body mirrored in its own sagittal plane."""
    rotmats, swapped = body.rotmats.clone(), mirror_rotmats(body.rotmats, MIRROR_JOINTS[:NUM_JOINTS])
    which = torch.randint(len(_PAIRS), (len(rotmats),), generator=generator)
    for pair, joints in enumerate(_PAIRS):
        rows = (which == pair).nonzero()[:, :1]
        rotmats[rows, list(joints)] = swapped[rows, list(joints)]
    return replace(body, body_pose=rotmats[:, 1:])


def _flipped(model: BodyModel, body: BodyParams) -> BodyParams:
    """The limb that moves most by it, mirrored in the plane through its start across the ray from the camera.

    Bones keep their twists about themselves: how hands and feet turn is what the picture says of them.
    """
    joints = posed_joints(model, body)
    starts = joints[:, [limb[0] for limb in _LIMBS]]
    ray = torch.nn.functional.normalize(starts, dim=-1)
    offset = torch.stack([joints[:, list(limb)] for limb in _LIMBS], dim=1) - starts[:, :, None]
    depth = (offset * ray[:, :, None]).sum(-1)
    moved = depth.abs().mean(-1).argmax(1)
    rest = rest_joints(model, body.betas)
    twist = twists(body.body_pose, rest)
    pose = body.body_pose.clone()
    for number, limb in enumerate(_LIMBS):
        rows = (moved == number).nonzero()[:, 0]
        flipped = joints[rows]
        flipped[:, list(limb)] -= 2 * depth[rows, number, :, None] * ray[rows, number, None]
        turned = joints_twists_to_pose(flipped, twist[rows], rest[rows])
        rotating = torch.tensor(limb[:-1]) - 1  # `body_pose` has no root
        pose[rows[:, None], rotating] = turned[:, 1:][:, rotating]
    return replace(body, body_pose=pose)


def _turned(body: BodyParams, generator: torch.Generator) -> BodyParams:
    """About the vertical of the camera, by 45 to 180 degrees to either side."""
    n = len(body.transl)
    angle = _LEAST_TURN + (math.pi - _LEAST_TURN) * torch.rand(n, generator=generator)
    sign = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    return replace(body, global_orient=axis_rotmat("y", sign * angle) @ body.global_orient)


def _exchanged(body: BodyParams, generator: torch.Generator) -> BodyParams:
    """Everybody with the label of another, each label used once, at the person's own place.

    Moved to the place of the other it would be found by looking at where it lies; mistaken identities in crowds are
    harder than that.
    """
    n = len(body.transl)
    if n < 2:
        raise InputError("one person alone cannot have another's label; expected at least 2 bad labels")
    order = torch.randperm(n, generator=generator)
    other = torch.empty_like(order)
    other[order] = order.roll(1)  # one cycle: nobody keeps their own
    return replace(body[other], transl=body.transl)
