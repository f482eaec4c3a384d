"""A motion as an npz archive of the kind that AMASS distributes (Mahmood et al. 2019), for tools that read those.

    poses            (T, 156) axis-angle of SMPL-H's 52 joints: 22 of the body, then 30 of the fingers, which are zero
    trans            (T, 3) metres
    betas            of `body_name`, which is SMPL only where it says so
    mocap_framerate  frames per second
    gender           "neutral"

AMASS' world has z up, so the axes are turned: from `cam`, x right, y into the picture, z up. SMPL-H has no joints
`left_hand` and `right_hand`: their rotations are in `smpl_poses` (T, 72), which is the pose of all 24 joints, and are
left out of `poses`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.export.motion import Motion, shaped_joints
from hmralign.geometry.frames import Y_UP_TO_Z_UP, turn_body
from hmralign.geometry.rotations import rotmat_to_rotvec

FORMAT_VERSION = 1
_SHARED_JOINTS = 22
_SMPLH_JOINTS = 52

ABOUT = (
    "Motion of one person by hmralign, in the layout of AMASS: poses, trans, betas, mocap_framerate, gender.",
    "Axes: x right, y forward, z up; metres and radians. The body turns about its rest pelvis, then trans is added.",
    "poses (T, 156): axis-angle of SMPL-H's 52 joints, the 30 of the fingers zero; smpl_poses (T, 72): of the 24 "
    "joints in joint_names, among them the two hand joints that SMPL-H lacks.",
    "betas belong to the body named body_name: another body (SMPL too, unless body_name says so) has other shapes.",
)


def write_amass(path: Path, model: BodyModel, motion: Motion) -> Path:
    """Write the archive, whole or not at all; see `amass_arrays`."""
    return write_npz(path, amass_arrays(model, motion))


def amass_arrays(model: BodyModel, motion: Motion) -> dict[str, np.ndarray]:
    """The arrays of an AMASS-style archive (see the module) of one person; z up."""
    upright = motion.y_up(model)
    turn = torch.tensor(Y_UP_TO_Z_UP, dtype=torch.float64)
    pelvis = shaped_joints(model, upright.betas)[0]
    root, transl = turn_body(upright.rotmats[:, 0], upright.transl, pelvis, turn)
    poses = rotmat_to_rotvec(torch.cat([root[:, None], upright.rotmats[:, 1:]], dim=1)).numpy()  # (T, 24, 3)
    wide = np.zeros((len(poses), _SMPLH_JOINTS, 3))
    wide[:, :_SHARED_JOINTS] = poses[:, :_SHARED_JOINTS]
    return {
        "poses": wide.reshape(len(poses), -1),
        "trans": transl.numpy(),
        "betas": upright.betas.numpy(),
        "mocap_framerate": np.array(motion.fps, np.float64),
        "gender": np.array("neutral"),
        "smpl_poses": poses.reshape(len(poses), -1),
        "joint_names": np.array(JOINT_NAMES[:NUM_JOINTS]),
        "body_name": np.array(model.name),
        "skeleton_hash": np.array(model.skeleton_hash),
        "format_version": np.array(FORMAT_VERSION),
        "about": np.array(ABOUT),
    }
