"""The judge: joints in space from views, each of which is read by itself."""

import pytest
import torch

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.models.multiview.judge import Judge, JudgeConfig, ViewReader
from hmralign.rendering.ring import RingCameras
from hmralign.structures import InputError
from support.synthetic_persons import seeded

RING = RingCameras()


class Knows(ViewReader):
    """A reader that is told where the joints are, in the order in which views come."""

    def __init__(self, pixels, log_error):
        super().__init__(JudgeConfig(4, 1))
        self.pixels, self.log_error = pixels, log_error

    def forward(self, views):
        return self.pixels, self.log_error


def joints(n=3):
    return 0.6 * torch.randn(n, NUM_JOINTS, 3, generator=seeded(0))


def views(n=3):
    return torch.rand(n, 4, 4, 32, 32, generator=seeded(1))


def test_true_pixels_give_true_joints():
    pixels, _ = RING.project(joints(), torch.zeros(3, 3))
    judge = Judge(Knows(pixels, torch.zeros(3, 4, NUM_JOINTS)), RING.rotations, RING.pixels_per_metre)
    torch.testing.assert_close(judge(views()), joints(), atol=1e-4, rtol=1e-4)


def test_a_view_that_says_it_is_unsure_counts_less():
    pixels, _ = RING.project(joints(), torch.zeros(3, 3))
    pixels[:, 1] += 3.0
    log_error = torch.zeros(3, 4, NUM_JOINTS)
    off = []
    for unsure in (0.0, 3.0):
        log_error[:, 1] = unsure
        judge = Judge(Knows(pixels, log_error.clone()), RING.rotations, RING.pixels_per_metre)
        off.append(float((judge(views()) - joints()).norm(dim=-1).mean()))
    assert off[1] < 0.1 * off[0]


def test_places_are_inside_the_picture_and_a_view_does_not_hang_on_the_others():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reader = ViewReader(JudgeConfig(8, 1)).eval()
    pixels, log_error = reader(views())
    assert pixels.shape == (3, 4, NUM_JOINTS, 2) and log_error.shape == (3, 4, NUM_JOINTS)
    assert (pixels >= 0).all() and (pixels <= 31).all()
    torch.testing.assert_close(reader(views()[:, 2])[0], pixels[:, 2])


def test_what_cannot_be_judged_is_refused():
    judge = Judge(ViewReader(JudgeConfig(4, 1)).eval(), RING.rotations, RING.pixels_per_metre)
    with pytest.raises(InputError, match="1 views are given to a judge of 4"):
        judge(views()[:, :1])
    with pytest.raises(InputError, match="not finite"):
        judge(views() * float("nan"))
    with pytest.raises(InputError, match="width and depth"):
        JudgeConfig(width=0)
