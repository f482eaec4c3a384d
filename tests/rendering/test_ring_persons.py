"""Persons on a ring: another view as front is the person turned, views and joints together."""

import torch

from hmralign.body.free_body import load_free_body
from hmralign.geometry.rotations import axis_rotmat
from hmralign.rendering.ring import RingCameras
from hmralign.rendering.ring_persons import RingPersons, rendered_persons, turned_persons
from hmralign.storage.seeds import seeded
from hmralign.structures import BodyParams

RING = RingCameras(size=16, supersampling=2)


def persons(quarters: int) -> RingPersons:
    """Two persons, turned about the vertical by quarters of a turn, as a ring at that azimuth would see them."""
    draw = seeded(0, "poses")
    poses = axis_rotmat("z", 0.5 * torch.randn(2, 23, generator=draw))
    turn = RING.rotations[quarters] @ axis_rotmat("x", torch.tensor([3.3, 2.9]))  # upright, leaning a little
    body = load_free_body("3k5")
    return rendered_persons(body, BodyParams(turn, poses, torch.zeros(2, body.num_betas), torch.zeros(2, 3)), RING)


def test_a_view_as_front_is_the_person_turned():
    straight = persons(0)
    turned = turned_persons(RingPersons.cat([straight] * 20), RING, 1.0, seeded(1))
    rendered = [persons(quarters) for quarters in range(4)]
    met = set()
    for row in range(len(turned.joints)):
        gaps = [float((turned.joints[row] - other.joints[row % 2]).norm(dim=-1).max()) for other in rendered]
        quarters = min(range(4), key=gaps.__getitem__)
        assert gaps[quarters] < 1e-4
        torch.testing.assert_close(turned.pixels[row], rendered[quarters].pixels[row % 2], atol=0.02, rtol=0)
        met.add(quarters)
    assert met == {0, 1, 2, 3}


def test_a_share_of_none_turns_nobody():
    straight = persons(0)
    kept = turned_persons(straight, RING, 0.0, seeded(1))
    assert torch.equal(kept.pixels, straight.pixels) and torch.equal(kept.joints, straight.joints)
