"""Tracks at even steps: frames are met exactly, between two turns the way is even, and nothing lies outside."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hmralign.tracking.resampling import at_times, even_times


def test_even_steps_begin_at_the_first_frame_and_stay_inside():
    moments = even_times(np.array([1.0, 1.04, 2.0]), 30.0)
    assert moments[0] == 1 and len(moments) == 31 and moments[-1] == pytest.approx(2)
    np.testing.assert_allclose(np.diff(moments), 1 / 30)
    assert len(even_times(np.array([0.5]), 25.0)) == 1


def test_at_the_frames_the_track_is_itself():
    generator = np.random.default_rng(0)
    time = np.array([0.0, 0.1, 0.35, 0.4])
    turns = Rotation.random(8, random_state=1).as_matrix().reshape(4, 2, 3, 3)
    places = generator.normal(size=(4, 3))
    rotmats, transl = at_times(time, turns, places, time)
    np.testing.assert_allclose(rotmats, turns, atol=1e-9)
    np.testing.assert_allclose(transl, places, atol=1e-12)


def test_half_way_is_half_the_turn_and_the_mean_place():
    turns = Rotation.from_rotvec([[0, 0, 0], [0, 1.0, 0]]).as_matrix()[:, None]
    rotmats, transl = at_times(np.array([0.0, 2.0]), turns, np.array([[0.0, 0, 2], [1, 0, 4]]), np.array([1.0, 9.0]))
    np.testing.assert_allclose(Rotation.from_matrix(rotmats[0, 0]).as_rotvec(), [0, 0.5, 0], atol=1e-12)
    np.testing.assert_allclose(transl[0], [0.5, 0, 3])
    np.testing.assert_allclose(transl[1], [1, 0, 4])


def test_one_frame_stays_where_it_is():
    turn = Rotation.from_rotvec([[0.1, 0.2, 0.3]]).as_matrix()[:, None]
    rotmats, transl = at_times(np.array([3.0]), turn, np.ones((1, 3)), np.array([3.0, 4.0]))
    assert np.array_equal(rotmats, np.concatenate([turn, turn])) and np.array_equal(transl, np.ones((2, 3)))
