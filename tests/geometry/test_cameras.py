import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.geometry.cameras import (
    FILM_DIAGONAL_MM,
    apply_affine,
    crop_affine,
    cropped_intrinsics,
    estimate_intrinsics,
    intrinsics_from_exif,
    look_at_rotation,
    project,
    rays,
    scaled_intrinsics,
    scaled_pixels,
)
from hmralign.structures import InputError

K = torch.tensor([[900.0, 3.0, 319.5], [0.0, 880.0, 239.5], [0.0, 0.0, 1.0]], dtype=torch.float64)


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    p = torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p[..., 2] = p[..., 2].abs() + 2
    return p


def test_projection_agrees_with_a_loop_over_the_textbook_formula():
    p = points(2, 5)
    for b in range(2):
        for i in range(5):
            x, y, z = p[b, i].tolist()
            expected = [900 * x / z + 3 * y / z + 319.5, 880 * y / z + 239.5]
            assert project(p[b], K)[i].tolist() == pytest.approx(expected)


def test_rays_invert_projection_up_to_depth():
    p = points(2, 3, 7)
    back = rays(project(p, K.expand(2, 3, 3, 3)), K.expand(2, 3, 3, 3))
    torch.testing.assert_close(back, p / p.norm(dim=-1, keepdim=True))


def test_a_shared_camera_broadcasts_over_hypotheses():
    p = points(2, 3, 7)
    cameras = torch.stack([K, 2 * K])
    cameras[..., 2, 2] = 1
    pixels = project(p, cameras[:, None])
    assert pixels.shape == (2, 3, 7, 2)
    torch.testing.assert_close(pixels[1, 2], project(p[1, 2], cameras[1]))


def test_axes_are_x_right_y_down():
    right, below = project(torch.tensor([[0.1, 0.0, 1.0], [0.0, 0.1, 1.0]], dtype=torch.float64), K)
    assert right[0] > 319.5 and below[1] > 239.5


def test_estimated_camera_looks_through_the_middle_and_says_it_is_a_guess():
    camera = estimate_intrinsics(640, 480)
    assert camera.K[0, 0] == camera.K[1, 1] == pytest.approx(800)
    assert (camera.K[0, 2], camera.K[1, 2]) == (319.5, 239.5)
    assert camera.source == "estimated" and not camera.known
    # The two outer borders of the image are equally far from the principal point.
    assert camera.K[0, 2] - -0.5 == 639.5 - camera.K[0, 2]


def test_focal_length_from_35mm_equivalent_is_diagonal_and_free_of_resolution_and_orientation():
    exif = {"FocalLengthIn35mmFilm": 26, "FocalLength": 4.2}
    big, small, upright = (intrinsics_from_exif(exif, *s) for s in ((4032, 3024), (2016, 1512), (3024, 4032)))
    assert big is not None and small is not None and upright is not None
    assert big.source == "exif" and big.known
    assert float(big.K[0, 0]) == pytest.approx(26 / FILM_DIAGONAL_MM * 5040)
    assert float(big.K[0, 0]) == pytest.approx(2 * float(small.K[0, 0])) == pytest.approx(float(upright.K[0, 0]))


def test_focal_length_from_the_sensor():
    # 18 mm on a 22.3 mm wide sensor of 5184 pixels, resolution in pixels per centimetre (unit 3).
    exif = {"FocalLength": 18.0, "FocalPlaneXResolution": 5184 / 2.23, "FocalPlaneResolutionUnit": 3}
    recorded = {"PixelXDimension": 5184, "PixelYDimension": 3456}
    full = intrinsics_from_exif(exif, 5184, 3456)
    half = intrinsics_from_exif(exif | recorded, 2592, 1728)
    assert full is not None and half is not None
    assert float(full.K[0, 0]) == pytest.approx(18 / 22.3 * 5184)
    assert float(half.K[0, 0]) == pytest.approx(18 / 22.3 * 2592)
    inch = intrinsics_from_exif({"FocalLength": 18.0, "FocalPlaneXResolution": 5184 / 22.3 * 25.4}, 5184, 3456)
    assert inch is not None and float(inch.K[0, 0]) == pytest.approx(float(full.K[0, 0]))


@pytest.mark.parametrize(
    "exif",
    [
        {},
        {"FocalLength": 4.2},
        {"FocalLengthIn35mmFilm": 0},
        {"FocalLengthIn35mmFilm": "wide"},
        {"FocalLengthIn35mmFilm": float("nan")},
        {"FocalLengthIn35mmFilm": 5},
        {"FocalLengthIn35mmFilm": 20000},
        {"FocalLength": 18.0, "FocalPlaneXResolution": 200.0, "FocalPlaneResolutionUnit": 1},
        {"FocalLengthIn35mmFilm": 26, "PixelXDimension": 4032, "PixelYDimension": 2268},
    ],
    ids=["nothing", "mm only", "zero", "text", "nan", "fisheye", "telescope", "no unit", "cropped"],
)
def test_doubtful_exif_gives_no_camera(exif):
    assert intrinsics_from_exif(exif, 4032, 3024) is None


