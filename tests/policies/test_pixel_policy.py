"""A pixel policy goes wherever lite goes, and gets crops of the side that it asks for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign import Recoverer
from hmralign.body.skeleton import MIRROR_JOINTS, NUM_JOINTS
from hmralign.geometry.frames import mirror_rotmats
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import DiffusionPolicy, PixelPolicy, SamplerConfig, crop_side
from hmralign.structures import InputError
from support.pixel_persons import pictured_persons, tiny_pixel_checkpoint, tiny_pixel_policy
from support.recover_example import example_photo
from support.synthetic_persons import BODY, mirrored, persons, seeded
from support.toy_policy import tiny_policy


def test_it_is_a_diffusion_policy_that_asks_for_crops(tmp_path):
    opened = open_policy(tiny_pixel_checkpoint(tmp_path / "p.safetensors"), BODY)
    assert isinstance(opened.diffusion(), DiffusionPolicy) and isinstance(opened.policy, PixelPolicy)
    assert crop_side(opened.policy) == 32 and opened.trained_on == ("tiny",)
    assert crop_side(tiny_policy()) is None
    again = opened.diffusion().save(tmp_path / "again.safetensors", ("tiny", "more"))
    assert open_policy(again, BODY).trained_on == ("tiny", "more")


def test_a_mirrored_photo_has_the_mirrored_group():
    policy, seen = tiny_pixel_policy(), pictured_persons(3)
    assert seen.crop is not None
    other = replace(mirrored(replace(seen, crop=None, has_crop=None)), crop=seen.crop.flip(-1), has_crop=seen.has_crop)
    sampler = SamplerConfig(4, 2)
    ours = policy.propose(seen, sampler, seeded(0)).rotmats
    theirs = policy.propose(other, sampler, seeded(0)).rotmats
    expected = mirror_rotmats(ours, MIRROR_JOINTS[:NUM_JOINTS])
    swapped = theirs[:, [1, 0, 3, 2]]
    assert (swapped - expected).abs().max() < 0.05


def test_without_pixels_it_says_so_in_one_sentence():
    with pytest.raises(InputError, match="come without crops"):
        tiny_pixel_policy().propose(persons(2).observation, SamplerConfig(2, 2), seeded(0))


def test_recover_gives_it_the_crops_of_the_photo(tmp_path):
    rgb, keypoints = example_photo()
    recoverer = Recoverer.load(tiny_pixel_checkpoint(tmp_path / "p.safetensors"), num_hypotheses=4)
    answer = recoverer(rgb, keypoints=keypoints[None])
    turned = recoverer(np.ascontiguousarray(255 - rgb), keypoints=keypoints[None])
    (person,), (other,) = answer, turned
    seen = person._person.observation
    assert seen.crop is not None and seen.crop.shape == (3, 32, 32) and bool(seen.has_crop)
    assert seen.crop.float().std() > 5
    assert not torch.equal(person.hypotheses.joints, other.hypotheses.joints), "the picture counts"
