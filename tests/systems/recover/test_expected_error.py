"""The expected error of the shipped weights: wider than the spread, and only where it was fitted."""

from hmralign import Recoverer
from hmralign.evaluation.summary import CALIBRATED_JOINTS
from support.recover_example import example_photo


def recovered(**options):
    given = {"num_hypotheses": 20, "detector": None} | options
    rgb, points = example_photo()
    return Recoverer.load("lite", **given)(rgb, keypoints=points)[0]


def test_shipped_weights_say_how_wrong_they_are_likely_to_be():
    person = recovered()
    found = person.expected_error
    assert found is not None and tuple(found) == CALIBRATED_JOINTS
    assert all(0.005 < value < 1.0 for value in found.values())
    spread = dict(zip(CALIBRATED_JOINTS, person.spread[1:24].tolist(), strict=True))
    assert sum(found[j] > spread[j] for j in found) > 20, "groups are too sure, so calibration widens"
    assert found["left_wrist"] > found["left_hip"]


def test_it_is_not_given_where_it_was_not_fitted():
    assert recovered(refine=False).expected_error is None
    assert recovered(num_hypotheses=10).expected_error is None
    rgb, _ = example_photo()
    box = [[20.0, 20.0, rgb.shape[1] - 20.0, rgb.shape[0] - 20.0]]
    person = Recoverer.load("lite", detector=None, num_hypotheses=20)(rgb, boxes=box)[0]
    assert person.box_only and person.expected_error is None
