"""What is filled between two sightings lies on the shortest turn, is doubted more, and is marked; and even steps."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from hmralign.structures import InputError
from hmralign.tracking.gaps import FILLED_VARIANCE, fill_places, fill_rotations, fill_variance
from hmralign.tracking.resampling import at_times, even_times
from hmralign.tracking.shape import one_shape

TIMES = np.array([0.0, 0.1, 0.15, 0.3, 0.4])
SEEN = np.array([0, 1, 4])


def rotations(count, joints=2, seed=0):
    return Rotation.random(count * joints, random_state=seed).as_matrix().reshape(count, joints, 3, 3)


def test_gaps_lie_on_the_shortest_turn_in_time():
    seen = rotations(3)
    found = fill_rotations(TIMES, SEEN, seen, np.full((3, 2), 0.1))
    assert np.allclose(found.rotmats[SEEN], seen) and found.interpolated.tolist() == [False, False, True, True, False]
    for joint in range(2):
        slerp = Slerp([0.1, 0.4], Rotation.from_matrix(seen[1:, joint]))
        assert np.allclose(found.rotmats[2:4, joint], slerp([0.15, 0.3]).as_matrix(), atol=1e-9)


def test_doubt_is_largest_in_the_middle_of_a_gap():
    found = fill_variance(np.arange(5.0), np.array([0, 4]), np.array([[1.0], [2.0]]))[:, 0]
    assert found[0] == 1.0 and found[4] == 2.0 and found[2] == pytest.approx(2.0 * FILLED_VARIANCE)
    assert found[1] == found[3] > 2.0


def test_places_lie_on_straight_lines():
    places = np.array([[0.0, 0, 0], [1.0, 0, 0], [4.0, 3, 0]])
    found = fill_places(TIMES, SEEN, places)
    assert np.allclose(found[SEEN], places) and np.allclose(found[3], [3.0, 2.0, 0.0])


def test_no_gap_is_no_change_and_a_gap_without_end_is_refused():
    everything, seen = np.arange(5), rotations(5)
    assert np.allclose(fill_rotations(TIMES, everything, seen, np.ones((5, 2))).rotmats, seen)
    with pytest.raises(InputError, match="no end"):
        fill_places(TIMES, np.array([0, 1, 3]), np.zeros((3, 3)))


def test_even_steps_give_the_frames_back_where_they_are_even_already():
    time, seen = np.arange(6) / 30, rotations(6)
    transl = np.arange(18.0).reshape(6, 3)
    moments = even_times(time, 30.0)
    turned, moved = at_times(time, seen, transl, moments)
    assert np.allclose(moments, time) and np.allclose(turned, seen) and np.allclose(moved, transl)


def test_uneven_frames_come_at_even_steps():
    time = np.array([0.0, 0.05, 0.2])
    turns = Rotation.from_rotvec([[0, 0, 0], [0.05, 0, 0], [0.2, 0, 0]]).as_matrix()[:, None]
    moments = even_times(time, 20.0)
    turned, moved = at_times(time, turns, np.stack([time, time, time], -1), moments)
    assert np.allclose(moments, [0, 0.05, 0.1, 0.15, 0.2])
    assert np.allclose(Rotation.from_matrix(turned[:, 0]).as_rotvec()[:, 0], moments) and np.allclose(
        moved[:, 0], moments
    )


def test_one_frame_alone_has_one_step():
    turned, moved = at_times(np.zeros(1), rotations(1), np.ones((1, 3)), even_times(np.zeros(1), 1.0))
    assert turned.shape == (1, 2, 3, 3) and moved.tolist() == [[1.0, 1.0, 1.0]]


def test_one_shape_is_the_weighted_median():
    betas = np.array([[0.0, 5.0], [1.0, 6.0], [100.0, 7.0]])
    assert one_shape(betas, np.array([1.0, 1.0, 1.0])).tolist() == [1.0, 6.0]
    assert one_shape(betas, np.array([0.1, 0.1, 5.0])).tolist() == [100.0, 7.0]
