"""AMASS-style archives: posed again by the keys that readers use, the joints are ours with z up."""

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.export.amass import write_amass
from hmralign.export.rotvec_params import rotvec_params
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams
from support.motions import example_motion

BODY = load_free_body("3k5").to(torch.float64)


def _posed_again(poses: np.ndarray, trans: np.ndarray, betas: np.ndarray) -> torch.Tensor:
    rotmats = rotvec_to_rotmat(torch.tensor(poses).unflatten(-1, (-1, 3)))
    shape = torch.tensor(betas).expand(len(trans), -1)
    return posed_joints(BODY, BodyParams(rotmats[:, 0], rotmats[:, 1:], shape, torch.tensor(trans)))


def test_what_readers_of_amass_read_gives_our_joints_with_z_up(tmp_path):
    motion = example_motion(seed=3, fps=60.0)
    with np.load(write_amass(tmp_path / "a.npz", BODY, motion), allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    assert found["poses"].shape == (6, 156) and float(found["mocap_framerate"]) == 60.0
    assert str(found["gender"]) == "neutral" and str(found["body_name"]) == BODY.name
    ours = posed_joints(BODY, motion.body.map(torch.Tensor.double))
    expected = torch.stack([ours[..., 0], ours[..., 2], -ours[..., 1]], dim=-1)
    whole = _posed_again(found["smpl_poses"], found["trans"], found["betas"])
    assert float((whole - expected).abs().max()) < 1e-4
    # SMPL-H's first 22 joints; the two hands hang on them, and only leaves hang on the hands.
    body = np.concatenate([found["poses"][:, :66], np.zeros((6, 6))], axis=1)
    part = _posed_again(body, found["trans"], found["betas"])
    assert float((part - expected)[:, :24].abs().max()) < 1e-4
    assert not found["poses"][:, 66:].any()


def test_rotation_vectors_are_the_same_body():
    body = example_motion(seed=5).body
    vectors = rotvec_params(body)
    assert {name: tuple(v.shape) for name, v in vectors.items()} == {
        "global_orient": (6, 3), "body_pose": (6, 69), "betas": (6, 10), "transl": (6, 3),
    }  # fmt: skip
    torch.testing.assert_close(rotvec_to_rotmat(vectors["global_orient"]), body.global_orient, atol=1e-5, rtol=0)
    pose = rotvec_to_rotmat(vectors["body_pose"].unflatten(-1, (23, 3)))
    torch.testing.assert_close(pose, body.body_pose, atol=1e-5, rtol=0)
    assert rotvec_params(body[0])["body_pose"].shape == (69,)
