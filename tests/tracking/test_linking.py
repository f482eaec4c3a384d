"""The cheapest sequence: flips are voted down, real motion is not, and it is the one that a search of all finds."""

from itertools import product

import numpy as np
import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.geometry.rotations import axis_rotmat, rotmat_angle
from hmralign.tracking.linking import LinkConfig, Linker, motion_features

PLAIN_AND_EXCHANGED = np.array([0, 1])


def link(frames, readings, fps=30.0, config=None, misfits=None):
    linker = Linker(config)
    for number, features in enumerate(frames):
        misfit = np.zeros(len(features)) if misfits is None else np.asarray(misfits[number], np.float64)
        linker.show(number / fps, np.asarray(features, np.float32), readings, misfit)
    return linker.path()


def facing(angle):
    """Two readings of a body that stands at an angle: it, and the body turned by half a turn."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.cos(angle), -np.sin(angle)]]) * 0.25


@pytest.mark.parametrize("flipped", [(), (7,), (7, 20, 21), (0,), (29,), tuple(range(10, 22))])
def test_what_the_neighbours_say_decides_in_flipped_frames(flipped):
    frames = [facing(0.02 * n)[::-1] if n in flipped else facing(0.02 * n) for n in range(30)]
    path = link(frames, PLAIN_AND_EXCHANGED)
    assert path.tolist() == [int(n in flipped) for n in range(30)]


def test_a_whole_clip_keeps_its_reading_and_most_frames_decide():
    frames = [facing(0.0)[::-1] if n % 3 else facing(0.0) for n in range(30)]  # two of three say the other
    assert link(frames, PLAIN_AND_EXCHANGED).tolist() == [int(n % 3 == 0) for n in range(30)]
    assert link([facing(0.0)] * 30, PLAIN_AND_EXCHANGED).tolist() == [0] * 30


@pytest.mark.parametrize(("turns_per_second", "fps"), [(0.5, 30), (1, 30), (1, 60), (2, 60)])
def test_somebody_who_really_turns_is_not_voted_down(turns_per_second, fps):
    frames = [facing(2 * np.pi * turns_per_second * n / fps) for n in range(2 * fps)]
    assert link(frames, PLAIN_AND_EXCHANGED, fps).tolist() == [0] * (2 * fps)


def test_the_rate_of_the_frames_does_not_change_how_long_a_flip_may_last():
    """Half a second is voted down at any rate."""
    for fps in (24, 60, 120):
        flipped = range(fps, fps + fps // 2)
        frames = [facing(0.0)[::-1] if n in flipped else facing(0.0) for n in range(3 * fps)]
        assert link(frames, PLAIN_AND_EXCHANGED, fps).tolist() == [int(n in flipped) for n in range(3 * fps)]


def test_misfit_decides_where_motion_does_not():
    frames = [facing(0.0)] * 10
    assert link(frames, PLAIN_AND_EXCHANGED, misfits=[[30.0, 0.0]] * 10).tolist() == [1] * 10


def test_it_is_the_cheapest_of_all_sequences():
    """Against a search through all of them, for random groups and unequal steps of time."""
    rng = np.random.default_rng(0)
    readings = np.array([0, 0, 1])
    config = LinkConfig(noise=0.5, speed=1.0, jump=3.0, change=1.5)
    for _ in range(5):
        times = np.cumsum(rng.uniform(0.02, 0.2, 5))
        frames, misfits = rng.normal(0, 1, (5, 3, 4)).astype(np.float32), rng.uniform(0, 4, (5, 3))
        linker = Linker(config)
        for time, features, misfit in zip(times, frames, misfits, strict=True):
            linker.show(float(time), features, readings, misfit)
        costs = {path: cost_of(path, times, frames, misfits, readings, config) for path in product(range(3), repeat=5)}
        assert tuple(linker.path()) == min(costs, key=costs.__getitem__)


def cost_of(path, times, frames, misfits, readings, config):
    """Written out one step after the other; the chain of readings as a matrix exponential."""
    from scipy.linalg import expm

    share, leave = config.exchanged_share, 1 / config.exchanged_seconds
    enter = leave * share / (1 - share)
    rates = np.array([[-enter, enter], [leave, -leave]])
    total = misfits[0][path[0]] - np.log([1 - share, share][readings[path[0]]])
    for k in range(1, len(path)):
        dt, a, b = times[k] - times[k - 1], path[k - 1], path[k]
        squared = ((frames[k][b] - frames[k - 1][a]) ** 2).sum()
        most = config.jump if readings[a] == readings[b] else config.change
        total += min(squared / (2 * (config.noise**2 + (config.speed * dt) ** 2)), most)
        total -= np.log(expm(rates * dt)[readings[a], readings[b]])
        total += min(1.0, dt / config.misfit_seconds) * misfits[k][b]
    return total


def test_features_measure_motion_in_metres():
    body = load_free_body("3k5")
    still = torch.eye(3).expand(24, 3, 3).clone()
    raised = still.clone()
    raised[16] = axis_rotmat("z", torch.tensor(0.4))
    both = torch.stack([still, raised])
    _, joints = forward_kinematics(rest_joints(body, torch.zeros(10)), both, body.parents)
    a, b = motion_features(both, joints + torch.tensor([0.0, 1.0, 5.0]))
    moved = (joints[1] - joints[0]).square().sum(-1).mean()
    turned = rotmat_angle(still, raised).square().mean()
    chord = (2 - 2 * np.cos(0.4)) / 0.4**2  # a chord is shorter than its arc
    assert ((a - b) ** 2).sum() == pytest.approx(float(moved + 0.1**2 * turned * chord), rel=1e-4)
