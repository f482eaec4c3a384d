"""The cheapest sequence: flips are voted down, real motion is not, and it is the one that a search of all finds."""

from dataclasses import replace
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.geometry.rotations import axis_rotmat, rotmat_angle
from hmralign.tracking.linking import LinkConfig, Linker, motion_features

PLAIN_AND_EXCHANGED = np.array([0, 1])


def link(frames, readings, fps=30.0, config=None, misfits=None, likely=None):
    """`likely` is the probability of each frame's turned readings."""
    linker = Linker(config)
    for number, features in enumerate(frames):
        misfit = np.zeros(len(features)) if misfits is None else np.asarray(misfits[number], np.float64)
        probability = None if likely is None else np.where(readings > 0, likely[number], np.nan)
        linker.show(number / fps, np.asarray(features, np.float32), readings, misfit, probability)
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


@pytest.mark.parametrize("at", [0, 1, 15, 29])
@pytest.mark.parametrize("likely", [0.01, 0.15, 0.9])
def test_one_exchanged_frame_among_right_ones_is_turned_though_its_own_keypoints_say_little(at, likely):
    """As in real photos that were read from the wrong side: the gate held none of them to be exchanged."""
    frames = [facing(0.02 * n)[::-1] if n == at else facing(0.02 * n) for n in range(30)]
    chances = [likely if n == at else 0.001 for n in range(30)]
    assert link(frames, PLAIN_AND_EXCHANGED, likely=chances).tolist() == [int(n == at) for n in range(30)]


@pytest.mark.parametrize("run", [range(10, 11), range(10, 26), range(0, 8)])
def test_frames_that_are_surely_right_are_never_turned_however_many_wrong_ones_are_around_them(run):
    frames = [facing(0.0) if n in run else facing(0.0)[::-1] for n in range(120)]
    chances = [0.001 if n in run else 0.03 for n in range(120)]
    path = link(frames, PLAIN_AND_EXCHANGED, likely=chances)
    assert not (path[list(run)] > 0).any()  # a single one may be disbelieved, and is filled in
    unknown = link(frames, PLAIN_AND_EXCHANGED)
    assert unknown[list(run)].all()  # what the neighbours alone would do


def test_how_sure_a_frame_must_be_is_a_setting():
    frames = [facing(0.0) if n == 60 else facing(0.0)[::-1] for n in range(120)]
    chances = [0.001 if n == 60 else 0.03 for n in range(120)]
    for offered_above, turned in ((0.0, True), (0.002, False)):
        path = link(frames, PLAIN_AND_EXCHANGED, config=LinkConfig(offered_above=offered_above), likely=chances)
        assert (path[60] > 0) == turned


def test_what_frames_say_of_themselves_decides_between_two_halves():
    frames = [facing(0.0) if n < 15 else facing(0.0)[::-1] for n in range(30)]
    for right in (range(15), range(15, 30)):
        chances = [0.005 if n in right else 0.3 for n in range(30)]
        assert link(frames, PLAIN_AND_EXCHANGED, likely=chances).tolist() == [int(n not in right) for n in range(30)]


def test_a_single_frame_follows_its_own_probability_alone():
    for likely, expected in ((0.49, 0), (0.51, 1)):
        assert link([facing(0.0)], PLAIN_AND_EXCHANGED, likely=[likely]).tolist() == [expected]


def test_another_networks_reading_is_taken_where_it_fits_the_neighbours_better():
    """Wrongly read frames offer the second network's reading beside the exchanged one, which fits a little less."""
    three = np.array([0, 1, 2])
    frames = [np.concatenate([facing(0.0), facing(np.pi / 2)[:1]])] * 30
    frames[9:12] = [np.stack([*facing(0.3)[::-1], facing(0.0)[0]])] * 3
    chances = [0.15 if 9 <= n < 12 else 0.001 for n in range(30)]
    assert link(frames, three, likely=chances).tolist() == [2 * int(9 <= n < 12) for n in range(30)]


def test_groups_may_have_different_sizes():
    """Frames whose networks agree offer two readings, others three."""
    linker = Linker()
    for number in range(12):
        offered = 3 if number == 5 else 2
        features = np.concatenate([facing(0.0)[::-1], facing(0.0)[:1]]) if number == 5 else facing(0.0)
        linker.show(number / 30, features.astype(np.float32), np.arange(offered), np.zeros(offered))
    assert [bool(p) for p in linker.path()] == [number == 5 for number in range(12)]