def test_image_sizes_must_be_positive():
    with pytest.raises(InputError, match="0 x 480"):
        estimate_intrinsics(0, 480)


def test_resizing_moves_projections_like_pixels():
    p, scale = points(6), (0.5, 0.25)
    torch.testing.assert_close(project(p, scaled_intrinsics(K, scale)), scaled_pixels(project(p, K), scale))
    # Halving an image merges pixels 0 and 1: their common centre, 0.5, becomes the centre of the new pixel 0.
    assert scaled_pixels(torch.tensor([0.5, 0.5]), (0.5, 0.5)).tolist() == [0.0, 0.0]


def test_cropping_moves_projections_like_pixels():
    p = points(2, 6)
    box = torch.tensor([[10.0, 20.0, 110.0, 300.0], [-5.0, 0.0, 400.0, 90.0]], dtype=torch.float64)
    A, _ = crop_affine(box, 256)
    torch.testing.assert_close(project(p, cropped_intrinsics(K, A)), apply_affine(A, project(p, K)))


@given(st.lists(st.floats(-2000, 2000), min_size=2, max_size=2), st.floats(1, 3000), st.floats(1, 3000))
@settings(max_examples=50, deadline=None)
def test_crop_and_its_inverse(corner, width, height):
    x, y = corner
    box = torch.tensor([x, y, x + width, y + height], dtype=torch.float64)
    A, A_back = crop_affine(box, 192, margin=1.25)
    p = torch.tensor([[0.0, 0.0], [191.0, 3.5], [-40.0, 500.0]], dtype=torch.float64)
    torch.testing.assert_close(apply_affine(A, apply_affine(A_back, p)), p, atol=1e-6, rtol=0)
    border = apply_affine(A_back, torch.tensor([[-0.5, -0.5], [191.5, 191.5]], dtype=torch.float64))
    side = 1.25 * max(width, height)
    torch.testing.assert_close(border[1] - border[0], torch.full((2,), side, dtype=torch.float64))
    torch.testing.assert_close(border.mean(0), (box[:2] + box[2:]) / 2)


def test_a_crop_of_the_same_size_is_a_whole_pixel_shift():
    # The square of pixels 10..19 spans 9.5 .. 19.5; cut out 1:1, crop pixel 0 is image pixel 10.
    A, _ = crop_affine(torch.tensor([9.5, 9.5, 19.5, 19.5]), 10, margin=1.0)
    torch.testing.assert_close(apply_affine(A, torch.tensor([[10.0, 19.0]])), torch.tensor([[0.0, 9.0]]))


@pytest.mark.parametrize("box", [[5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 4.0, 4.0], [0.0, 0.0, math.nan, 9.0]])
def test_boxes_without_area_are_refused(box):
    with pytest.raises(InputError, match="box"):
        crop_affine(torch.tensor(box), 256)


def test_the_virtual_camera_looks_along_the_ray_by_the_smallest_turn():
    ray = points(50) * 3
    R = look_at_rotation(ray)
    forward = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    unit = ray / ray.norm(dim=-1, keepdim=True)
    torch.testing.assert_close((R @ unit[..., None])[..., 0], forward.expand(50, 3))
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(50, dtype=torch.float64))
    angle = torch.acos(((R.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    torch.testing.assert_close(angle, torch.acos(unit[..., 2]), atol=1e-6, rtol=0)


def test_virtual_camera_pixels_are_a_homography_of_the_photo():
    p = points(40)
    pixels = project(p, K)
    R = look_at_rotation(rays(torch.tensor([[500.0, 100.0]], dtype=torch.float64), K)[0])
    homography = K @ R @ torch.linalg.inv(K)
    moved = torch.cat([pixels, torch.ones(40, 1, dtype=torch.float64)], dim=-1) @ homography.mT
    seen = project(p @ R.mT, K)
    torch.testing.assert_close(moved[:, :2] / moved[:, 2:], seen)
    torch.testing.assert_close(rays(seen, K), (p / p.norm(dim=-1, keepdim=True)) @ R.mT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_looking_backwards_is_still_a_rotation(dtype):
    R = look_at_rotation(torch.tensor([[0.0, 0.0, -2.0], [1e-9, 0.0, -1.0]], dtype=dtype))
    eye = torch.eye(3, dtype=dtype).expand(2, 3, 3)
    torch.testing.assert_close(R @ R.mT, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(R[:, 2, 2], -torch.ones(2, dtype=dtype))


@pytest.mark.parametrize("ray", [[0.0, 0.0, 0.0], [math.nan, 0.0, 1.0], [math.inf, 0.0, 1.0]])
def test_rays_without_direction_are_refused(ray):
    with pytest.raises(InputError, match="ray"):
        look_at_rotation(torch.tensor(ray))
