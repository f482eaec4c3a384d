"""Errors of candidates under a published protocol, metres; how joints are picked, rooted and aligned.

Source: the evaluation of Kanazawa et al. 2018 (HMR) and what ScoreHypo's public code makes of it. `J_regressor_h36m`
(17 x 6890) belongs to the user; its first joint is the pelvis.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.body_file import load_joint_regressor
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.evaluation.benchmarks.protocol import BenchmarkProtocol, JointSet
from hmralign.geometry.procrustes import procrustes
from hmralign.structures import InputError

PICK_14 = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
"""Places among the 17 joints of Human3.6M: right leg upwards, left leg, right arm upwards, left arm, neck, head top."""

_MAX_BYTES = 2**26
_SUM_TOLERANCE = 1e-2


def read_regressor(path: Path, vertices: int) -> Float[Tensor, "17 vert"]:
    """`J_regressor_h36m.npy`. Raises InputError where it is none, or of another mesh."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: has more than {_MAX_BYTES >> 20} MB, which no regressor has")
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as an array ({error}); expected J_regressor_h36m.npy") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.shape != (17, vertices):
        shape = getattr(found, "shape", None)
        raise InputError(
            f"{path}: is {shape}, expected (17, {vertices}): a regressor of 17 joints from the body's mesh"
        )
    if not np.isfinite(found).all() or np.abs(found.sum(1) - 1).max() > _SUM_TOLERANCE:
        raise InputError(f"{path}: its rows do not sum to one, so it is no regressor of joints")
    return torch.from_numpy(found.astype(np.float32))


def regressor_of(
    protocol: BenchmarkProtocol, h36m: Path | None, body: Path | None, vertices: int
) -> Float[Tensor, "j vert"] | None:
    """What finds a protocol's joints in a mesh; None where they are those of the posed body.

    Raises InputError where its file is not given, or is of another mesh.
    """
    if protocol.joints == "mesh24":
        if body is None:
            raise InputError(
                f"protocol {protocol.name} measures joints that the body file's J_regressor finds in the mesh; "
                "expected the file of SMPL-X as the body"
            )
        return load_joint_regressor(body)
    if not protocol.needs_regressor:
        return None
    if h36m is None:
        raise InputError(
            f"protocol {protocol.name} measures joints that J_regressor_h36m finds in the mesh; expected its file "
            "(.npy)"
        )
    return read_regressor(h36m, vertices)


def measured_joints(
    protocol: BenchmarkProtocol,
    joints: Float[Tensor, "*batch all 3"],
    vertices: Float[Tensor, "*batch vert 3"],
    regressor: Float[Tensor, "regressed vert"] | None,
) -> Float[Tensor, "*batch j 3"]:
    """The joints that a protocol looks at before any is picked, pelvis first: 24 of the body, or 17 of the mesh."""
    if protocol.joints == "smpl24":
        return joints[..., :NUM_JOINTS, :]
    if regressor is None:
        raise InputError(f"protocol {protocol.name} measures joints of a regressor, and none was given")
    return regressor @ vertices


def protocol_errors(
    protocol: BenchmarkProtocol,
    joints: Float[Tensor, "person cand j 3"],
    true_joints: Float[Tensor, "person j 3"],
    vertices: Float[Tensor, "person cand vert 3"],
    true_vertices: Float[Tensor, "person vert 3"],
) -> dict[str, Float[Tensor, "person cand"]]:
    """`mpjpe`, `pa_mpjpe` and `pve` of every candidate, `pa_pve` where the protocol has it; `joints` as
    `measured_joints` gives them.

    Everything is moved to its own pelvis first. Vertices are aligned further for `pa_pve` alone, all of them.
    """
    true = true_joints[:, None].expand_as(joints)
    pred, true = joints - joints[..., :1, :], true - true[..., :1, :]
    mesh = vertices - joints[..., :1, :]
    true_mesh = true_vertices[:, None] - true_joints[:, None, :1]
    keep = _rows(protocol.joints)
    fitted = _rows(protocol.procrustes_on)
    if set(keep) <= set(fitted) and keep != fitted:
        whole, _ = procrustes(pred[..., list(fitted), :], true[..., list(fitted), :])
        aligned = whole[..., [fitted.index(row) for row in keep], :]
    else:
        aligned, _ = procrustes(pred[..., list(keep), :], true[..., list(keep), :])
    target = true[..., list(keep), :]
    errors = {
        "mpjpe": (pred[..., list(keep), :] - target).norm(dim=-1).mean(-1),
        "pa_mpjpe": (aligned - target).norm(dim=-1).mean(-1),
        "pve": (mesh - true_mesh).norm(dim=-1).mean(-1),
    }
    if "pa_pve" in protocol.metrics:
        fit, _ = procrustes(mesh, true_mesh.expand_as(mesh))
        errors["pa_pve"] = (fit - true_mesh).norm(dim=-1).mean(-1)
    return errors


def _rows(joints: JointSet) -> tuple[int, ...]:
    every = tuple(range(NUM_JOINTS))
    return {"smpl24": every, "mesh24": every, "h36m17": tuple(range(17)), "h36m14": PICK_14}[joints]
