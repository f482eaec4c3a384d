from dataclasses import replace

import torch

from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmralign.evaluation.visibility import errors_by_visibility, hidden_joints, nearest_keypoints
from support.synthetic_persons import BODY, persons, seeded


def nearest_to(joint: str) -> set[str]:
    row = nearest_keypoints(BODY)[JOINT_NAMES.index(joint)]
    return {KEYPOINT_NAMES[k] for k in row.nonzero()[:, 0].tolist()}


def test_the_nearest_keypoint_of_a_limb_is_its_own_and_the_midline_has_two():
    for name in ("left_wrist", "right_knee", "left_elbow", "right_ankle", "left_shoulder", "right_hip"):
        assert nearest_to(name) == {name}
    assert nearest_to("neck") == {"left_ear", "right_ear"} and nearest_to("spine1") == {"left_hip", "right_hip"}
    assert not any("small_toe" in k for joint in JOINT_NAMES[:24] for k in nearest_to(joint))


def test_a_joint_is_hidden_when_none_of_its_keypoints_was_observed():
    seen = persons(3).observation
    confidence = torch.ones_like(seen.confidence)
    confidence[1, KEYPOINT_NAMES.index("left_hip")] = 0
    confidence[2, [KEYPOINT_NAMES.index(f"{side}_hip") for side in ("left", "right")]] = 0
    hidden = hidden_joints(nearest_keypoints(BODY), replace(seen, confidence=confidence))
    names = [{JOINT_NAMES[j] for j in row.nonzero()[:, 0].tolist()} for row in hidden]
    assert names[0] == set() and names[1] == {"left_hip"}
    assert {"left_hip", "right_hip", "spine1"} <= names[2] and "left_knee" not in names[2]


def test_the_two_errors_are_parts_of_the_whole():
    g = seeded(3)
    pred, truth = torch.randn(5, 29, 3, generator=g), torch.randn(5, 29, 3, generator=g)
    hidden = torch.rand(5, 24, generator=g) < 0.3
    hidden[0] = False
    visible, unseen = errors_by_visibility(pred, truth, hidden)
    assert bool(unseen[0].isnan()) and bool(visible.isfinite().all())
    each = ((pred - pred[:, :1]) - (truth - truth[:, :1])).norm(dim=-1)[:, 1:24]
    for i in range(1, 5):
        n = hidden[i, 1:].sum()
        torch.testing.assert_close((visible[i] * (23 - n) + unseen[i] * n) / 23, each[i].mean())
