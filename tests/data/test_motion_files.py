import numpy as np
import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.motion_files import read_motions
from hmralign.export.amass import write_amass
from hmralign.export.bvh import write_bvh
from hmralign.export.motion import Motion
from hmralign.geometry.rotations import rotmat_angle, rotvec_to_rotmat
from hmralign.structures import InputError
from support.synthetic_persons import seeded

BODY = load_free_body("3k5")


def rotvecs(frames=8, seed=0):
    turns = 0.4 * torch.randn(frames, 24, 3, generator=seeded(seed), dtype=torch.float64)
    turns[:, 22:] = 0  # SMPL-H has no such joints
    return turns


def same(found, wanted):
    return float(rotmat_angle(rotvec_to_rotmat(found.double()), rotvec_to_rotmat(wanted.double())).max()) < 1e-4


def motion_x(path, turns):
    array = np.zeros((len(turns), 322), np.float32)
    array[:, :66] = turns[:, :22].reshape(len(turns), 66)
    np.save(path, array)


def test_every_layout_says_the_same_poses(tmp_path):
    turns = rotvecs()
    motion = Motion(rotvec_to_rotmat(turns), torch.zeros(8, 3, dtype=torch.float64), torch.zeros(10), 30.0, "y_up")
    write_bvh(tmp_path / "a.bvh", BODY, motion)
    write_amass(tmp_path / "b.npz", BODY, motion)  # z up
    motion_x(tmp_path / "c.npy", turns)
    np.savez(tmp_path / "d.npz", poses=turns.float().numpy(), split=np.zeros(8, np.uint8))
    np.savez(tmp_path / "e.npz", poses=torch.nn.functional.pad(turns, (0, 0, 0, 31)).reshape(8, 165).numpy())
    poses = read_motions([tmp_path])
    assert poses.clip_names == ("a.bvh", "b.npz", "c.npy", "d.npz:0", "e.npz") and len(poses) == 40
    for number in range(5):
        assert same(poses.rotvecs[poses.clip == number], turns), poses.clip_names[number]
    assert [name for name, _ in poses.sources] == ["a.bvh", "b.npz", "c.npy", "d.npz", "e.npz"]
    assert len({sha for _, sha in poses.sources}) == 5


def test_motions_are_thinned_and_another_axis_may_be_up(tmp_path):
    turns = rotvecs(frames=12)
    wide = torch.nn.functional.pad(turns, (0, 0, 0, 28)).reshape(12, 156)
    np.savez(tmp_path / "a.npz", poses=wide.numpy(), mocap_framerate=np.array(120.0))
    kept = read_motions([tmp_path / "a.npz"], fps=30.0, up="y")
    assert same(kept.rotvecs, turns[::4]) and kept.frame.tolist() == [0, 1, 2]
    turned = read_motions([tmp_path / "a.npz"], fps=30.0)
    assert not same(turned.rotvecs, turns[::4]) and same(turned.rotvecs[:, 1:], turns[::4, 1:])


def test_clips_and_splits_of_a_pose_file(tmp_path):
    turns = rotvecs(frames=6).float().numpy()
    marks = {"clip": np.array([1, 1, 0, 0, 1, 0]), "frame": np.array([7, 3, 0, 1, 5, 2])}
    split = np.array([0, 0, 2, 2, 0, 2], np.uint8)
    np.savez(tmp_path / "a.npz", poses=turns, split=split, clip_names=np.array(["walk", "jump"]), **marks)
    every = read_motions([tmp_path / "a.npz"])
    assert every.clip_names == ("a.npz:walk", "a.npz:jump")
    assert every.frame.tolist() == [0, 1, 2, 3, 5, 7] and every.clip.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.allclose(every.rotvecs[3:], turns[[1, 4, 0]])
    assert read_motions([tmp_path / "a.npz"], split="test").clip_names == ("a.npz:walk",)
    with pytest.raises(InputError, match="split 'val' is empty"):
        read_motions([tmp_path / "a.npz"], split="val")


def test_what_a_folder_holds_besides_is_left_out_and_named(tmp_path):
    motion_x(tmp_path / "good.npy", rotvecs())
    np.save(tmp_path / "humanml.npy", np.zeros((5, 263), np.float32))
    (tmp_path / "notes.txt").write_text("hello")
    np.savez(tmp_path / "shape.npz", betas=np.zeros(10))
    poses = read_motions([tmp_path])
    assert poses.clip_names == ("good.npy",)
    assert poses.left_out == (("humanml.npy", "has shape (5, 263) of float32, expected Motion-X's (T, 322)"),)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.npy", lambda p: np.save(p, np.zeros((5, 263), np.float32)), "Motion-X's"),
        ("a.npy", lambda p: np.save(p, np.full((5, 322), np.nan, np.float32)), "not finite"),
        ("a.npy", lambda p: np.save(p, np.full((5, 322), 90.0, np.float32)), "radians, not degrees"),
        ("a.npy", lambda p: p.write_bytes(b"\x93NUMPY\x01\x00garbage"), "no array of numbers"),
        ("a.npy", lambda p: np.save(p, np.array([{}], object)), "no array of numbers"),
        ("a.npz", lambda p: np.savez(p, poses=np.zeros((5, 63))), "without the root"),
        ("a.npz", lambda p: np.savez(p, poses=np.zeros((5, 25, 3)), split=np.zeros(5)), "expected 'poses'"),
        ("a.npz", lambda p: np.savez(p, poses=np.zeros((5, 17, 3))), "expected"),
        ("a.npz", lambda p: np.savez(p, poses=np.zeros((5, 72)), mocap_framerate=np.array(0.0)), "frames per second"),
        ("a.fbx", lambda p: p.write_bytes(b"x"), "expected a motion as"),
    ],
)
def test_a_named_file_of_another_kind_is_refused(tmp_path, name, write, said):
    write(tmp_path / name)
    with pytest.raises(InputError, match=said) as caught:
        read_motions([tmp_path / name])
    assert name in str(caught.value)


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_motions([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no motion can be read"):
        read_motions([tmp_path])
    with pytest.raises(InputError, match="positive number"):
        read_motions([tmp_path], fps=0.0)


def test_a_claim_of_size_reserves_nothing(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 322), np.float32))
    claimed = path.read_bytes().replace(b"(2, 322), }      ", b"(1999999, 322), }")
    path.write_bytes(claimed)
    assert b"1999999" in claimed
    with pytest.raises(InputError, match=r"a\.npy: no array"):
        read_motions([path])
