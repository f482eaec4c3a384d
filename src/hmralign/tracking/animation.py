"""What animation tools read of a track. This is the one place that says in which forms a motion is written.

motion.npz   AMASS' layout: poses trans betas mocap_framerate gender, z up, at even steps
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hmralign.body.lbs import rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.tracking.person_track import PersonTrack
from hmralign.tracking.resampling import at_times, even_times

FORMAT_VERSION = 1

ABOUT = (
    "Motion of one person by hmralign, in the layout of AMASS: poses, trans, betas, mocap_framerate, gender.",
    "Axes: x right, y forward, z up, as if the camera looked level; metres and radians. The body turns about its rest "
    "pelvis, then trans is added.",
    "poses (T, 156): axis-angle of SMPL-H's 52 joints, the 30 of the fingers zero; smpl_poses (T, 72): of the 24 "
    "joints in joint_names, among them the two hand joints that SMPL-H lacks.",
    "betas belong to the body named body_name: another body (SMPL too, unless body_name says so) has other shapes.",
    "The place in the world is unknown: it is the camera's, which may itself move.",
)

_Z_UP_CAM = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""From `cam` (x right, y down, z forward) to AMASS' axes."""
_SHARED_JOINTS, _SMPLH_JOINTS = 22, 52


def write_animation(folder: Path, track: PersonTrack, body: BodyModel, fps: float) -> list[Path]:
    """Write the motion of a track into a folder in every form; returns the files."""
    moments = even_times(track.time, fps)
    rotmats, transl = at_times(track.time, track.rotmats.astype(np.float64), track.transl.astype(np.float64), moments)
    return [write_npz(folder / "motion.npz", amass_arrays(rotmats, transl, track.betas, body, fps))]


def amass_arrays(
    rotmats: np.ndarray, transl: np.ndarray, betas: np.ndarray, body: BodyModel, fps: float
) -> dict[str, np.ndarray]:
    """The arrays of `motion.npz`; rotations (T, 24, 3, 3) and places (T, 3) in `cam`."""
    pelvis = rest_joints(body, torch.from_numpy(betas))[0].double().numpy()
    turned = rotmats.copy()
    turned[:, 0] = _Z_UP_CAM @ rotmats[:, 0]
    # The body turns about its pelvis: its place in other axes is that of the pelvis, see `geometry/frames.py`.
    trans = (transl + pelvis) @ _Z_UP_CAM.T - pelvis
    poses = rotmat_to_rotvec(torch.from_numpy(turned)).numpy()
    wide = np.zeros((len(poses), _SMPLH_JOINTS, 3))
    wide[:, :_SHARED_JOINTS] = poses[:, :_SHARED_JOINTS]
    return {
        "poses": wide.reshape(len(poses), -1),
        "trans": trans,
        "betas": betas.astype(np.float64),
        "mocap_framerate": np.array(fps, np.float64),
        "gender": np.array("neutral"),
        "smpl_poses": poses.reshape(len(poses), -1),
        "joint_names": np.array(JOINT_NAMES[:NUM_JOINTS]),
        "body_name": np.array(body.name),
        "skeleton_hash": np.array(body.skeleton_hash),
        "format_version": np.array(FORMAT_VERSION),
        "about": np.array(ABOUT),
    }
