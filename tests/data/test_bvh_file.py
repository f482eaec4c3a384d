import numpy as np
import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.data.bvh_file import read_bvh
from hmralign.export.bvh import bvh_text
from hmralign.export.motion import Motion
from hmralign.geometry.rotations import random_rotmat
from hmralign.structures import InputError
from support.synthetic_persons import seeded

BODY = load_free_body("3k5")

MIXAMO_NAMES = {
    "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
    **{f"{side.lower()}_{ours}": f"{side}{theirs}" for side in ("Left", "Right") for ours, theirs in (
        ("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("foot", "ToeBase"), ("collar", "Shoulder"),
        ("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand"), ("hand", "HandMiddle1"))},
}  # fmt: skip


@pytest.fixture
def motion():
    rotmats = random_rotmat((3, 24), seeded(1))
    return Motion(rotmats, torch.randn(3, 3, generator=seeded(2)), torch.zeros(10), 25.0, "y_up")


@pytest.fixture
def text(motion):
    return bvh_text(BODY, motion)


def written(tmp_path, text):
    path = tmp_path / "a.bvh"
    path.write_text(text)
    return path


def mixamo(text):
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in ("ROOT", "JOINT"):
            line = line.replace(words[1], f"mixamorig:{MIXAMO_NAMES[words[1]]}")
        lines.append(line)
    return "\n".join(lines)


def test_what_is_exported_comes_back(tmp_path, motion, text):
    read = read_bvh(written(tmp_path, text))
    assert read.fps == pytest.approx(25.0, rel=1e-5)
    assert np.abs(read.rotmats - motion.rotmats.numpy()).max() < 1e-5


def test_mixamo_names_are_the_same_joints(tmp_path, motion, text):
    read = read_bvh(written(tmp_path, mixamo(text)))
    hands = [JOINT_NAMES.index("left_hand"), JOINT_NAMES.index("right_hand")]
    others = [j for j in range(24) if j not in hands]
    assert np.abs(read.rotmats[:, others] - motion.rotmats.numpy()[:, others]).max() < 1e-5
    assert np.abs(read.rotmats[:, hands] - np.eye(3)).max() < 1e-9  # Mixamo's fingers are nobody's joints


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda t: "", "does not begin with HIERARCHY"),
        (lambda t: t.replace("ROOT pelvis", "ROOT Bip01"), "its root is called 'Bip01'"),
        (lambda t: t.replace("left_knee", "left_shin"), "another set of joints"),
        (lambda t: t.replace("MOTION", "", 1), "no word of BVH"),
        (lambda t: t[: t.index("MOTION")], "ends or lacks a number"),
        (lambda t: t.rsplit(" ", 1)[0], "numbers, expected 3 x 75"),
        (lambda t: t.rsplit(" ", 1)[0] + " nan\n", "not finite"),
        (lambda t: t.rsplit(" ", 1)[0] + " x\n", "no number"),
        (lambda t: t.replace("Frames: 3", "Frames: 99999999"), "expected 1 to"),
        (lambda t: t.replace("Frame Time: 0.04", "Frame Time: 0"), "not finite"),
        (lambda t: t.replace("{", "(", 1), "belongs"),
        (lambda t: t.replace("CHANNELS 6", "CHANNELS 9"), "where none can be"),
    ],
)
def test_what_is_no_motion_is_refused_by_name(tmp_path, text, wrong, said):
    with pytest.raises(InputError, match=said) as caught:
        read_bvh(written(tmp_path, wrong(text)))
    assert "a.bvh" in str(caught.value)


def test_another_rest_pose_is_refused(tmp_path, text):
    lines = text.splitlines()
    for side in ("left", "right"):
        for joint in ("elbow", "wrist"):  # arms that hang down at rest
            at = next(n for n, line in enumerate(lines) if line.split()[:2] == ["JOINT", f"{side}_{joint}"])
            lines[at + 2] = "OFFSET 0.0 -0.27 0.0"
    with pytest.raises(InputError, match="no T-pose"):
        read_bvh(written(tmp_path, "\n".join(lines)))


def test_many_joints_are_too_many(tmp_path):
    chain = "HIERARCHY ROOT a { OFFSET 0 0 0 " + " ".join(f"JOINT b{n} {{ OFFSET 0 0 0" for n in range(600))
    with pytest.raises(InputError, match="more than 512 joints"):
        read_bvh(written(tmp_path, chain))
