"""Smooth curves: what moves steadily stays, jitter goes, and the filter is the one of the books."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hmralign.structures import InputError
from hmralign.tracking.smoothing import SmoothingConfig, acceleration, smooth_places, smooth_rotations

ONCE = SmoothingConfig(passes=1)


def turning(times, joints=3, speed=1.0):
    """Rotations about an axis per joint at constant speed, (frame, joint, 3, 3)."""
    axes = np.random.default_rng(0).normal(size=(joints, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turns = times[:, None, None] * speed * axes
    return Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(len(times), joints, 3, 3)


def noisy(rotmats, sigma, seed=0):
    turns = np.random.default_rng(seed).normal(0, sigma, (*rotmats.shape[:2], 3))
    jitter = Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(rotmats.shape)
    return rotmats @ jitter


def angles(a, b):
    relative = np.swapaxes(a, -1, -2) @ b
    return Rotation.from_matrix(relative.reshape(-1, 3, 3)).magnitude().reshape(a.shape[:2])


def test_a_steady_turn_stays_as_it_is_also_through_a_whole_turn():
    times = np.arange(200) / 30
    truth = turning(times, speed=2.0)  # more than two whole turns
    found = smooth_rotations(times, truth, np.full((200, 3), 0.01), 0.1)
    assert angles(found.values, truth)[5:-5].max() < 1e-3


def test_jitter_goes_and_the_truth_comes_nearer():
    times = np.arange(150) / 30
    truth = turning(times)
    seen = noisy(truth, 0.1)
    found = smooth_rotations(times, seen, np.full((150, 3), 0.01), 0.15)
    assert angles(found.values, truth).mean() < 0.5 * angles(seen, truth).mean()
    assert angles(found.values[1:], found.values[:-1]).std() < 0.2 * angles(seen[1:], seen[:-1]).std()
    assert np.allclose(found.values @ np.swapaxes(found.values, -1, -2), np.eye(3), atol=1e-9)


def test_turning_the_world_turns_the_answer():
    times = np.arange(40) / 25
    seen, R = noisy(turning(times), 0.1), Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix()
    variance = np.random.default_rng(1).uniform(0.01, 0.05, (40, 3))
    plain = smooth_rotations(times, seen, variance, 0.1).values
    assert np.allclose(smooth_rotations(times, R @ seen, variance, 0.1).values, R @ plain, atol=1e-9)


def test_time_reversed_is_the_answer_reversed():
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.uniform(0.02, 0.06, 60))
    places, variance = rng.normal(size=(60, 2, 3)), rng.uniform(0.5, 2.0, (60, 2))
    forward = smooth_places(times, places, variance, 0.1, ONCE).values
    backward = smooth_places(-times[::-1], places[::-1], variance[::-1], 0.1, ONCE).values[::-1]
    # The unknown first velocity has a large, not an infinite, variance, so the ends differ a little.
    assert np.abs(forward - backward)[8:-8].max() < 1e-2


def test_places_are_those_of_one_big_least_squares():
    """The smoother is the mode of the joint Gaussian of all states, solved here in one dense system."""
    rng = np.random.default_rng(5)
    n, seconds = 12, 0.1
    times = np.cumsum(rng.uniform(0.02, 0.06, n))
    steps = np.diff(times)
    z, r = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    q = np.median(r) * np.median(steps) / seconds**4
    rows, right = [], []

    def add(coefficients, value, weight):
        row = np.zeros(2 * n)
        for index, c in coefficients.items():
            row[index] += c
        rows.append(row * weight)
        right.append(value * weight)

    add({1: 1.0}, 0.0, (100 * r[0] / np.median(steps) ** 2) ** -0.5)
    for k in range(n):
        add({2 * k: 1.0}, z[k], r[k] ** -0.5)
    for k, dt in enumerate(steps):
        Q = q * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        half = np.linalg.cholesky(np.linalg.inv(Q)).T
        for a, b in half:
            add({2 * k + 2: a, 2 * k: -a, 2 * k + 1: -a * dt - b, 2 * k + 3: b}, 0.0, 1.0)
    A = np.array(rows)
    solved = np.linalg.lstsq(A, np.array(right), rcond=None)[0]
    covariance = np.linalg.inv(A.T @ A)
    places = np.stack([z, 2 * z, -z], axis=-1)[:, None]
    found = smooth_places(times, places, r[:, None], seconds, ONCE)
    assert np.allclose(found.values[:, 0, 0], solved[::2], atol=1e-6)
    assert np.allclose(found.values[:, 0, 1], 2 * solved[::2], atol=1e-6)
    assert np.allclose(found.variance[:, 0], np.diag(covariance)[::2], rtol=1e-6)


def test_the_time_constant_is_the_memory_whatever_the_rate():
    """How far one displaced frame draws the curve: half as far away after about the constant, at any rate."""
    for fps in (25, 50, 100):
        times = np.arange(6 * fps) / fps
        places = np.zeros((len(times), 1, 3))
        places[3 * fps] = 1.0
        drawn = smooth_places(times, places, np.ones((len(times), 1)), 0.2, ONCE).values[:, 0, 0]
        share = drawn / drawn[3 * fps]
        reach = np.abs(times[share > 0.5] - 3.0).max()
        assert 0.12 < reach < 0.35


def test_one_wrong_frame_hardly_draws_its_neighbours():
    times = np.arange(60) / 30
    truth = turning(times)
    seen = noisy(truth, 0.02)
    seen[30] = seen[30] @ Rotation.from_rotvec([2.5, 0, 0]).as_matrix()
    variance = np.full((60, 3), 0.02**2)
    once = angles(smooth_rotations(times, seen, variance, 0.1, ONCE).values, truth)[25:36].max()
    twice = angles(smooth_rotations(times, seen, variance, 0.1, SmoothingConfig(passes=3)).values, truth)[25:36].max()
    assert twice < 0.35 * once


def test_zero_seconds_and_short_tracks_stay_as_they_are():
    times = np.arange(2) / 30
    seen = noisy(turning(times), 0.2)
    assert np.allclose(smooth_rotations(times, seen, np.ones((2, 3)), 0.1).values, seen)
    longer = noisy(turning(np.arange(9) / 30), 0.2)
    assert np.allclose(smooth_rotations(np.arange(9) / 30, longer, np.ones((9, 3)), 0.0).values, longer)


def test_wrong_times_and_variances_are_refused():
    places = np.zeros((3, 1, 3))
    with pytest.raises(InputError, match="growing"):
        smooth_places(np.array([0.0, 0.1, 0.1]), places, np.ones((3, 1)), 0.1)
    with pytest.raises(InputError, match="not positive"):
        smooth_places(np.arange(3.0), places, np.zeros((3, 1)), 0.1)


def test_acceleration_of_a_parabola_at_uneven_steps():
    times = np.array([0.0, 0.1, 0.25, 0.3])
    points = np.stack([2.0 * times**2, times, 0 * times], -1)
    assert np.allclose(acceleration(times, points), [[4.0, 0.0, 0.0]] * 2)
