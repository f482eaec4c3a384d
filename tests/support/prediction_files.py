"""Small prediction files: synthetic persons with known hypotheses, written as another system would."""

from pathlib import Path

import numpy as np
import torch

from hmralign.body.lbs import posed_joints, rest_joints
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams, Hypotheses, Observation
from support.synthetic_persons import BODY, exact, persons, seeded

PERSONS, HYP = 5, 3


def observed() -> Observation:
    return exact(persons(8)).observation[:PERSONS]


def hypotheses(seed: int = 0) -> Hypotheses:
    """The truth of each person, turned a little in every joint; the first is the truth itself."""
    truth = persons(8).annotation
    assert truth is not None
    body, g = truth.body[:PERSONS], seeded(seed)
    noise = 0.2 * torch.randn(PERSONS, HYP, 24, 3, generator=g)
    noise[:, 0] = 0.0
    rotmats = body.rotmats[:, None] @ rotvec_to_rotmat(noise)
    betas, transl = (t[:, None].expand(-1, HYP, -1).clone() for t in (body.betas, body.transl))
    params = BodyParams(rotmats[:, :, 0], rotmats[:, :, 1:], betas, transl)
    return Hypotheses(params, posed_joints(BODY, params))


def free_arrays() -> dict[str, np.ndarray]:
    seen, group = observed(), hypotheses()
    return {
        "id": np.array([f"photo_{n}.jpg#0" for n in range(PERSONS)]),
        "skeleton": np.array("free"),
        "global_orient": group.body.global_orient.numpy(),
        "body_pose": group.body.body_pose.numpy(),
        "betas": group.body.betas.numpy(),
        "transl": group.body.transl.numpy(),
        "keypoints": seen.keypoints.numpy(),
        "confidence": seen.confidence.numpy(),
        "box": seen.box.numpy(),
        "K": seen.K.numpy(),
    }


def joint_arrays() -> dict[str, np.ndarray]:
    """Joints alone."""
    arrays = free_arrays() | {"joints": hypotheses().joints[:, :, :24].numpy()}
    return without(arrays, "global_orient", "body_pose", "betas", "transl")


def rest_arrays() -> np.ndarray:
    return rest_joints(BODY, hypotheses().body.betas)[:, :, :24].numpy()


def without(arrays: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if name not in names}


def write(path: Path, arrays: dict[str, np.ndarray] | None = None, **changes) -> Path:
    np.savez(path, **((free_arrays() if arrays is None else arrays) | changes))
    return path
