import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.motion_files import MotionPoses
from hmralign.data.pose_selection import (
    PoseSelectionConfig,
    aligned_joints,
    diversity,
    farthest_points,
    select_poses,
)
from hmralign.structures import InputError
from support.synthetic_persons import seeded

BODY = load_free_body("3k5")


def clips(*lengths):
    clip = torch.cat([torch.full((n,), c) for c, n in enumerate(lengths)])
    frame = torch.cat([torch.arange(n) for n in lengths])
    turns = 0.3 * torch.randn(len(clip), 24, 3, generator=seeded(3))
    return MotionPoses(turns, clip, frame, tuple(f"clip{c}" for c in range(len(lengths))))


def test_farthest_points_are_those_of_a_loop():
    points = torch.randn(60, 5, generator=seeded(0))
    chosen, nearest = farthest_points(points, 12, seeded(1))
    own = [int(chosen[0])]
    while len(own) < 12:
        own.append(int(torch.cdist(points, points[own]).amin(1).argmax()))
    assert chosen.tolist() == own
    torch.testing.assert_close(nearest, torch.cdist(points, points[own]).amin(1), atol=2e-3, rtol=1e-3)


def test_points_that_coincide_are_chosen_once():
    points = torch.tensor([[0.0], [1.0], [0.0], [1.0], [3.0]])
    chosen, nearest = farthest_points(points, 5, seeded(0))
    assert len(chosen) == 3 and float(nearest.max()) == 0
    with pytest.raises(InputError, match="finite"):
        farthest_points(torch.tensor([[float("nan")]]), 1, seeded(0))


def test_joints_do_not_depend_on_what_is_undone():
    turns = clips(4).rotvecs
    turned = turns.clone()
    turned[:, 0] = torch.tensor([0.5, -1.0, 2.0])
    torch.testing.assert_close(aligned_joints(BODY, turns), aligned_joints(BODY, turned))
    away = aligned_joints(BODY, turns, "pelvis") - aligned_joints(BODY, turned, "pelvis")
    assert float(away.abs().max()) > 0.1 and float(aligned_joints(BODY, turns, "pelvis")[:, 0].abs().max()) == 0


def test_neighbours_are_the_nearest_frames_that_nobody_has():
    poses = clips(40, 3)
    config = PoseSelectionConfig(centres=2, neighbours=4, reach=5, seed=0)
    joints = torch.zeros(43, 24, 3)
    joints[20], joints[41] = -5.0, 9.0  # the two that are far from all others
    first = next(s for s in range(200) if int(torch.randint(43, (), generator=seeded(s))) == 20)
    chosen = select_poses(poses, joints, config, seeded(first))
    assert chosen.rows.tolist() == [20, 19, 21, 18, 22, 41, 40, 42]
    assert chosen.is_centre.tolist() == [True, *[False] * 4, True, False, False]
    assert chosen.centre.tolist() == [0] * 5 + [1] * 3 and chosen.short == 2


def test_neighbours_keep_their_step_and_reach():
    poses = clips(30)
    config = PoseSelectionConfig(centres=1, neighbours=9, reach=4, step=2)
    chosen = select_poses(poses, aligned_joints(BODY, poses.rotvecs), config, seeded(4))
    away = (chosen.rows - chosen.rows[0]).abs()
    assert set(away.tolist()) <= {0, 2, 4} and chosen.short == 10 - len(chosen.rows) >= 5


def test_no_pose_is_there_twice_and_the_seed_decides():
    poses = clips(25, 25)
    joints = aligned_joints(BODY, poses.rotvecs)
    config = PoseSelectionConfig(centres=8, neighbours=5)
    one, two = (select_poses(poses, joints, config, seeded(7)) for _ in range(2))
    assert torch.equal(one.rows, two.rows) and len(one.rows.unique()) == len(one.rows)
    assert not torch.equal(one.rows, select_poses(poses, joints, config, seeded(8)).rows)
    with pytest.raises(InputError, match="from which 80 cannot be chosen"):
        select_poses(poses, joints, PoseSelectionConfig(centres=80), seeded(0))


def test_settings_that_choose_nothing_are_refused():
    for wrong in ({"centres": 0}, {"neighbours": -1}, {"reach": 0}, {"step": 0}):
        with pytest.raises(InputError, match="pose set"):
            PoseSelectionConfig(**wrong)


def test_farthest_points_spread_more_than_chance():
    joints = torch.randn(300, 24, 3, generator=seeded(0)) * torch.rand(300, 1, 1, generator=seeded(1))
    chosen, _ = farthest_points(joints.flatten(1), 40, seeded(2))
    spread, chance = diversity(joints[chosen]), diversity(joints[:40])
    assert spread.joint_sd > 1.2 * chance.joint_sd and spread.nearest_median > 1.2 * chance.nearest_median


def test_diversity_of_a_known_set():
    joints = torch.zeros(3, 24, 3)
    joints[1, :, 0], joints[2, :, 0] = 1.0, 3.0
    found = diversity(joints)
    assert found.joint_sd == pytest.approx(((16 / 9 + 1 / 9 + 25 / 9) / 3) ** 0.5)
    assert found.nearest_median == pytest.approx(1.0) and found.millimetres()["nearest_median_mm"] == 1000
    with pytest.raises(InputError, match="less than two"):
        diversity(joints[:1])
