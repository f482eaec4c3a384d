import numpy as np
import pytest
import torch
import trimesh

from hmralign.body.free_body import load_free_body
from hmralign.metrics.surfaces import Mesh, surface_errors
from hmralign.rendering.ring import RingCameras, body_centre
from hmralign.rendering.visual_hull import visual_hull
from hmralign.structures import InputError
from support.synthetic_persons import seeded

RING = RingCameras(size=48)


def masks(made, ring=RING):
    vertices = torch.tensor(np.array(made.vertices)).float()[None]
    return ring.render(vertices, torch.tensor(np.array(made.faces))).mask[0]


def volume(vertices, faces) -> float:
    return float(trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False).volume)


def test_four_views_of_a_sphere_leave_two_cylinders():
    """The hull of a sphere seen from 0 and 90 degrees is Steinmetz' solid of two crossed cylinders, 16/3 r^3."""
    vertices, faces = visual_hull(masks(trimesh.creation.icosphere(4, radius=0.7)), RING)
    assert volume(vertices, faces) == pytest.approx(16 / 3 * 0.7**3, rel=0.01)
    assert Mesh(vertices, faces).open_edges() == 0


def test_more_views_come_nearer_to_the_sphere():
    ring = RingCameras(tuple(22.5 * n for n in range(8)), size=48)
    sphere = trimesh.creation.icosphere(4, radius=0.7)
    seen = [volume(*visual_hull(masks(sphere, r), r)) for r in (RING, ring)]
    assert seen[0] > seen[1] > sphere.volume * 0.99


def test_the_hull_of_a_box_is_the_box():
    box = trimesh.creation.box((0.6, 1.5, 0.9))
    found = surface_errors(
        Mesh(*visual_hull(masks(box), RING)),
        Mesh(torch.tensor(np.array(box.vertices)), torch.tensor(np.array(box.faces))),
        seeded(0),
        samples=1000,
    )
    assert found.chamfer < 0.008 and found.normal_consistency > 0.93  # edges are round by about half a pixel


def test_the_hull_of_a_body_holds_it_and_stands_where_it_stands():
    body = load_free_body("3k5")
    vertices = (body.v_template * torch.tensor([1.0, -1.0, -1.0]))[None]
    centred = vertices[0] - body_centre(vertices)[0]
    ring = RingCameras(size=64)
    hull = Mesh(*visual_hull(ring.render(vertices, body.faces).mask[0], ring))
    found = surface_errors(hull, Mesh(centred, body.faces), seeded(0), samples=2000)
    assert found.completeness < 0.025 and found.normal_consistency > 0.5
    short = centred.amax(0) - hull.vertices.amax(0)
    assert float(short[1:].abs().max()) < 0.01 and -0.01 < float(short[0]) < 0.08  # fingers are thinner than a pixel


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda m: m[:3], "one for each camera"),
        (lambda m: m[:1], "one for each camera"),
        (lambda m: m * torch.nan, "not finite"),
        (lambda m: torch.cat([m[:1], torch.zeros_like(m[:1]), m[2:]]), "nobody is seen in view 1"),
    ],
)
def test_missing_cameras_and_empty_views_are_refused(spoil, said):
    with pytest.raises(InputError, match=said):
        visual_hull(spoil(masks(trimesh.creation.box((0.6, 1.5, 0.9)))), RING)


def test_views_along_one_line_and_grids_that_are_too_fine_are_refused():
    ring = RingCameras((0.0, 180.0), size=48)
    with pytest.raises(InputError, match="nothing of depth"):
        visual_hull(masks(trimesh.creation.box((0.6, 1.5, 0.9)), ring), ring)
    with pytest.raises(InputError, match="8 to 256"):
        visual_hull(masks(trimesh.creation.box((0.6, 1.5, 0.9))), RING, points=1000)


def test_outlines_that_no_body_has_together_are_refused():
    mask = torch.zeros(4, 48, 48)
    mask[::2, :20, 10:30] = 1
    mask[1::2, 30:, 10:30] = 1
    with pytest.raises(InputError, match="no body in common"):
        visual_hull(mask, RING)
