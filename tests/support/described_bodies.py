"""Bodies to describe: typed poses of the free body, drawn ones, and their mirror images."""

import math

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import JOINT_NAMES, MIRROR_JOINTS, NUM_JOINTS
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.data.synthetic.postures import POSTURES, apply_posture
from hmralign.data.synthetic.views import ViewMix, sample_views
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
"""Root orientation of somebody who stands upright and faces a level camera."""


def _joints(body: BodyParams) -> torch.Tensor:
    return posed_joints(load_free_body("3k5"), body)[:, :NUM_JOINTS]


def posed(turn: tuple[float, float, float] = (0, 0, 0), **degrees: tuple[float, float, float]):
    """Joints (1, 24, 3) and rotations (1, 24, 3, 3) of a body that faces the camera, some joints turned (rotation
    vectors in degrees, x to the person's left, y up, z where it faces), the whole person turned by `turn`."""
    rotvecs = torch.zeros(1, NUM_JOINTS, 3)
    for name, angles in {"pelvis": turn, **degrees}.items():
        rotvecs[0, JOINT_NAMES.index(name)] = torch.tensor([math.radians(a) for a in angles])
    rotmats = rotvec_to_rotmat(rotvecs)
    rotmats[:, 0] = FACING @ rotmats[:, 0]
    body = BodyParams(rotmats[:, 0], rotmats[:, 1:], torch.zeros(1, 10), torch.tensor([[0.2, 0.1, 4.0]]))
    return _joints(body), rotmats


def drawn_bodies(n: int, seed: int = 0):
    """Joints, rotations and up directions of bodies as training draws them, in any view."""
    generator = torch.Generator().manual_seed(seed)
    pose, up = PoseSource(load_pose_prior("heldout")).sample(n, generator)
    views = sample_views(up, ViewMix(), generator)
    body = BodyParams(views.global_orient, pose, torch.zeros(n, 10), views.transl)
    return _joints(body), body.rotmats, (views.global_orient @ up[..., None])[..., 0]


def bodies_in(posture: str, n: int):
    """Bodies in one of the generator's postures, as `drawn_bodies`, all of them upright in the camera's frame."""
    generator = torch.Generator().manual_seed(0)
    typed = next(p for p in POSTURES if p.name == posture)
    pose, up = apply_posture(typed, load_pose_prior("train").sample(n, generator)[0], generator)
    body = BodyParams(torch.eye(3).expand(n, 3, 3), pose, torch.zeros(n, 10), torch.zeros(n, 3))
    return _joints(body), body.rotmats, up


def mirrored_body(joints: torch.Tensor, rotmats: torch.Tensor, up: torch.Tensor):
    """What the mirror shows: x turned round, sides exchanged."""
    flip = torch.tensor([-1.0, 1.0, 1.0])
    swap = list(MIRROR_JOINTS[:NUM_JOINTS])
    return joints[:, swap] * flip, rotmats[:, swap] * flip[:, None] * flip, up * flip
