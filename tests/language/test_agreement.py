"""The loss is 0 where statements hold and its gradient leads there; soft truths agree with it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.language.agreement import agreement, holds, margins, measure, statement_costs, statement_loss, wanted
from hmralign.language.reading import read_text
from hmralign.language.statements import STATEMENTS, row_of
from hmralign.structures import InputError
from support.described_bodies import drawn_bodies, posed

JOINTS, ROTMATS, UP = drawn_bodies(60, 1)
MARGINS = margins(JOINTS, ROTMATS, UP)
ROWS = st.integers(0, len(STATEMENTS) - 1)


def one(row, sign=1.0):
    return torch.zeros(1, len(STATEMENTS)).index_fill(1, torch.tensor([row]), sign)


def test_a_statement_costs_nothing_exactly_where_it_holds():
    for row in range(len(STATEMENTS)):
        cost = statement_loss(JOINTS, one(row), ROTMATS, UP)
        assert ((cost == 0) == (MARGINS[:, row] >= 0)).all(), STATEMENTS[row].id
        unwanted = statement_loss(JOINTS, one(row, -1.0), ROTMATS, UP)
        assert ((unwanted == 0) == (MARGINS[:, row] <= 0)).all(), STATEMENTS[row].id


@given(ROWS, st.sampled_from([1.0, -1.0]), st.integers(0, 59))
@settings(max_examples=80, deadline=None)
def test_a_small_step_down_the_gradient_lowers_the_loss(row, sign, body):
    pick = slice(body, body + 1)
    joints = JOINTS[pick].clone().requires_grad_()
    rotmats = ROTMATS[pick].clone().requires_grad_()
    cost = statement_loss(joints, one(row, sign), rotmats, UP[pick])
    cost.sum().backward()
    slope = torch.stack([t.grad.square().sum() for t in (joints, rotmats) if t.grad is not None]).sum()
    if cost.item() == 0:
        assert slope == 0
        return
    assert slope > 0
    step = (1e-3 * min(1.0, cost.item()) / slope).item()
    moved = [t.detach() - step * (0 if t.grad is None else t.grad) for t in (joints, rotmats)]
    assert statement_loss(moved[0], one(row, sign), moved[1], UP[pick]) < cost


def test_joints_that_are_pulled_end_where_the_sentence_is_true():
    texts = ["the left hand is on the right knee", "the left hand is above the head", "both feet together",
             "right arm forward", "the left knee is bent sharply", "leaning to the left", "sitting",
             "the right forearm points towards the camera", "the left arm is not straight"]  # fmt: skip
    asked = wanted([read_text(text) for text in texts])
    joints, rotmats = (part.repeat(len(texts), *[1] * (part.ndim - 1)) for part in posed(left_shoulder=(0, 0, -60)))
    assert (statement_loss(joints, asked, rotmats) > 0).all()
    joints.requires_grad_()
    optimizer = torch.optim.Adam([joints], 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        statement_loss(joints, asked, rotmats).sum().backward()
        optimizer.step()
    assert (statement_loss(joints.detach(), asked, rotmats) < 1e-3).all()
    assert (agreement(joints.detach(), asked, rotmats) > 0.45).all()


def test_what_is_computed_for_some_statements_is_what_is_computed_for_all():
    asked = torch.zeros(60, len(STATEMENTS)).index_fill(1, torch.tensor([3, 60, 150]), 1.0)
    few = statement_costs(JOINTS, asked, ROTMATS, UP)
    whole = statement_costs(JOINTS, torch.ones(1, len(STATEMENTS)), ROTMATS, UP)
    assert (few[:, asked[0] == 0] == 0).all()
    torch.testing.assert_close(few[:, asked[0] != 0], whole[:, asked[0] != 0])


def test_the_pull_is_on_the_limb_that_is_named():
    joints = posed()[0].clone().requires_grad_()
    statement_loss(joints, one(row_of("left_hand_on_right_knee"))).sum().backward()
    assert joints.grad is not None
    moved = (joints.grad[0].norm(dim=-1) > 0).nonzero()[:, 0].tolist()
    assert moved == [5, 22]  # the right knee, the left hand
    towards = joints[0, 5] - joints[0, 22]
    assert torch.dot(-joints.grad[0, 22], towards) > 0


def test_truth_is_a_half_at_the_edge_and_certain_inside():
    truth = measure(JOINTS, ROTMATS, UP)
    torch.testing.assert_close(truth, (4 * MARGINS).sigmoid())
    assert (holds(JOINTS, ROTMATS, UP) == (truth >= 0.5)).all()


def test_what_is_far_from_everything_pulls_without_bound_but_linearly():
    joints = JOINTS[:1].clone()
    joints[0, 22] += 1000.0
    cost = statement_loss(joints, one(row_of("left_hand_on_head")), ROTMATS[:1], UP[:1])
    assert 1e3 < cost.item() < 1e6 and cost.isfinite().all()


def test_the_loss_is_the_mean_by_weight():
    a, b = row_of("left_hand_on_head"), row_of("right_knee_bent_square")
    single = [statement_loss(JOINTS, one(r, s), ROTMATS, UP) for r, s in ((a, 1.0), (b, -1.0))]
    both = statement_loss(JOINTS, 3 * one(a) + one(b, -1.0), ROTMATS, UP)
    torch.testing.assert_close(both, (3 * single[0] + single[1]) / 4)
    assert (statement_loss(JOINTS, one(a, 0.0), ROTMATS, UP) == 0).all()
    assert (agreement(JOINTS, one(a, 0.0), ROTMATS, UP) == 0.5).all()


def test_without_rotations_nothing_is_said_of_the_head_and_asking_is_refused():
    row = row_of("left_head_turned")
    assert measure(JOINTS)[:, row].isnan().all() and not holds(JOINTS)[:, row].any()
    with pytest.raises(InputError, match="'left_head_turned' is measured on rotations"):
        statement_loss(JOINTS, one(row))
    also = one(row) + one(row_of("standing"))
    torch.testing.assert_close(agreement(JOINTS, also, up=UP), agreement(JOINTS, one(row_of("standing")), up=UP))
    joints = JOINTS.clone().requires_grad_()
    statement_loss(joints, one(row_of("standing")), up=UP).sum().backward()
    assert joints.grad is not None and joints.grad.isfinite().all()


def test_descriptions_become_signs():
    signs = wanted([read_text("left hand on the head, the right arm is not bent"), read_text("standing")])
    assert signs.shape == (2, len(STATEMENTS))
    assert signs[0, row_of("left_hand_on_head")] == 1 and signs[0, row_of("right_elbow_bent")] == -1
    assert signs[1].abs().sum() == 1 == signs[1, row_of("standing")]
