"""Quantities against loops written another way, their signs, their invariances, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.body.skeleton import JOINT_NAMES
from hmralign.geometry.rotations import random_rotmat
from hmralign.language.agreement import _layout
from hmralign.language.quantities import AXES, POINTS, Quantity, canonical, measured
from hmralign.structures import InputError
from support.described_bodies import drawn_bodies, mirrored_body, posed

ALL = _layout()[0]
JOINTS, ROTMATS, UP = drawn_bodies(6)


def value(joints, rotmats=None, up=None, *, kind, points):
    quantity, sign = canonical(Quantity(kind, points))
    return sign * measured((quantity,), joints, rotmats, up)[:, 0]


def at(joints, name):
    return joints[0, JOINT_NAMES.index(name)]


def test_bends_distances_and_heights_equal_textbook_formulas():
    joints = JOINTS[:1]
    for side in ("left", "right"):
        a, b, c = (at(joints, f"{side}_{n}") for n in ("shoulder", "elbow", "wrist"))
        cosine = torch.dot(b - a, c - b) / (b - a).norm() / (c - b).norm()
        bend = value(joints, kind="bend", points=(f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"))
        torch.testing.assert_close(bend[0], torch.arccos(cosine), atol=1e-4, rtol=0)
        apart = value(joints, kind="distance", points=(f"{side}_wrist", "head"))
        torch.testing.assert_close(apart[0], (at(joints, "head") - c).norm(), atol=1e-5, rtol=0)
        higher = value(joints, kind="along", points=("up", f"{side}_hip", f"{side}_wrist"))
        torch.testing.assert_close(higher[0], at(joints, f"{side}_hip")[1] - c[1], atol=1e-5, rtol=0)
        lowest = -joints[0, :, 1].max()
        lift = value(joints, kind="lift", points=(f"{side}_wrist",))
        torch.testing.assert_close(lift[0], -c[1] - lowest, atol=1e-5, rtol=0)


def test_axes_of_somebody_who_stands_and_faces_the_camera():
    joints, _ = posed()
    expected = {"up": (0, -1, 0), "camera": (0, 0, -1), "chest_left": (1, 0, 0), "hip_left": (1, 0, 0)}
    for axis, direction in expected.items():
        for other, its in expected.items():
            cosine = sum(a * b for a, b in zip(direction, its, strict=True))
            assert abs(value(joints, kind="axes", points=(axis, other)).item() - cosine) < 0.02
    for front in ("chest_front", "hip_front"):
        assert value(joints, kind="axes", points=(front, "camera")).item() > 0.97
    assert value(joints, kind="axes", points=("torso_up", "up")).item() > 0.97


@given(st.sampled_from(ALL), st.integers(0, 2**31 - 1))
@settings(max_examples=60, deadline=None)
def test_what_the_mirror_shows_has_the_mirrored_quantities(quantity, seed):
    swap = {"left": "right", "right": "left"}
    points = tuple("_".join(swap.get(w, w) for w in p.split("_")) for p in quantity.points)
    joints, rotmats, up = drawn_bodies(2, seed % 7)
    straight = value(joints, rotmats, up, kind=quantity.kind, points=quantity.points)
    through_mirror = value(*mirrored_body(joints, rotmats, up), kind=quantity.kind, points=points)
    torch.testing.assert_close(through_mirror, straight, atol=2e-4, rtol=0)


def test_place_does_not_matter_nor_does_a_turn_of_the_world_but_for_the_camera():
    turn = random_rotmat((1,), torch.Generator().manual_seed(0))[0]
    moved = JOINTS @ turn.mT + torch.tensor([1.0, -2.0, 9.0])
    straight, turned = measured(ALL, JOINTS, ROTMATS, UP), measured(ALL, moved, ROTMATS, UP @ turn.mT)
    seen = torch.tensor([q.camera for q in ALL])
    assert seen.any() and not seen.all()
    torch.testing.assert_close(turned[:, ~seen], straight[:, ~seen], atol=2e-4, rtol=0)
    assert ((turned - straight).abs().amax(0)[seen] > 1e-3).all()


def test_only_what_needs_gravity_changes_with_up():
    straight, other = (measured(ALL, JOINTS, ROTMATS, u) for u in (UP, torch.tensor([0.6, 0.5, -0.6])))
    changed = (straight - other).abs().amax(0) > 1e-4
    assert changed.tolist() == [q.gravity for q in ALL]


def test_up_is_opposite_to_y_unless_told_and_its_length_is_nothing():
    torch.testing.assert_close(
        measured(ALL, JOINTS, ROTMATS), measured(ALL, JOINTS, ROTMATS, torch.tensor([0, -7.0, 0]))
    )


@pytest.mark.parametrize(
    ("turned", "angle", "degrees"),
    [
        ({"neck": (0, 40, 0)}, "left_turn", 40),
        ({"head": (0, -40, 0)}, "right_turn", 40),
        ({"neck": (15, 0, 0), "head": (15, 0, 0)}, "nod", 30),
        ({"head": (0, 0, -25)}, "left_tilt", 25),
        ({"head": (0, 0, 25)}, "right_tilt", 25),
    ],
)
def test_angles_of_the_head(turned, angle, degrees):
    joints, rotmats = posed(**turned)
    assert math.degrees(value(joints, rotmats, kind="head", points=(angle,)).item()) == pytest.approx(degrees, abs=0.1)
    assert value(joints, kind="head", points=(angle,)).isnan().all()


def test_gradients_are_finite_even_where_limbs_are_straight_or_have_no_length():
    for joints in (posed()[0], torch.zeros(1, 24, 3), torch.ones(1, 24, 3) * torch.arange(24.0)[:, None]):
        joints = joints.clone().requires_grad_()
        rotmats = torch.eye(3).expand(1, 24, 3, 3)
        measured(ALL, joints, rotmats).sum().backward()
        assert joints.grad is not None and joints.grad.isfinite().all()


@pytest.mark.parametrize(
    "quantity",
    [Quantity("along", ("up", "nose", "left_hand")), Quantity("axes", ("up", "east")), Quantity("head", ("roll",)),
     Quantity("weight", ())],
)  # fmt: skip
def test_what_there_is_not_is_named(quantity):
    with pytest.raises(InputError, match=f"there is no quantity {quantity.kind}"):
        canonical(quantity)


def test_bad_bodies_and_directions_are_refused():
    for joints in (torch.zeros(2, 17, 3), torch.zeros(2, 29, 3)):
        with pytest.raises(InputError, match="24 joints"):
            measured(ALL, joints)
    with pytest.raises(InputError, match="24 joints"):
        measured(ALL, JOINTS, ROTMATS[:2])
    for bad in (math.nan, math.inf):
        broken = JOINTS.clone()
        broken[0, 3, 1] = bad
        with pytest.raises(InputError, match="NaN or infinite"):
            measured(ALL, broken)
    for up in ((0.0, 0.0, 0.0), (0.0, math.nan, 0.0)):
        with pytest.raises(InputError, match="expected a direction"):
            measured(ALL, JOINTS, up=torch.tensor(up))


def test_nobody_and_nothing():
    assert measured(ALL, torch.zeros(0, 24, 3)).shape == (0, len(ALL))
    assert measured((), JOINTS).shape == (6, 0)


def test_names_are_unique():
    assert len(set(POINTS)) == len(POINTS) and len(set(AXES)) == len(AXES)