def test_it_is_the_cheapest_of_all_sequences():
    """Against a search through all of them, for random groups and unequal steps of time; -1 takes nothing."""
    rng = np.random.default_rng(0)
    readings = np.array([0, 0, 1, 2])
    config = LinkConfig(noise=0.2, speed=4.0, jump=3.0, change=1.5, disbelief=0.8, disbelief_seconds=0.25)
    skipped = set()
    for _ in range(8):
        times = np.cumsum(rng.uniform(0.02, 0.2, 5))
        frames, misfits = rng.normal(0, 1, (5, 4, 4)).astype(np.float32), rng.uniform(0, 4, (5, 4))
        likely = rng.uniform(0.003, 0.9, (5, 4))
        likely[1] = np.nan
        linker = Linker(config)
        for time, features, misfit, chances in zip(times, frames, misfits, likely, strict=True):
            linker.show(float(time), features, readings, misfit, chances)
        shown = (times, frames, misfits, likely, readings, config)
        ways = product(range(4), range(-1, 4), range(-1, 4), range(-1, 4), range(4))
        costs = {path: cost_of(path, *shown) for path in ways}
        assert tuple(linker.path()) == min(costs, key=costs.__getitem__)
        skipped.add(int((linker.path() < 0).sum()))
    assert len(skipped) > 1, "some take all frames and some do not"


def cost_of(path, times, frames, misfits, likely, readings, config):
    """Written out one step after the other; the chain of readings as a matrix exponential."""

    def unary(k):
        p, own = likely[k][path[k]], config.exchanged_share
        if readings[path[k]] == 0 or np.isnan(p):
            return misfits[k][path[k]]
        return misfits[k][path[k]] - np.log(p / (1 - p)) + np.log(own / (1 - own))

    share = config.exchanged_share
    total = unary(0) - np.log([1 - share, share][min(readings[path[0]], 1)])
    taken = [k for k in range(len(path)) if path[k] >= 0]
    total += config.disbelief * (len(path) - len(taken))
    for before, k in pairwise(taken):
        dt, a, b = times[k] - times[before], path[before], path[k]
        if k - before > 1 and times[k - 1] - times[before] > config.disbelief_seconds:
            return np.inf
        squared = ((frames[k][b] - frames[before][a]) ** 2).sum()
        most = config.jump if readings[a] == readings[b] else config.change
        total += min(squared / (2 * (config.noise**2 + (config.speed * dt) ** 2)), most)
        chain = chain_over(dt, share, config.exchanged_seconds)
        total -= np.log(chain[min(readings[a], 1), min(readings[b], 1)])
        total += min(1.0, (times[k] - times[k - 1]) / config.misfit_seconds) * unary(k)
    return total


@cache
def chain_over(dt, share, seconds):
    from scipy.linalg import expm

    leave = 1 / seconds
    enter = leave * share / (1 - share)
    return expm(np.array([[-enter, enter], [leave, -leave]]) * dt)


def test_a_frame_that_no_reading_explains_is_filled_in_and_drags_nothing_along():
    """As in a real clip: one frame in which the reading as read faces the wrong way and the other is not offered."""
    config = LinkConfig()
    frames = [facing(0.02 * n)[::-1] if n == 20 else facing(0.02 * n) for n in range(40)]
    chances = [0.05] * 40  # both networks disagree all the time, which says nothing
    chances[20] = 0.0005
    path = link(frames, PLAIN_AND_EXCHANGED, fps=60.0, likely=chances)
    assert path.tolist() == [-1 if n == 20 else 0 for n in range(40)]
    stubborn = link(frames, PLAIN_AND_EXCHANGED, 60.0, replace(config, disbelief=1e6), likely=chances)
    assert (stubborn >= 0).all() and (stubborn > 0).sum() > 5  # a whole stretch is turned for the one frame


def test_nothing_is_filled_in_for_longer_than_is_said_nor_at_either_end():
    wrong = range(20, 40)
    frames = [facing(0.0)[::-1] if n in wrong else facing(0.0) for n in range(60)]
    chances = [0.0005] * 60  # the other reading is never offered
    path = link(frames, PLAIN_AND_EXCHANGED, fps=60.0, likely=chances)
    runs = "".join("x" if p < 0 else "." for p in path).split(".")
    assert max(map(len, runs)) <= 6  # a tenth of a second
    at_ends = [facing(0.0)[::-1] if n in (0, 29) else facing(0.0) for n in range(30)]
    ends = link(at_ends, PLAIN_AND_EXCHANGED, likely=[0.0005] * 30)
    assert ends[0] >= 0 and ends[-1] >= 0


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
