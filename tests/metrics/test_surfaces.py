import numpy as np
import pytest
import torch
import trimesh

from hmralign.body.free_body import load_free_body
from hmralign.metrics.surfaces import Mesh, closest_points, sampled_surface, surface_errors
from hmralign.structures import InputError
from support.synthetic_persons import seeded


def mesh(made) -> Mesh:
    return Mesh(torch.tensor(np.array(made.vertices)), torch.tensor(np.array(made.faces)))


SPHERE = mesh(trimesh.creation.icosphere(4, radius=0.5))
BOX = mesh(trimesh.creation.box((1.0, 2.0, 4.0)))


def test_spheres_inside_of_each_other_are_as_far_apart_as_their_radii():
    found = surface_errors(mesh(trimesh.creation.icosphere(4, radius=0.6)), SPHERE, seeded(0), samples=2000)
    assert found.accuracy == pytest.approx(0.1, abs=1e-3) and found.completeness == pytest.approx(0.1, abs=1e-3)
    assert found.chamfer == (found.accuracy + found.completeness) / 2
    assert found.normal_consistency == pytest.approx(1.0, abs=5e-3)


def test_a_surface_is_itself_and_its_inside_is_not():
    same = surface_errors(BOX, BOX, seeded(0), samples=500)
    assert same.chamfer < 1e-6 and same.normal_consistency == pytest.approx(1.0)
    turned = surface_errors(Mesh(BOX.vertices, BOX.faces.flip(-1)), BOX, seeded(0), samples=500)
    assert turned.chamfer < 1e-6 and turned.normal_consistency == pytest.approx(-1.0)


def test_a_part_is_exact_and_incomplete():
    """The upper face of a box alone: nothing of it is wrong, and the rest is missing."""
    upper = Mesh(BOX.vertices, BOX.faces[(BOX.normals[:, 2] > 0.5)])
    found = surface_errors(upper, BOX, seeded(0), samples=4000)
    # Means of the distance to the plane z = 2: 4 for the lower face (area 2), 2 for the sides (area 24), 0 above.
    assert found.accuracy < 1e-6 and found.completeness == pytest.approx((4 * 2 + 2 * 24) / 28, abs=0.05)
    assert upper.open_edges() == 4 and BOX.open_edges() == 0


def test_alignment_is_stated_and_moves_middles_together():
    moved = BOX.moved(torch.tensor([0.3, 0.0, 0.0]))
    none = surface_errors(moved, BOX, seeded(0), samples=500)
    centre = surface_errors(moved, BOX, seeded(0), samples=500, alignment="centre")
    assert none.chamfer > 0.05 and centre.chamfer < 1e-6
    assert "not aligned" in none.stated() and "500 samples, middles" in centre.stated() and "mm" in none.stated()


def test_samples_are_uniform_by_area():
    points, normals = sampled_surface(BOX, 28_000, seeded(1))
    share = [(normals[:, axis].abs() > 0.5).double().mean() for axis in range(3)]
    assert share == [pytest.approx(s, abs=0.01) for s in (16 / 28, 8 / 28, 4 / 28)]
    assert float((points.abs() - torch.tensor([0.5, 1.0, 2.0])).amin(0).min()) > -2.1
    assert torch.equal(points, sampled_surface(BOX, 28_000, seeded(1))[0])


def test_distances_are_those_of_another_library_far_from_the_origin():
    body = load_free_body("3k5")
    away = torch.tensor([3.0, -2.0, 40.0])
    there = Mesh(body.v_template + away, body.faces)
    points = (away + 0.5 * torch.randn(40, 3, generator=seeded(2))).double()
    found, _ = closest_points(points, there)
    corners = there.vertices.double()[there.faces].numpy()
    for point, distance in zip(points.numpy(), found.tolist(), strict=True):
        nearest = trimesh.triangles.closest_point(corners, np.repeat(point[None], len(corners), 0))
        assert distance == pytest.approx(float(np.linalg.norm(nearest - point, axis=1).min()), abs=2e-5)


@pytest.mark.parametrize(
    ("vertices", "faces", "said"),
    [
        (torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]]), "not finite"),
        (torch.rand(3, 3), torch.tensor([[0, 1, 3]]), "name no vertex"),
        (torch.rand(3, 3), torch.zeros(0, 3, dtype=torch.long), "0 faces"),
        (torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), "no area"),
    ],
)
def test_what_is_no_surface_is_refused(vertices, faces, said):
    with pytest.raises(InputError, match=said):
        Mesh(vertices, faces)


def test_no_samples_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        surface_errors(BOX, BOX, seeded(0), samples=0)


def test_a_mesh_that_is_not_watertight_is_measured_and_said():
    open_box = Mesh(BOX.vertices, BOX.faces[1:])
    assert open_box.open_edges() == 3
    assert surface_errors(open_box, BOX, seeded(0), samples=500).accuracy < 1e-6
