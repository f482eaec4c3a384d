"""A rendered scene whose truth is known: one posed body before a plain background, with its exact keypoints.

What comes out of it can be compared with the truth in millimetres, which no photo allows. It is one easy scene, exact
keypoints and all: a check that the chain works, not a benchmark.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hmralign.body.lbs import posed_joints, posed_keypoints, vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import axis_rotmat, rotvec_to_rotmat
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe
from hmralign.rendering.shading import blend, shaded_layers
from hmralign.structures import BodyParams, Hypotheses

WIDTH, HEIGHT, FOCAL = 640, 800, 1100.0

_POSE_DEGREES = {
    "left_hip": (-38, 0, 4), "left_knee": (48, 0, 0), "right_hip": (14, 0, -4), "right_knee": (22, 0, 0),
    "spine1": (4, 0, 0), "spine2": (4, 8, 0), "neck": (0, 10, 0), "head": (0, 12, 0),
    "left_shoulder": (0, -35, -52), "left_elbow": (0, -65, 0),
    "right_shoulder": (0, 15, -30), "right_elbow": (0, 55, 0),
}  # fmt: skip
"""Rotation vectors of the joints that move: a stride, one arm bent before the body, the other raised."""

_BETAS = (0.8, -0.6, 0.5)
_SKY, _FLOOR = (0.80, 0.84, 0.88), (0.66, 0.66, 0.64)


@dataclass(frozen=True)
class DemoScene:
    """The picture, its camera, the keypoints (x, y, confidence) and the body that made them (`cam`)."""

    rgb: UInt8[np.ndarray, "height width 3"]
    K: Float[np.ndarray, "3 3"]
    keypoints: Float[np.ndarray, "1 27 3"]
    truth: BodyParams


@dataclass(frozen=True)
class TruthErrors:
    """Errors against truth in millimetres over the 24 joints, and the spread.

    `mpjpe` with pelvises aligned, `pa_mpjpe` after Procrustes. `oracle` picks the best hypothesis by looking at the
    truth: it is a bound, not an answer.
    """

    fused_mpjpe_mm: float
    fused_pa_mpjpe_mm: float
    best_mpjpe_mm: float
    best_pa_mpjpe_mm: float
    oracle_mpjpe_mm: float
    mean_spread_mm: float

    def record(self) -> dict[str, float]:
        """Rounded values."""
        return {name: round(value, 1) for name, value in asdict(self).items()}


def demo_scene(body: BodyModel) -> DemoScene:
    """Pose, place and render the body."""
    truth = _posed_body(body)
    K = torch.tensor([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
    pixels = project(posed_keypoints(body, truth), K)
    confidence = torch.ones(len(pixels), 1)
    layer = shaded_layers(vertices(body, truth)[None], body.faces, K, (HEIGHT, WIDTH), (0.72, 0.62, 0.55))
    picture = blend(_background(), layer)[0]
    rgb = (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return DemoScene(rgb, K.numpy(), torch.cat([pixels, confidence], dim=-1)[None].numpy(), truth)


def errors_against_truth(
    scene: DemoScene,
    body: BodyModel,
    hypotheses: Hypotheses,
    best: int,
    fused_joints: Float[Tensor, "29 3"],
    spread: Float[Tensor, " 29"],
) -> TruthErrors:
    """Compare the answers of one person with the body that was rendered; `hypotheses` have the one axis hyp."""
    truth = posed_joints(body, scene.truth)[None, :NUM_JOINTS]
    fused = fused_joints[None, :NUM_JOINTS]
    group = hypotheses.joints[:, :NUM_JOINTS]
    each = mpjpe(group, truth, root=0)
    return TruthErrors(
        fused_mpjpe_mm=1000 * float(mpjpe(fused, truth, root=0)[0]),
        fused_pa_mpjpe_mm=1000 * float(pa_mpjpe(fused, truth)[0]),
        best_mpjpe_mm=1000 * float(each[best]),
        best_pa_mpjpe_mm=1000 * float(pa_mpjpe(group[best : best + 1], truth)[0]),
        oracle_mpjpe_mm=1000 * float(each.min()),
        mean_spread_mm=1000 * float(spread[:NUM_JOINTS].mean()),
    )


def _posed_body(body: BodyModel) -> BodyParams:
    turns = torch.zeros(NUM_JOINTS - 1, 3)
    for name, degrees in _POSE_DEGREES.items():
        turns[JOINT_NAMES.index(name) - 1] = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    betas = torch.zeros(body.num_betas)
    betas[: len(_BETAS)] = torch.tensor(_BETAS)
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # upright and towards the camera, which has y down
    tilt, yaw = (torch.tensor(math.radians(a)) for a in (6.0, 32.0))
    orient = axis_rotmat("x", tilt) @ facing @ axis_rotmat("y", yaw)
    return BodyParams(orient, rotvec_to_rotmat(turns), betas, torch.tensor([0.05, 0.18, 3.4]))


def _background() -> Float[Tensor, "height width 3"]:
    """A wall and a floor."""
    rows = torch.linspace(0, 1, HEIGHT)[:, None, None]
    wall, floor = torch.tensor(_SKY) * (1 - 0.12 * rows), torch.tensor(_FLOOR) * (0.8 + 0.25 * rows)
    return torch.where(rows < 0.78, wall, floor).expand(HEIGHT, WIDTH, 3)
