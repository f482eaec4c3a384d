"""The person frame: exact where intrinsics are known, and the same however a photo was moved, scaled or cropped."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_keypoints
from hmralign.data.keypoint_box import keypoint_box
from hmralign.geometry.cameras import look_at_rotation, project, rays
from hmralign.geometry.rotations import axis_rotmat
from hmralign.models.person_frame import NOMINAL_TAN_HALF_SIZE, person_frame
from support.synthetic_persons import BODY, SWAP, exact, mirrored, persons, seeded

EXAMPLE = exact(persons(40))
OBSERVED = EXAMPLE.observation
FIELDS = ("R_person_cam", "tan_half_size", "known", "keypoints_plane", "box_plane")


def knowing(known):
    return replace(OBSERVED, knows_camera=torch.full((40,), known))


def moved(o, scale, shift, keep_K=False):
    """The photo scaled and shifted (cropped, or with a border): every pixel p becomes scale * p + shift."""
    A = torch.diag(torch.tensor([scale, scale, 1.0]))
    A[:2, 2] = torch.tensor(shift)
    return replace(
        o,
        keypoints=scale * o.keypoints + torch.tensor(shift),
        box=scale * o.box + torch.tensor([*shift, *shift]),
        K=o.K if keep_K else A @ o.K,
    )


def test_keypoints_of_a_known_camera_are_those_the_virtual_camera_sees():
    frame = person_frame(knowing(True))
    points = posed_keypoints(BODY, EXAMPLE.annotation.body) @ frame.R_person_cam.mT
    seen = (points[..., 2] > 0.2 * points.norm(dim=-1)).all(-1)
    assert seen.float().mean() > 0.9
    torch.testing.assert_close(
        frame.keypoints_tan[seen], (points[..., :2] / points[..., 2:])[seen], atol=1e-4, rtol=1e-3
    )


def test_the_virtual_camera_is_turned_and_nothing_else():
    frame = person_frame(OBSERVED)
    eye = torch.eye(3).expand(40, 3, 3)
    torch.testing.assert_close(frame.R_person_cam @ frame.R_person_cam.mT, eye, atol=1e-5, rtol=0)


@pytest.mark.parametrize("known", [True, False])
def test_the_middle_of_the_box_is_the_middle_of_the_plane(known):
    o = knowing(known)
    centre = (o.box[:, :2] + o.box[:, 2:]) / 2
    at_centre = replace(o, keypoints=centre[:, None].expand(40, 27, 2))
    assert person_frame(at_centre).keypoints_plane.abs().max() < 1e-3
    ray = rays(centre[:, None], o.K)[:, 0]
    ahead = (person_frame(o).R_person_cam @ ray[..., None])[..., 0]
    torch.testing.assert_close(ahead, torch.tensor([0.0, 0.0, 1.0]).expand(40, 3), atol=1e-5, rtol=0)


def test_an_unknown_camera_gives_the_crop():
    frame = person_frame(knowing(False))
    assert torch.equal(frame.tan_half_size, torch.full((40,), NOMINAL_TAN_HALF_SIZE)) and not frame.known.any()
    assert frame.keypoints_plane.amax(1).amax(1) == pytest.approx(torch.ones(40), abs=1e-3)
    assert frame.keypoints_plane.amin(1).amin(1) == pytest.approx(-torch.ones(40), abs=1e-3)


def test_a_known_camera_gives_about_the_crop_near_the_middle_of_the_photo():
    known, unknown = (person_frame(knowing(k)) for k in (True, False))
    middle = (known.R_person_cam[:, 2, 2] > 0.98) & (known.tan_half_size < 0.3)
    assert middle.sum() >= 5
    torch.testing.assert_close(known.keypoints_plane[middle], unknown.keypoints_plane[middle], atol=0.15, rtol=0)


def test_the_half_size_is_that_of_the_box_around_the_body():
    """In plane coordinates the keypoints span about -1..1 along the longer side."""
    frame = person_frame(knowing(True))
    spans = (frame.keypoints_plane.amax(1) - frame.keypoints_plane.amin(1)).amax(1) / 2
    assert 0.9 < spans.median() < 1.1


@pytest.mark.parametrize(("scale", "shift"), [(1.0, (-80.0, 45.0)), (0.4, (0.0, 0.0)), (2.5, (300.0, -900.0))])
@pytest.mark.parametrize("known", [True, False])
def test_moving_scaling_or_cropping_the_photo_changes_nothing(known, scale, shift):
    o = knowing(known)
    before, after = person_frame(o), person_frame(moved(o, scale, shift))
    for name in FIELDS:
        torch.testing.assert_close(getattr(after, name), getattr(before, name), atol=2e-3, rtol=2e-3)


def test_with_a_guessed_camera_only_the_content_of_the_crop_counts():
    """K stays the guess for the uncropped photo; the plane coordinates do not notice."""
    before, after = person_frame(knowing(False)), person_frame(moved(knowing(False), 1.0, (400.0, 10.0), keep_K=True))
    torch.testing.assert_close(after.keypoints_plane, before.keypoints_plane, atol=1e-3, rtol=0)
    assert torch.equal(after.tan_half_size, before.tan_half_size)


def test_mirrored_photos_have_mirrored_frames():
    a, b = person_frame(OBSERVED), person_frame(mirrored(OBSERVED))
    flip = torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(b.keypoints_plane[:, SWAP] * flip, a.keypoints_plane, atol=2e-3, rtol=0)
    F = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close(F @ b.R_person_cam @ F, a.R_person_cam, atol=1e-5, rtol=0)
    torch.testing.assert_close(b.tan_half_size, a.tan_half_size)


def test_keypoints_behind_the_virtual_camera_stay_finite_and_on_their_side():
    far = OBSERVED.keypoints.clone()
    far[:, 0] = torch.tensor([1e6, 400.0])
    far[:, 1] = torch.tensor([-1e6, 400.0])
    tangents = person_frame(replace(knowing(True), keypoints=far)).keypoints_tan
    assert tangents.abs().max() < 6
    assert tangents[:, 0, 0].min() > 1 and tangents[:, 1, 0].max() < -1


@pytest.mark.parametrize("yaw", [-0.6, 0.3, 0.6])
def test_turning_the_camera_hardly_changes_what_is_estimated(yaw):
    """An upright person ten metres away, in the middle of the photo and at its side."""
    points = torch.randn(27, 3, generator=seeded(0)) * torch.tensor([0.15, 0.6, 0.15]) + torch.tensor([0, 0, 10.0])
    turned = points @ axis_rotmat("y", torch.tensor(yaw)).mT
    K = torch.tensor([[1000.0, 0, 500], [0, 1000, 400], [0, 0, 1]])
    seen = []
    for p in (points, turned):
        pixels = project(p, K)
        box = keypoint_box(pixels, torch.ones(27))
        o = replace(
            OBSERVED[0], keypoints=pixels, confidence=torch.ones(27), box=box, K=K, knows_camera=torch.tensor(True)
        )
        seen.append(person_frame(o))
    middle, side = seen
    torch.testing.assert_close(side.tan_half_size, middle.tan_half_size, rtol=0.02, atol=0)
    torch.testing.assert_close(side.keypoints_plane, middle.keypoints_plane, atol=0.03, rtol=0)


def test_a_box_of_one_pixel_is_no_division_by_zero():
    o = replace(OBSERVED, box=torch.tensor([-0.5, -0.5, 0.5, 0.5]).expand(40, 4))
    assert all(torch.isfinite(getattr(person_frame(o), name).float()).all() for name in FIELDS)


def test_batches_are_loops():
    together = person_frame(OBSERVED)
    for k in (0, 7):
        alone = person_frame(OBSERVED[k])
        for name in FIELDS:
            torch.testing.assert_close(getattr(alone, name), getattr(together, name)[k], atol=1e-5, rtol=1e-5)


def test_projection_and_turn_agree_with_the_geometry_they_are_made_of():
    o = knowing(True)
    centre = (o.box[:, :2] + o.box[:, 2:]) / 2
    R = look_at_rotation(rays(centre[:, None], o.K)[:, 0])
    assert torch.equal(R, person_frame(o).R_person_cam)
    back = torch.cat([person_frame(o).keypoints_tan, torch.ones(40, 27, 1)], -1) @ R
    near = (o.keypoints - centre[:, None]).norm(dim=-1) < 600
    torch.testing.assert_close(project(back, o.K)[near], o.keypoints[near], atol=0.05, rtol=1e-4)
