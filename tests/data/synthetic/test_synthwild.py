"""SynthWild: what the worlds are like, what the slices mean, and that nothing in it moves."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from hmralign.data.pose_file import load_pose_file
from hmralign.data.synthetic.synthwild import (
    LABEL_NOISE_M,
    SPLITS,
    V1,
    V2,
    Split,
    chunk_generator,
    chunk_sizes,
    sample_chunk,
    slices_of,
    split_of,
    with_label_noise,
    world_generator,
)
from hmralign.data.synthwild_folder import agreement_with, content_hash, frozen_splits
from hmralign.metrics.joint_errors import mpjpe
from hmralign.structures import InputError
from hmralign.systems.synth.write_synthwild import masked_chunk, with_masks
from support.shared_data import require_shared
from support.split_tensors import split_tensors
from support.synthetic_persons import seeded


@pytest.fixture(scope="module", params=["lab", "broad", "wild"])
def world(request):
    """Name, 3,000 persons and how they were seen."""
    return request.param, *world_generator(request.param, "train").sample_seen(3000, seeded(1))


def test_wild_is_harder_than_lab_in_every_slice(world):
    name, example, seen = world
    share = {k: float(m.float().mean()) for k, m in slices_of(example, seen).masks().items()}
    if name == "wild":
        assert all(value > 0.05 for value in share.values()), share
    else:
        assert share["pitch > 45 deg"] == 0 and share["wide field of view"] == 0 and share["truncated"] < 0.06


def test_only_wild_is_seen_by_the_measured_detector_and_built_differently(world):
    name, example, seen = world
    stretched = (seen.joints - example.annotation.joints).norm(dim=-1).amax(1)
    assert (stretched > 0.005).float().mean() == (pytest.approx(1.0, abs=0.01) if name == "wild" else 0.0)


def test_nobody_is_known_by_a_box_only(world):
    assert (world[1].observation.confidence > 0).any(1).all()


def test_slices_say_what_they_say(world):
    _, example, seen = world
    slices = slices_of(example, seen)
    assert torch.equal(slices.pitch, seen.pitch)
    K = example.observation.K
    diagonal = torch.hypot(2 * K[:, 0, 2] + 1, 2 * K[:, 1, 2] + 1)
    torch.testing.assert_close(slices.focal * diagonal, K[:, 0, 0])
    legs = (example.observation.confidence[:, 13:17] > 0.3).any(1)
    assert torch.equal(slices.legs_seen, legs)
    assert (slices.ambiguous_limbs[:, None] <= 8).all()
    part = slices[torch.tensor([5, 7])]
    assert torch.equal(part.pitch, slices.pitch[[5, 7]])


def test_ambiguous_limbs_against_a_loop():
    """By hand: a limb along the line of sight counts, one across it does not, an unseen one never does."""
    _, example, seen = "lab", *world_generator("lab", "train").sample_seen(50, seeded(2))
    limbs = [(16, 18, 5, 7), (17, 19, 6, 8), (18, 20, 7, 9), (19, 21, 8, 10),
             (1, 4, 11, 13), (2, 5, 12, 14), (4, 7, 13, 15), (5, 8, 14, 16)]  # fmt: skip
    expected = []
    for joints, confidence in zip(seen.joints, example.observation.confidence, strict=True):
        count = 0
        for start, end, a, b in limbs:
            bone = joints[end] - joints[start]
            angle = math.degrees(math.acos(float(torch.cosine_similarity(bone, joints[start], dim=0).clamp(-1, 1))))
            steep = angle < 45 or angle > 135
            count += steep and float(confidence[a]) > 0.3 and float(confidence[b]) > 0.3
        expected.append(count)
    assert slices_of(example, seen).ambiguous_limbs.tolist() == expected
    assert len(set(expected)) > 2


def test_label_noise_has_its_size_and_leaves_the_observation():
    example = world_generator("broad", "train").sample(2000, seeded(3))
    noisy = with_label_noise(example, seeded(4))
    off = (noisy.annotation.joints - example.annotation.joints).square().sum(-1).mean().sqrt()
    assert off == pytest.approx(LABEL_NOISE_M, rel=0.02)
    turn = example.annotation.body.body_pose.mT @ noisy.annotation.body.body_pose
    angle = torch.acos(((turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    assert math.degrees(angle.square().mean().sqrt()) == pytest.approx(15, rel=0.05)
    assert noisy.observation is example.observation
    assert mpjpe(noisy.annotation.joints, example.annotation.joints).mean() > 0.04


def test_splits_do_not_share_seeds_and_test_splits_use_the_held_out_prior():
    assert len({s.seed for s in SPLITS.values()}) == len(SPLITS)
    for name, split in SPLITS.items():
        assert (split.prior == "heldout") == name.endswith("/test")
        assert sum(chunk_sizes(split)) == split.size


def test_a_chunk_is_the_same_in_another_process(tmp_path):
    split = Split("wild", "train", 40, 77, 0.5)
    here = content_hash(split_tensors(*masked_chunk(split, 0)))
    code = (
        "from hmralign.data.synthetic.synthwild import Split;"
        "from hmralign.data.shards import shard_tensors;"
        "from hmralign.data.synthwild_folder import content_hash, slice_tensors;"
        "from hmralign.systems.synth.write_synthwild import masked_chunk;"
        "import torch; torch.set_num_threads(2);"
        "example, slices = masked_chunk(Split('wild', 'train', 40, 77, 0.5), 0);"
        "print(content_hash(shard_tensors(example) | slice_tensors(slices)))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip().splitlines()[-1] == here


@pytest.mark.parametrize("name", ["lab/val", "wild/val", "lab-v2/val", "wild-v2/val"])
def test_the_generator_is_the_frozen_one(name):
    """Fails with any change of poses, cameras, noise, body or masks: that needs a new version name."""
    split = split_of(name)
    assert name in frozen_splits()
    tensors = split_tensors(*masked_chunk(split, 0))
    assert agreement_with(frozen_splits(), name, content_hash(tensors), tensors) in (
        "identical",
        "equal up to rounding",
    )


@pytest.mark.assets
def test_mocap_takes_its_poses_from_the_test_clips():
    unseen = load_pose_file(require_shared("poses/cmu_smpl24_poses.npz"), "test")
    example, _ = sample_chunk(Split("wild", "heldout", 30, 5, 0.5, real_poses=True), 0, seeded(0), unseen)
    body_pose = example.annotation.body.body_pose
    elbows = [17, 18]  # neither collars nor shoulders, which follow the arms
    nearest = [(unseen.body_pose[:, elbows] - pose[elbows]).abs().amax((1, 2, 3)).min() for pose in body_pose]
    assert max(nearest) < 1e-3


def test_mocap_needs_a_pose_file():
    with pytest.raises(InputError, match="pose file"):
        sample_chunk(SPLITS["mocap/test"], 0, seeded(0))


@pytest.mark.parametrize("world", ["lab", "wild"])
def test_nobody_is_twice_in_v2(world):
    example, _ = sample_chunk(replace(SPLITS[f"{world}-v2/val"], size=400), 0, seeded(5))
    assert len(example.observation.box) == 400
    assert len(torch.unique(example.observation.keypoints, dim=0)) == 400
    with_copies, _ = sample_chunk(replace(SPLITS["wild/val"], size=400), 0, seeded(5))
    assert len(torch.unique(with_copies.observation.keypoints, dim=0)) < 400


def test_holes_of_masks_follow_the_observed_body_in_v2():
    """Persons and masks are drawn alike; only where limbs are hidden may a mask differ."""
    split = replace(SPLITS["wild-v2/val"], size=60, mask_share=1.0)
    observed, _ = masked_chunk(split, 0)
    generator = chunk_generator(split, 0)
    again, seen = sample_chunk(split, 0, generator)
    annotated = with_masks(again, seen, 1.0, generator, "annotated")
    hidden = (observed.observation.confidence <= 0.3).any(1)
    assert not torch.equal(observed.observation.mask, annotated.observation.mask)
    assert torch.equal(observed.observation.mask[~hidden], annotated.observation.mask[~hidden])


def test_splits_of_a_version_say_so_and_v1_keeps_its_postures():
    for name, split in SPLITS.items():
        assert split.version == (V2 if "-v2/" in name else V1)
        expected = name.rpartition("/")[2].replace("val", "validation") if split.version == V2 else "training"
        assert split.postures == expected


def test_unknown_split():
    with pytest.raises(InputError, match="no split of SynthWild"):
        split_of("lab/tset")
