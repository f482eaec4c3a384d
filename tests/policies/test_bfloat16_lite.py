"""Sampling with products in bfloat16: about the same bodies, only if asked for and faster."""

import pytest
import torch

from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.models import bfloat16
from hmralign.models.bfloat16 import Bfloat16Linear, bfloat16_gain, in_bfloat16
from hmralign.models.context import ResidualMlp
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import InputError
from support.synthetic_persons import BODY, persons, seeded
from support.toy_policy import tiny_policy

OBSERVED = persons(24).observation
FEW = SamplerConfig(num_hypotheses=12)


@pytest.fixture
def fast(monkeypatch):
    """A processor that is faster in bfloat16, whatever this one is: the numbers are the same on all."""
    monkeypatch.setattr(bfloat16, "bfloat16_gain", lambda: 2.0)


def joints(group):
    return forward_kinematics(rest_joints(BODY, group.betas), group.rotmats, BODY.parents)[1]


def test_bodies_are_half_a_millimetre_apart_in_the_mean(fast):
    plain, half = (open_policy("lite", BODY, runtime=runtime) for runtime in ("torch", "bfloat16"))
    assert (plain.sha256, plain.trained_on) == (half.sha256, half.trained_on)
    ours, theirs = (opened.policy.propose(OBSERVED, FEW, seeded(3)) for opened in (plain, half))
    assert theirs.rotmats.dtype == torch.float32 and torch.equal(ours.betas, theirs.betas)
    apart_mm = 1000 * (joints(ours) - joints(theirs)).norm(dim=-1)
    print(f"joints: {float(apart_mm.max()):.1f} mm apart at most, {float(apart_mm.mean()):.2f} mm in the mean")
    assert 0.05 < apart_mm.mean() < 1.0 and apart_mm.max() < 60
    again = half.policy.propose(OBSERVED, FEW, seeded(3))
    assert torch.equal(theirs.rotmats, again.rotmats)


def test_only_products_of_blocks_are_rounded(fast):
    network = torch.nn.Sequential(torch.nn.Linear(8, 16), ResidualMlp(16, 32))
    half, x = in_bfloat16(network), torch.randn(5, 8, generator=seeded(0))
    assert isinstance(half[0], torch.nn.Linear) and isinstance(half[1].up, Bfloat16Linear)
    assert half(x).dtype == torch.float32 and isinstance(network[1].up, torch.nn.Linear)
    assert 0 < (half(x) - network(x)).abs().max() < 0.02


def test_a_processor_that_is_slower_in_bfloat16_is_told(monkeypatch):
    assert bfloat16_gain() > 0
    monkeypatch.setattr(bfloat16, "bfloat16_gain", lambda: 0.4)
    with pytest.raises(
        InputError, match=r"multiplies 0\.4 times as fast as in float32; expected one with instructions"
    ):
        open_policy("lite", BODY, runtime="bfloat16")


def test_what_is_not_computed_in_bfloat16(fast):
    with pytest.raises(InputError, match="pixel: holds a model of kind 'pixel'; bfloat16 is for kind 'lite' alone"):
        open_policy("pixel", BODY, runtime="bfloat16")
    for own in (tiny_policy(), "mine.py:made"):
        with pytest.raises(InputError, match="a policy of your own computes as it does"):
            open_policy(own, BODY, runtime="bfloat16")
