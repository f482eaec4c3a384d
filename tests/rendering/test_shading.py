"""Colours: they stay in range, follow the surface, and blend without touching the photo beside the body."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hmralign.geometry.cameras import scaled_intrinsics
from hmralign.rendering.colormap import magnitude_colors
from hmralign.rendering.shading import (
    HIDDEN_OPACITY,
    SKY_BLUE,
    Lighting,
    blend,
    drawn_over,
    interpolate_vertex_colors,
    shade,
    shaded_layers,
    shaded_parts,
)
from hmralign.rendering.zbuffer import Look, render, render_shaded
from hmralign.structures import InputError
from support.capsule_figure import capsule_figure

K = torch.tensor([[120.0, 0, 31.5], [0, 120.0, 47.5], [0, 0, 1]])
SIZE = (96, 64)


def test_shading_is_brightest_towards_the_camera_and_never_black():
    normals = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    white = shade(normals, torch.ones(3))
    assert white.min() > 0.2 and white.max() <= 1
    assert (
        shade(torch.tensor([0.0, 0, -1]), torch.ones(3)).sum() > shade(torch.tensor([1.0, 0, 0]), torch.ones(3)).sum()
    )
    up, down = torch.tensor([0.0, -1, 0]), torch.tensor([0.0, 1, 0])
    assert shade(up, torch.ones(3)).sum() > shade(down, torch.ones(3)).sum()


def test_vertex_colors_are_interpolated_as_positions_are():
    # Positions as colours: a pixel's colour must be the 3D point seen there.
    vertices, faces = capsule_figure()
    out = render(vertices, faces, K, SIZE, ("face_index", "barycentric", "depth"))
    points = interpolate_vertex_colors(vertices, faces, out.face_index, out.barycentric)
    seen = out.face_index >= 0
    torch.testing.assert_close(points[seen][:, 2], out.depth[seen], atol=1e-5, rtol=0)
    assert (points[~seen] == 0).all()


def test_one_color_equals_the_same_color_at_every_vertex():
    vertices, faces = capsule_figure(2)
    color = (0.2, 0.5, 0.8)
    everywhere = torch.tensor(color).expand(2, vertices.shape[1], 3)
    plain = shaded_layers(vertices, faces, K, SIZE, color)
    torch.testing.assert_close(plain, shaded_layers(vertices, faces, K, SIZE, vertex_colors=everywhere))


def test_coverage_of_a_layer_is_the_silhouette_softened():
    vertices, faces = capsule_figure()
    hard = render(vertices, faces, K, SIZE, ("silhouette",)).silhouette.float()
    soft = shaded_layers(vertices, faces, K, SIZE, supersample=3)[..., 3]
    assert abs(float(soft.mean() - hard.mean())) < 0.01
    inner = torch.nn.functional.avg_pool2d(hard, 3, 1, 1)
    assert (soft[inner == 1] == 1).all() and (soft[inner == 0] == 0).all()
    assert set(shaded_layers(vertices, faces, K, SIZE, supersample=1)[..., 3].unique().tolist()) == {0.0, 1.0}


@settings(max_examples=25, deadline=None)
@given(
    shift=st.tuples(*[st.floats(-1.2, 1.2)] * 2, st.floats(-3.2, 2.0)),
    supersample=st.integers(1, 3),
    faint=st.booleans(),
)
@example(shift=(0.0, 0.0, -9.0), supersample=2, faint=False)
@example(shift=(9.0, 0.0, 0.0), supersample=2, faint=True)
def test_only_where_bodies_are_is_drawn_and_every_pixel_is_the_same(shift, supersample, faint):
    vertices, faces = capsule_figure(3)
    moved = vertices + torch.tensor(shift, dtype=vertices.dtype) * torch.tensor([[[1.0]], [[0.5]], [[0.9]]])
    nearer = vertices[:1] - torch.tensor([0.0, 0, 0.5]) if faint else None
    more = {"supersample": supersample, "in_front": nearer}
    parts, (left, top, right, bottom) = shaded_parts(moved, faces, K, SIZE, **more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmralign.rendering.shading._seen_window", lambda *_: (0, 0, SIZE[1], SIZE[0]))
        whole, _ = shaded_parts(moved, faces, K, SIZE, **more)
    assert torch.equal(parts, whole[:, top:bottom, left:right])
    assert torch.equal(shaded_layers(moved, faces, K, SIZE, **more), whole)


def test_a_part_of_a_rendering_is_that_part_of_the_whole():
    vertices, faces = capsule_figure(2)
    names = ("depth", "normals", "silhouette", "face_index", "barycentric")
    whole = render(vertices, faces, K, SIZE, names)
    left, top, right, bottom = window = (20, 31, 45, 96)
    part = render(vertices, faces, K, SIZE, names, window)
    for name in names:
        assert torch.equal(getattr(part, name), getattr(whole, name)[:, top:bottom, left:right]), name
    for wrong in ((0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 65, 5)):
        with pytest.raises(InputError, match="window"):
            render(vertices, faces, K, SIZE, names, wrong)


def test_a_large_group_in_parts_equals_one_by_one(monkeypatch):
    monkeypatch.setattr("hmralign.rendering.shading._PIXELS_AT_ONCE", 2 * 4 * SIZE[0] * SIZE[1])
    vertices, faces = capsule_figure(5)
    together = shaded_layers(vertices, faces, K, SIZE)
    assert together.shape == (5, *SIZE, 4)
    for i in range(5):
        assert torch.equal(together[i], shaded_layers(vertices[i : i + 1], faces, K, SIZE)[0])


def test_blending_leaves_the_photo_alone_beside_the_body():
    photo = torch.rand(*SIZE, 3, generator=torch.Generator().manual_seed(1))
    vertices, faces = capsule_figure()
    layer = shaded_layers(vertices, faces, K, SIZE)
    for alpha in (0.0, 0.4, 1.0):
        mixed = blend(photo, layer, alpha)[0]
        beside = layer[0, ..., 3] == 0
        torch.testing.assert_close(mixed[beside], photo[beside])
    torch.testing.assert_close(blend(photo, layer, 0.0)[0], photo)
    inside = layer[0, ..., 3] == 1
    torch.testing.assert_close(blend(photo, layer, 1.0)[0][inside], layer[0][inside][:, :3])


def test_magnitude_colors_clamp_and_grow_lighter():
    colors = magnitude_colors(np.array([-1.0, 0.0, 2.5, 5.0, 9.0]), high=5.0)
    assert np.array_equal(colors[0], colors[1]) and np.array_equal(colors[3], colors[4])
    luminance = magnitude_colors(np.linspace(0, 1, 50), 1.0) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all()


@pytest.mark.parametrize("finer", [1, 2, 3])
def test_one_colour_is_shaded_as_by_normals_colours_and_pooling(finer):
    """The kernel that keeps no normal against the steps it stands for, written in torch."""
    vertices, faces = capsule_figure(2)
    window = (3, 5, SIZE[1] - 2, SIZE[0])
    fine = (SIZE[0] * finer, SIZE[1] * finer)
    out = render(vertices, faces, scaled_intrinsics(K, (float(finer), float(finer))), fine, ("normals", "silhouette"))
    lit = shade(out.normals, torch.tensor(SKY_BLUE)) * out.silhouette[..., None]
    layer = torch.cat([lit, out.silhouette[..., None].float()], -1).permute(0, 3, 1, 2)
    expected = torch.nn.functional.avg_pool2d(layer, finer).permute(0, 2, 3, 1)
    light = Lighting()
    look = Look(SKY_BLUE, (light.ambient, light.headlight, light.sky), finer)
    found = render_shaded(vertices, faces, K, SIZE, look, window)
    left, top, right, bottom = window
    torch.testing.assert_close(found, expected[:, top:bottom, left:right], atol=1e-6, rtol=0)
    assert found[..., 3].max() == 1 and found[..., 3].min() == 0


@pytest.mark.parametrize("colored", [False, True])
@pytest.mark.parametrize("faint", [False, True])
def test_drawing_over_a_picture_is_blending_the_layers(colored, faint):
    """The kernel that draws into 8-bit pictures against layers blended in torch; rounding alone may differ."""
    vertices, faces = capsule_figure(3)
    draw = torch.Generator().manual_seed(2)
    picture = torch.randint(0, 256, (*SIZE, 3), generator=draw, dtype=torch.uint8).numpy()
    more = {
        "vertex_colors": torch.rand(vertices.shape, generator=draw) if colored else None,
        "in_front": vertices[:1] - torch.tensor([0.1, 0.0, 0.5]) if faint else None,
    }
    found = drawn_over(picture, vertices, faces, K, alpha=0.7, **more)
    layers = shaded_layers(vertices, faces, K, SIZE, **more)
    expected = 255 * blend(torch.from_numpy(picture).float() / 255, layers, 0.7).clamp(0, 1).numpy()
    assert np.abs(found - expected).max() <= 0.5 + 1e-3
    beside = layers[..., 3].numpy() == 0
    assert np.array_equal(found[beside], np.broadcast_to(picture, found.shape)[beside]) and not beside.all()


@pytest.mark.parametrize("supersample", [1, 2])
def test_vertex_colours_and_somebody_in_front_are_as_by_normals_colours_and_pooling(supersample):
    vertices, faces = capsule_figure(2)
    colors = torch.rand(vertices.shape, generator=torch.Generator().manual_seed(3))
    nearer = vertices[:1] - torch.tensor([0.1, 0.0, 0.5])
    found = shaded_layers(vertices, faces, K, SIZE, vertex_colors=colors, supersample=supersample, in_front=nearer)
    fine_K, fine = scaled_intrinsics(K, (float(supersample),) * 2), (SIZE[0] * supersample, SIZE[1] * supersample)
    out = render(vertices, faces, fine_K, fine, ("normals", "face_index", "barycentric", "depth"))
    base = interpolate_vertex_colors(colors, faces, out.face_index, out.barycentric)
    seen = (out.face_index >= 0)[..., None]
    layer = torch.cat([shade(out.normals, base) * seen, seen.float()], -1)
    depth = render(nearer, faces, fine_K, fine, ("depth",)).depth
    layer = torch.where((depth < out.depth)[..., None], HIDDEN_OPACITY * layer, layer)
    expected = torch.nn.functional.avg_pool2d(layer.permute(0, 3, 1, 2), supersample).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert ((found[..., 3] > 0.25) & (found[..., 3] < 0.35)).any()
