import torch

from hmralign.structures import BodyParams
from support.synthetic_persons import persons


def bodies(n: int = 3) -> BodyParams:
    return persons(n).annotation.body


def test_all_rotations_are_the_root_and_then_the_pose():
    body = bodies()
    assert body.rotmats.shape == (3, 24, 3, 3)
    assert torch.equal(body.rotmats[:, 0], body.global_orient)
    assert torch.equal(body.rotmats[:, 1:], body.body_pose)
    assert torch.equal(body[1].rotmats, body.rotmats[1])


def test_the_batch_is_what_is_before_the_fields():
    body = bodies()
    assert body.batch_shape == (3,) and body[0].batch_shape == () and body[:, None].batch_shape == (3, 1)


def test_a_body_at_another_place_is_the_same_body():
    body = bodies()
    moved = body.with_transl(body.transl + 1)
    assert torch.equal(moved.transl, body.transl + 1)
    assert all(torch.equal(t, body.tensors()[n]) for n, t in moved.tensors().items() if n != "transl")
