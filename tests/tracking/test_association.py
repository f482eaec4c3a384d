"""Who is who over frames: crossing paths, gaps, cuts, exchanged sides, crowds."""

import time
from itertools import permutations

import numpy as np
import pytest

from hmralign.body.skeleton import MIRROR_KEYPOINTS
from hmralign.tracking.association import AssociationConfig, Sighting, Tracker, likenesses
from support.recover_example import example_photo

_, POINTS = example_photo()


def sighting(x=0.0, y=0.0, scale=1.0, exchanged=False, seen=slice(None)):
    places = POINTS[:, :2] * scale + [x, y]
    confidence = np.zeros(27)
    confidence[seen] = POINTS[seen, 2]
    box = np.concatenate([places.min(0), places.max(0)])
    order = list(MIRROR_KEYPOINTS) if exchanged else list(range(27))
    return Sighting(box, places[order], confidence[order])


def test_a_person_is_like_herself_and_unlike_one_elsewhere():
    table = likenesses([sighting(), sighting(300)], [sighting(1), sighting(301, exchanged=True)])
    assert (np.diag(table) > 0.9).all() and table[0, 1] < 0.05 and table[1, 0] < 0.05
    assert np.allclose(likenesses([sighting(2)], [sighting()]), likenesses([sighting()], [sighting(2)]))


def test_without_common_keypoints_the_boxes_say_it():
    lower, upper = sighting(seen=slice(13, 27)), sighting(seen=slice(0, 10))
    assert likenesses([lower], [upper])[0, 0] == pytest.approx(1.0)
    assert likenesses([], [upper]).shape == (0, 1)


def test_the_pose_share_weighs_keypoints_against_boxes():
    """One box with bodies that stand in it differently: keypoints alone tell them apart."""
    one = sighting()
    other = Sighting(one.box, one.keypoints[::-1].copy(), one.confidence)
    found = [float(likenesses([one], [other], share)[0, 0]) for share in (0.0, 0.5, 1.0)]
    assert found[0] == pytest.approx(1.0) and found[2] < 0.5
    assert found[1] == pytest.approx((found[0] + found[2]) / 2)
    for share, tracks in ((0.0, [0]), (1.0, [1])):
        tracker = Tracker(AssociationConfig(pose_share=share, least_likeness=0.6))
        tracker.assign(0.0, [one])
        assert tracker.assign(1 / 30, [other]) == tracks


def test_two_people_who_pass_each_other_keep_their_tracks():
    tracker = Tracker()
    names = []
    for frame in range(40):
        left, right = sighting(8 * frame), sighting(320 - 8 * frame, 30, 1.15)
        people = [left, right] if frame % 2 else [right, left]
        tracks = tracker.assign(frame / 30, people)
        names.append(tracks if frame % 2 else tracks[::-1])
    assert len({tuple(n) for n in names}) == 1


def test_the_order_of_the_people_does_not_matter():
    rng = np.random.default_rng(0)
    tracker, names = Tracker(), {}
    for frame in range(20):
        people = [(k, sighting(200 * k + 2 * frame)) for k in range(6)]
        order = rng.permutation(6)
        for track, k in zip(tracker.assign(frame / 25, [people[k][1] for k in order]), order, strict=True):
            assert names.setdefault(k, track) == track
    assert len(set(names.values())) == 6


def test_exchanged_sides_do_not_lose_a_person():
    tracker = Tracker()
    tracks = [tracker.assign(f / 30, [sighting(3 * f, exchanged=f % 3 == 0)]) for f in range(12)]
    assert tracks == [[0]] * 12


@pytest.mark.parametrize(("gap", "same"), [(8, True), (9, True), (10, False)])
def test_a_gap_of_three_tenths_is_bridged_and_a_longer_one_is_not(gap, same):
    tracker = Tracker(AssociationConfig(max_gap=0.3))
    first = tracker.assign(0.0, [sighting()])
    for frame in range(1, gap):
        assert tracker.assign(frame / 30, []) == []
    assert (tracker.assign(gap / 30, [sighting(2)]) == first) is same


def test_a_cut_ends_all_tracks_and_numbers_are_never_used_again():
    tracker = Tracker()
    assert tracker.assign(0.0, [sighting(), sighting(300)]) == [0, 1]
    tracker.end_all()
    assert tracker.assign(0.04, [sighting(), sighting(300)]) == [2, 3]


def test_somebody_new_gets_a_new_track():
    tracker = Tracker()
    assert tracker.assign(0.0, [sighting()]) == [0]
    assert tracker.assign(0.04, [sighting(250), sighting(1)]) == [1, 0]


def test_the_assignment_is_the_best_of_all():
    """Against every way to give five people to five tracks; the greedy way is not always it."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        first = [sighting(x) for x in rng.uniform(0, 160, 5)]
        second = [sighting(x) for x in rng.uniform(0, 160, 5)]
        table = likenesses(first, second)
        tracker = Tracker(AssociationConfig(least_likeness=-1.0))
        tracker.assign(0.0, first)
        tracks = tracker.assign(0.04, second)
        best = max(sum(table[p[k], k] for k in range(5)) for p in permutations(range(5)))
        assert sum(table[track, k] for k, track in enumerate(tracks)) == pytest.approx(best)


def test_sixty_people_are_quick():
    tracker = Tracker()
    start = time.process_time()
    for frame in range(5):
        people = [sighting(170 * (k % 10) + frame, 210 * (k // 10)) for k in range(60)]
        assert tracker.assign(frame / 30, people) == list(range(60))
    assert time.process_time() - start < 4
