"""BVH files, read back by a reader of somebody else: its joints are our forward kinematics."""

import dataclasses

import bvhio
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.export.bvh import bvh_text, write_bvh, zxy_angles
from support.motions import example_motion, upright

TENTH_MM = 1e-4
BODY = load_free_body("3k5")


def _read_joints(path, frames: int) -> dict[str, np.ndarray]:
    """Joint positions (frames, 3) by name, as bvhio poses them."""
    root = bvhio.readAsHierarchy(str(path))
    found: dict[str, list] = {}
    for frame in range(frames):
        for joint, _, _ in root.loadPose(frame).layout():
            found.setdefault(joint.Name, []).append(list(joint.PositionWorld))
    return {name: np.array(places) for name, places in found.items()}


def test_bvhio_finds_the_joints_where_forward_kinematics_has_them(tmp_path):
    for frame in ("cam", "y_up"):
        motion = example_motion(frames=4, seed=1, frame=frame)
        found = _read_joints(write_bvh(tmp_path / f"{frame}.bvh", BODY, motion), 4)
        expected = posed_joints(BODY, motion.body)
        expected = (upright(expected) if frame == "cam" else expected).numpy()
        for number, name in enumerate(JOINT_NAMES[:NUM_JOINTS]):
            assert np.abs(found[name] - expected[:, number]).max() < TENTH_MM, name


def test_the_end_sites_are_the_leaves(tmp_path):
    motion = example_motion(frames=1, seed=2)
    container = bvhio.readAsBvh(str(write_bvh(tmp_path / "x.bvh", BODY, motion)))
    rest = BODY.J_template + BODY.J_shapedirs @ motion.betas
    ends = {joint.Name: np.array(list(joint.EndSite)) for joint, _, _ in container.Root.layout() if not joint.Children}
    leaves = {"head": 24, "left_hand": 25, "right_hand": 26, "left_foot": 27, "right_foot": 28}
    assert ends.keys() == leaves.keys()
    for name, leaf in leaves.items():
        offset = (rest[leaf] - rest[JOINT_NAMES.index(name)]).numpy()
        assert np.abs(ends[name] - offset).max() < TENTH_MM


def test_the_header_tells_frames_and_rate(tmp_path):
    motion = example_motion(frames=7, fps=24.0)
    container = bvhio.readAsBvh(str(write_bvh(tmp_path / "x.bvh", BODY, motion)))
    assert container.FrameCount == 7 and abs(container.FrameTime - 1 / 24) < 1e-7
    assert container.Root.Name == "pelvis"


def test_a_turning_limb_does_not_spin_between_frames():
    """Three whole turns about a fixed axis: each step stays a small one in degrees too, away from the poles."""
    turn = np.linspace(0, 6 * np.pi, 181)
    for axis in np.eye(3):
        rotmats = Rotation.from_rotvec(turn[:, None] * axis).as_matrix()[:, None]
        angles = zxy_angles(rotmats)
        back = Rotation.from_euler("ZXY", angles[:, 0], degrees=True).as_matrix()
        assert np.abs(back - rotmats[:, 0]).max() < 1e-9
        assert np.abs(np.diff(angles, axis=0)).max() < 6.01


def test_angles_are_scipys_and_hold_where_two_axes_fall_together():
    rotations = Rotation.random(50, rng=np.random.default_rng(0))
    single = np.stack([zxy_angles(r.as_matrix()[None, None])[0, 0] for r in rotations])
    assert np.allclose(single, rotations.as_euler("ZXY", degrees=True))
    for x in (90.0, -90.0):
        locked = Rotation.from_euler("ZXY", [30.0, x, 50.0], degrees=True).as_matrix()
        back = Rotation.from_euler("ZXY", zxy_angles(locked[None, None])[0, 0], degrees=True).as_matrix()
        assert np.abs(back - locked).max() < 1e-9


def test_a_person_at_rest_stands_in_t_pose_and_faces_the_viewer():
    motion = example_motion(frames=1, frame="y_up")
    rest = dataclasses.replace(motion, rotmats=torch.eye(3).expand(1, 24, 3, 3), transl=torch.zeros(1, 3))
    numbers = np.array([float(x) for x in bvh_text(BODY, rest).splitlines()[-1].split()])
    assert np.abs(numbers[3:]).max() == 0
    assert np.allclose(numbers[:3], (BODY.J_template + BODY.J_shapedirs @ motion.betas)[0].numpy(), atol=1e-6)
