"""Merging and rejecting on drawn people."""

from dataclasses import replace

import numpy as np
import pytest

from hmralign.detection.person_candidates import (
    MAIN,
    MIRROR,
    alpha_at,
    coverage,
    exchange_sides,
    is_piece_of,
    landmark_distance,
    limb_excess,
    merge_findings,
    own_landmarks,
    quality,
    second_reading,
    sides_exchanged,
    skeleton_distance,
    stray_share,
)
from support.detection_support import stick_person

SIZE = (400, 400)


def shifted(finding, dx, dy=0.0):
    landmarks = finding.landmarks.copy()
    landmarks[:, :2] += (dx, dy)
    cx, cy, side, angle = finding.region
    return replace(finding, landmarks=landmarks, region=(cx + dx, cy + dy, side, angle))


def test_mirror_is_its_own_inverse_and_exchanges_sides():
    assert (MIRROR[MIRROR] == np.arange(35)).all()
    assert MIRROR[11] == 12 and MIRROR[27] == 28 and MIRROR[33] == 33


def test_good_person_is_trusted_and_each_flaw_costs():
    good = stick_person()
    assert quality(good, SIZE) > 0.9
    flaws = {
        "absent": replace(good, presence=0.3),
        "passes disagree": replace(good, disagreement=0.08),
        "seen once": replace(good, support=1, detection=0.4),
        "mask elsewhere": replace(good, alpha=np.roll(good.alpha, 25, axis=1)),
        "mask of a crowd": replace(good, alpha=np.full_like(good.alpha, 255)),
        "invisible": stick_person(visibility=0.2),
        "outside": shifted(good, 0.0, 290.0),
    }
    for name, flawed in flaws.items():
        assert quality(flawed, SIZE) < 0.75 * quality(good, SIZE), name


def test_distance_ignores_exchanged_sides_and_grows_with_shift():
    a = stick_person()
    assert landmark_distance(a, exchange_sides(a), SIZE) == pytest.approx(0, abs=1e-6)
    assert landmark_distance(a, shifted(a, 20), SIZE) == pytest.approx(0.1, rel=1e-3)
    assert landmark_distance(a, stick_person(visibility=0.0), SIZE) == float("inf")


def test_repeated_findings_become_one_and_neighbours_stay_two():
    people = [stick_person(120), stick_person(123), stick_person(118), stick_person(220), stick_person(223)]
    merged = merge_findings(people, SIZE)
    assert [round(float(f.points[33, 0]), -2) for f, _ in merged] == [100.0, 200.0]
    assert [f.support for f, _ in merged] == [9, 6]


def test_majority_decides_left_and_right():
    right = [stick_person(200 + d) for d in (2.0, 4.0)]
    flipped = exchange_sides(stick_person(200.0, support=9))
    ((person, _),) = merge_findings([flipped, *right], SIZE)
    assert not sides_exchanged(person, right[0], SIZE)
    ((person, _),) = merge_findings([flipped, right[0]], SIZE)
    assert sides_exchanged(person, right[0], SIZE)  # one against one: the better reading stays as it is


def test_reading_that_reaches_into_a_neighbour_loses_to_the_clean_one():
    clean = stick_person(200.0, support=1)
    wide = replace(clean, support=9, alpha=np.maximum(clean.alpha, np.roll(clean.alpha, 12, axis=1)))
    assert stray_share(wide) > stray_share(clean) + 0.05
    ((person, _),) = merge_findings([wide, clean], SIZE)
    assert (person.alpha == clean.alpha).all()
    assert person.support == 10


def test_person_inside_another_is_a_piece():
    whole = stick_person()
    piece = stick_person(200, 140, 50)
    assert is_piece_of(piece, whole, SIZE)
    assert not is_piece_of(whole, piece, SIZE)
    assert not is_piece_of(stick_person(300), whole, SIZE)
    assert own_landmarks(piece, [whole], SIZE) == 0
    assert own_landmarks(whole, [], SIZE) == len(MAIN)


def test_mask_is_read_at_turned_regions():
    upright = stick_person()
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])  # a quarter turn, clockwise in the image
    landmarks = upright.landmarks.copy()
    centre = np.array([200.0, 200.0])
    landmarks[:, :2] = (landmarks[:, :2] - centre) @ turn.T + centre
    lying = replace(upright, landmarks=landmarks, region=(200.0, 200.0, 250.0, np.pi / 2))
    assert coverage(lying, SIZE) == 1.0
    assert coverage(replace(lying, region=upright.region), SIZE) < 0.7
    assert alpha_at(lying, np.array([[390.0, 390.0]]))[0] == 0.0


def test_stretched_limb_is_seen():
    person = stick_person()
    assert limb_excess(person) < 0.3
    landmarks = person.landmarks.copy()
    landmarks[27, 1] += 80
    assert limb_excess(replace(person, landmarks=landmarks)) > 0.45


def test_better_weights_are_followed_only_where_they_read_the_same_person():
    first = replace(stick_person(70.0, 200.0, 200.0), presence=0.9, detection=0.7, support=5, disagreement=0.01)
    near, turned = (replace(f, network="heavy") for f in (shifted(first, 2.0), exchange_sides(first)))
    somebody_else, nobody = shifted(near, 150.0), replace(near, presence=0.1)
    chosen = second_reading(first, [somebody_else, near, nobody], SIZE, min_presence=0.5)
    assert chosen.network == "heavy" and chosen.other is first
    np.testing.assert_array_equal(chosen.landmarks, near.landmarks)
    assert (chosen.detection, chosen.support, chosen.disagreement) == (0.7, 5, 0.01), "what found the person stays"
    assert second_reading(first, [turned], SIZE, min_presence=0.5).other is first, "sides do not count"
    for refused in ([], [somebody_else], [nobody], [somebody_else, nobody]):
        assert second_reading(first, refused, SIZE, min_presence=0.5) is first


def test_distance_from_the_skeleton_may_be_asked_of_some_cells_alone():
    finding = stick_person()
    everywhere, where = skeleton_distance(finding), finding.alpha > 0
    some = skeleton_distance(finding, where)
    assert where.any() and not where.all()
    np.testing.assert_array_equal(some[where], everywhere[where])
    assert np.isinf(some[~where]).all() and np.isfinite(everywhere).all()
