"""Who touches whom, and how far each layer sees."""

import pytest
import torch

from hmralign.body.skeleton import JOINT_NAMES, NUM_ALL_JOINTS, PARENTS
from hmralign.models.paper.config import HYPONET
from hmralign.models.paper.joint_graph import hidden_tokens, input_masks, joint_adjacency, token_adjacency, within

ADJACENCY = token_adjacency()
J = {name: number for number, name in enumerate(JOINT_NAMES)}


def twist(joint: str) -> int:
    """Token of the twist whose bone ends in a joint."""
    return NUM_ALL_JOINTS + J[joint] - 1


def test_a_joint_touches_itself_its_parent_and_its_children():
    touching = {JOINT_NAMES[k] for k in joint_adjacency()[J["spine3"]].nonzero()[:, 0].tolist()}
    assert touching == {"spine3", "spine2", "neck", "left_collar", "right_collar"}
    assert joint_adjacency().sum() == 29 + 2 * sum(parent >= 0 for parent in PARENTS)


def test_a_twist_touches_the_joint_where_its_bone_ends_and_what_touches_that():
    row = ADJACENCY[twist("left_knee")]
    assert {JOINT_NAMES[k] for k in row[:29].nonzero()[:, 0].tolist()} == {"left_hip", "left_knee", "left_ankle"}
    # Twists of bones that end in joints with a common neighbour.
    others = {JOINT_NAMES[k + 1] for k in row[29:].nonzero()[:, 0].tolist()}
    assert others == {"left_hip", "left_knee", "left_ankle", "left_foot"}


def test_touching_is_mutual_and_everything_touches_itself():
    assert torch.equal(ADJACENCY, ADJACENCY.mT) and bool(ADJACENCY.diagonal().all())


def test_steps_are_counted_as_a_walk_would():
    distance = torch.full((29, 29), 99)
    for start in range(29):
        edge, steps = {start}, 0
        while edge:
            for joint in edge:
                distance[start, joint] = min(steps, int(distance[start, joint]))
            steps += 1
            near = {k for joint in edge for k in range(29) if PARENTS[k] == joint or PARENTS[joint] == k}
            edge = {k for k in near if distance[start, k] > steps}
    for hops in (1, 2, 5):
        assert torch.equal(within(joint_adjacency(), hops), distance <= hops)


def test_densities_are_those_of_the_published_networks():
    """Shares of blocks that are kept in the masked layers, and of pairs that are hidden in each block."""
    near_joints, near_twists = input_masks()
    assert near_joints.float().mean().item() == pytest.approx(0.175, abs=5e-4)
    assert near_twists.float().mean().item() == pytest.approx(0.388, abs=5e-4)
    hidden = hidden_tokens(HYPONET.hops, twists=True).float().mean((1, 2))
    torch.testing.assert_close(hidden, torch.tensor([0.02, 0.08, 0.19, 0.36, 0.56, 0.88]), atol=5e-3, rtol=0)


def test_without_twists_only_joints_are_left():
    assert torch.equal(hidden_tokens((1,), twists=False)[0], ~joint_adjacency())
