"""The refiner: before training it says what is best where nothing is known, and hidden conditions have no say."""

from dataclasses import replace

import pytest
import torch

from hmralign.diffusion.schedule import ScheduleConfig
from hmralign.geometry.rotations import random_rotmat
from hmralign.models.language.body_offset import OFFSET_DIM
from hmralign.models.language.refiner import CONDITIONS, PARTS, Refiner, RefinerCondition, RefinerConfig
from hmralign.structures import InputError

TINY = RefinerConfig(
    width=32, hidden=16, depth=2, context_width=24, context_depth=1, schedule=ScheduleConfig(num_steps=20)
)
COUNT = 5


def inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, RefinerCondition]:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(COUNT, *shape, generator=draw)

    condition = RefinerCondition(
        random_rotmat((COUNT, 24), draw), normal(10), normal(24), normal(27, 3), normal(24, 3), torch.ones(COUNT, 3)
    )
    return normal(OFFSET_DIM), torch.randint(20, (COUNT,), generator=draw), normal(OFFSET_DIM), condition


def lively(seed: int = 0) -> Refiner:
    torch.manual_seed(seed)
    refiner = Refiner(TINY)
    for parameter in refiner.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return refiner.eval()


def test_an_untrained_refiner_knows_nothing():
    x_t, t, estimate, condition = inputs()
    refiner = Refiner(TINY)
    expected = refiner.schedule.at(t).sqrt()[:, None] * x_t
    torch.testing.assert_close(refiner(x_t, t, estimate, condition), expected)


@pytest.mark.parametrize(
    ("hidden", "field"), [("context", "context"), ("keypoints", "keypoint_gradient"), ("text", "text_gradient")]
)
def test_what_is_hidden_has_no_say_and_what_is_shown_has(hidden, field):
    x_t, t, estimate, condition = inputs()
    refiner, other = lively(), replace(condition, **{field: 3 * getattr(condition, field) + 1})
    shown = torch.tensor([float(name != hidden) for name in CONDITIONS]).expand(COUNT, -1)
    one, two = (refiner(x_t, t, estimate, replace(c, shown=shown)) for c in (condition, other))
    assert torch.equal(one, two)
    assert not torch.allclose(refiner(x_t, t, estimate, condition), refiner(x_t, t, estimate, other))


def test_nobody_depends_on_the_others():
    x_t, t, estimate, condition = inputs()
    refiner = lively()
    alone = refiner(x_t[2:3], t[2:3], estimate[2:3], condition[2:3])
    torch.testing.assert_close(refiner(x_t, t, estimate, condition)[2:3], alone, atol=1e-5, rtol=1e-4)


def test_every_joint_that_turns_is_of_one_part():
    assert sorted(joint for part in PARTS for joint in part) == list(range(24))


def test_a_width_that_is_no_whole_number_of_heads_is_refused():
    with pytest.raises(InputError, match="multiple of 32, got 33"):
        RefinerConfig(width=33)
