"""The z-buffer against an independent oracle, and the properties a scorer relies on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from hmralign.rendering.zbuffer import Look, render, render_shaded, vertex_normals
from hmralign.structures import InputError
from support.raster_oracle import rasterize

SIZE = (72, 96)
K = torch.tensor([[90.0, 0.0, 47.0], [0.0, 95.0, 36.5], [0.0, 0.0, 1.0]])


def _figure() -> tuple[torch.Tensor, torch.Tensor]:
    """Three overlapping blobs at 3 m, tilted: occlusion, grazing faces and a silhouette that is not convex."""
    parts = [trimesh.creation.icosphere(subdivisions=2) for _ in range(3)]
    for part, scale, place in zip(
        parts,
        ([0.3, 0.8, 0.2], [0.7, 0.12, 0.15], [0.2, 0.2, 0.5]),
        ([0, 0, 0], [0.1, -0.3, -0.2], [-0.4, 0.4, 0]),
        strict=True,
    ):
        part.apply_scale(scale)
        part.apply_translation(place)
    mesh = trimesh.util.concatenate(parts)
    mesh.apply_transform(trimesh.transformations.rotation_matrix(0.4, [0.3, 1, 0.2]))
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32) + torch.tensor([0.1, 0.05, 3.0])
    return vertices, torch.tensor(np.array(mesh.faces))


def test_agrees_with_the_oracle():
    vertices, faces = _figure()
    depth, index, normals = rasterize(vertices.numpy(), faces.numpy(), K.numpy(), SIZE)
    out = render(vertices[None], faces, K, SIZE)
    assert out.depth is not None and out.normals is not None and out.face_index is not None
    seen = np.isfinite(depth)
    assert 800 < seen.sum() < 4000
    assert (out.silhouette[0].numpy() != seen).mean() <= 1e-3
    both = seen & out.silhouette[0].numpy()
    assert np.abs(out.depth[0].numpy()[both] - depth[both]).max() < 1e-4
    same = both & (out.face_index[0].numpy() == index)
    assert same.sum() > 0.99 * both.sum()
    assert np.abs(out.normals[0].numpy()[same] - normals[same]).max() < 1e-3


def test_pixel_zero_is_the_centre_of_the_top_left_pixel():
    # The rectangle spans columns [0.4, 2.6] and rows [-0.4, 1.4]: it covers centres 1..2 and 0..1, and no other.
    z = 2.0
    corners = torch.tensor([[0.4, -0.4], [2.6, -0.4], [2.6, 1.4], [0.4, 1.4]])
    eye = torch.eye(3)
    vertices = torch.cat([corners * z, torch.full((4, 1), z)], dim=1)
    out = render(vertices[None], torch.tensor([[0, 1, 2], [0, 2, 3]]), eye, (4, 5), ("silhouette",))
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[0:2, 1:3] = True
    assert torch.equal(out.silhouette[0], expected)


def test_depth_is_perspective_correct_on_a_slanted_plane():
    # z = 2 + x on the plane, so a ray (u, 0, 1) meets it at z = 2 / (1 - u).
    square = torch.tensor([[-1.0, -1, 1], [1, -1, 3], [1, 1, 3], [-1, 1, 1]])
    camera = torch.tensor([[20.0, 0, 10], [0, 20, 10], [0, 0, 1]])
    out = render(square[None], torch.tensor([[0, 1, 2], [0, 2, 3]]), camera, (21, 21), ("depth",))
    columns = torch.arange(5, 14)
    expected = 2 / (1 - (columns - 10) / 20)
    torch.testing.assert_close(out.depth[0, 10, 5:14], expected)


def test_a_closed_mesh_has_no_cracks():
    vertices, faces = (
        trimesh.creation.icosphere(subdivisions=4).vertices,
        trimesh.creation.icosphere(subdivisions=4).faces,
    )
    vertices = torch.tensor(np.array(vertices), dtype=torch.float32) + torch.tensor([0, 0, 3.0])
    out = render(vertices[None], torch.tensor(np.array(faces)), K, SIZE, ("silhouette",))
    mask = out.silhouette[0].int()
    changes_per_row = mask.diff(dim=1).abs().sum(dim=1)
    assert changes_per_row.max() == 2


def test_normals_are_unit_and_face_the_camera_on_a_convex_body():
    mesh = trimesh.creation.icosphere(subdivisions=3)
    vertices = torch.tensor(np.array(mesh.vertices), dtype=torch.float32) + torch.tensor([0, 0, 4.0])
    out = render(vertices[None], torch.tensor(np.array(mesh.faces)), K, SIZE)
    inside = out.normals[0][out.silhouette[0]]
    torch.testing.assert_close(inside.norm(dim=-1), torch.ones(len(inside)))
    assert (out.normals[0][~out.silhouette[0]] == 0).all()
    assert out.normals[0, 36, 47, 2] < -0.99
    exact = vertices - torch.tensor([0, 0, 4.0])
    assert (vertex_normals(vertices[None], torch.tensor(np.array(mesh.faces)))[0] * exact).sum(-1).min() > 0.999


def test_outputs_tell_the_same_story():
    vertices, faces = _figure()
    out = render(vertices[None], faces, K, SIZE, ("depth", "normals", "silhouette", "face_index", "barycentric"))
    seen = out.silhouette
    assert torch.equal(torch.isfinite(out.depth), seen)
    assert torch.equal(out.face_index >= 0, seen)
    torch.testing.assert_close(out.barycentric.sum(-1), seen.float())
    corners = vertices[faces[out.face_index[seen].long()]]
    points = (corners * out.barycentric[seen][..., None]).sum(1)
    torch.testing.assert_close(points[:, 2], out.depth[seen], atol=1e-5, rtol=0)
    rows_columns = seen[0].nonzero()
    projected = points @ K.T
    torch.testing.assert_close(projected[:, :2] / projected[:, 2:], rows_columns.flip(1).float(), atol=1e-2, rtol=0)
    assert render(vertices[None], faces, K, SIZE, ("depth",)).normals is None


def test_order_of_the_triangles_does_not_matter():
    vertices, faces = _figure()
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    one = render(vertices[None], faces, K, SIZE)
    other = render(vertices[None], faces[order], K, SIZE)
    assert torch.equal(one.silhouette, other.silhouette)
    torch.testing.assert_close(one.depth, other.depth, atol=2e-5, rtol=0)


def test_ties_go_to_the_lower_index():
    vertices, faces = _figure()
    twice = torch.cat([faces, faces])
    assert torch.equal(
        render(vertices[None], twice, K, SIZE).face_index, render(vertices[None], faces, K, SIZE).face_index
    )


def test_a_batch_equals_a_loop_to_the_bit():
    vertices, faces = _figure()
    group = torch.stack([vertices + torch.tensor([0.1 * i, 0.0, 0.2 * i]) for i in range(3)])
    cameras = torch.stack([K, K * torch.tensor([[1.2], [1.0], [1.0]]), K])
    together = render(group, faces, cameras, SIZE)
    for i in range(3):
        alone = render(group[i : i + 1], faces, cameras[i], SIZE)
        for name in ("depth", "normals", "silhouette", "face_index"):
            assert torch.equal(getattr(together, name)[i], getattr(alone, name)[0]), name


def test_a_body_behind_the_camera_leaves_an_empty_picture():
    vertices, faces = _figure()
    out = render((vertices - torch.tensor([0, 0, 6.0]))[None], faces, K, SIZE)
    assert not out.silhouette.any() and torch.isinf(out.depth).all() and (out.face_index == -1).all()


def test_a_body_partly_outside_is_the_cut_of_a_larger_picture():
    vertices, faces = _figure()
    moved = (vertices + torch.tensor([1.0, -0.9, 0]))[None]
    small = render(moved, faces, K, SIZE)
    shift = torch.zeros(3, 3)
    shift[:2, 2] = 40
    large = render(moved, faces, K + shift, (SIZE[0] + 80, SIZE[1] + 80))
    assert small.silhouette.any() and small.silhouette.sum() < large.silhouette.sum()
    assert torch.equal(small.silhouette[0], large.silhouette[0, 40:-40, 40:-40])


def test_a_triangle_that_reaches_before_the_near_plane_is_dropped_whole():
    triangle = torch.tensor([[[-1.0, -1, 2], [1, -1, 2], [0, 0, 0.01]]])
    assert not render(triangle, torch.tensor([[0, 1, 2]]), K, SIZE).silhouette.any()


def test_empty_batch_and_empty_mesh_give_empty_pictures():
    vertices, faces = _figure()
    assert render(vertices[None][:0], faces, K, SIZE).depth.shape == (0, *SIZE)
    assert not render(vertices[None], faces[:0], K, SIZE).silhouette.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": ()}, "cannot be rendered"),
        ({"K": torch.ones(3, 3)}, "pinhole"),
        ({"K": K.expand(2, 3, 3)}, "one per mesh"),
        ({"faces": torch.tensor([[0, 1, 999]])}, "999"),
        ({"vertices": torch.full((1, 5, 3), float("nan"))}, "finite"),
        ({"size": (0, 5)}, "picture size"),
    ],
)
def test_wrong_input_names_the_offender(change, message):
    good = {"vertices": torch.ones(1, 5, 3), "faces": torch.tensor([[0, 1, 2]]), "K": K, "size": SIZE}
    with pytest.raises(InputError, match=message):
        render(**{**good, **change})


@pytest.mark.gpu
def test_gpu_and_cpu_agree():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    vertices, faces = _figure()
    here = render(vertices[None], faces, K, SIZE)
    there = render(vertices[None].cuda(), faces.cuda(), K, SIZE)
    assert (here.silhouette != there.silhouette.cpu()).float().mean() < 1e-3
    both = here.silhouette & there.silhouette.cpu()
    assert (here.depth[both] - there.depth.cpu()[both]).abs().max() < 1e-4


def test_what_depends_on_the_faces_alone_is_that_of_these_faces():
    """Kept for each list of faces: another one of the same length, or of other vertices, is not mistaken for it."""
    vertices, faces = _figure()
    turned_over = faces.flip(1)
    fewer = faces[:-3]
    expected = [vertex_normals(vertices[None], f.clone()) for f in (faces, turned_over, fewer)]
    torch.testing.assert_close(expected[1], -expected[0], atol=1e-6, rtol=0)
    for _ in range(2):
        for f, normals in zip((faces, turned_over, fewer), expected, strict=True):
            assert torch.equal(vertex_normals(vertices[None], f.clone()), normals)
    changed = faces.clone()
    before = vertex_normals(vertices[None], changed)
    changed[:20] = 0  # the same tensor with other content
    assert not torch.equal(vertex_normals(vertices[None], changed), before)
    longer = torch.cat([vertices, vertices[:1]])
    assert (vertex_normals(longer[None], faces)[0, -1] == 0).all()


def test_only_closed_meshes_are_drawn_by_their_fronts_alone():
    """A sheet turned away from the camera is seen from behind; of a closed mesh no inner side is left out wrongly."""
    square = torch.tensor([[-1.0, -1, 3], [1, -1, 3], [1, 1, 3], [-1, 1, 3]])
    look = Look((1.0, 1.0, 1.0), (1.0, 0.0, 0.0))
    for sheet in (torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0, 2, 1], [0, 3, 2]])):
        assert render_shaded(square[None], sheet, K, SIZE, look)[..., 3].any()
    vertices, faces = _figure()
    for shift in (0.0, -2.6):  # at the second place the near plane cuts the mesh open
        moved = (vertices + torch.tensor([0.0, 0.0, shift]))[None]
        alone = replace(look, finer=1, light=(0.2, 0.6, 0.2))
        drawn = render_shaded(moved, faces, K, SIZE, alone)
        assert torch.equal(drawn[..., 3] > 0, render(moved, faces, K, SIZE).silhouette)
        both_sides = render_shaded(moved, torch.cat([faces, faces[:1]]), K, SIZE, alone)  # a face twice: not closed
        torch.testing.assert_close(drawn, both_sides, atol=1e-4, rtol=0)


@pytest.mark.parametrize("window", [None, (10, 5, 60, 70)])
def test_a_silhouette_alone_is_that_of_the_depths(window):
    """It is made without depth and, of closed meshes, from their fronts; turned and open ones have other areas."""
    vertices, faces = _figure()
    turns = [torch.eye(3), torch.diag(torch.tensor([-1.0, 1.0, 1.0])), torch.diag(torch.tensor([1.0, -0.2, 1.0]))]
    bodies = torch.stack([vertices @ turn for turn in turns] + [vertices - torch.tensor([0.0, 0.0, 2.6])])
    for mesh in (faces, faces.flip(1), faces[::3], faces[:0]):
        alone = render(bodies, mesh, K, SIZE, ("silhouette",), window).silhouette
        assert alone.dtype == torch.bool
        assert torch.equal(alone, torch.isfinite(render(bodies, mesh, K, SIZE, ("depth",), window).depth))
