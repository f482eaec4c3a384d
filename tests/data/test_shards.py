"""Shards: what is written is read back; anything damaged or unfinished is refused by name."""

import json
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from hmralign.data.shards import FORMAT_VERSION, open_shards, write_index, write_shard
from hmralign.structures import Example, InputError
from support.synthetic_persons import persons, seeded


def masked(n, seed) -> Example:
    example = persons(n, seed)
    mask = torch.rand(example.observation.mask.shape, generator=seeded(seed))
    observation = replace(example.observation, mask=mask, has_mask=torch.ones(n, dtype=torch.bool))
    return Example(observation, example.annotation)


FIRST, SECOND = masked(6, 5), masked(4, 6)


@pytest.fixture
def folder(tmp_path):
    write_shard(tmp_path, 0, FIRST)
    write_shard(tmp_path, 1, SECOND)
    write_index(tmp_path, examples=10, seed=3)
    return tmp_path


def refusal(folder, offender):
    with pytest.raises(InputError) as caught:
        open_shards(folder)
    assert str(offender) in str(caught.value)
    return str(caught.value)


def test_round_trip_is_exact_but_for_masks_of_256_levels(folder):
    shards = open_shards(folder)
    assert len(shards) == 10
    for example, index in ((FIRST, torch.arange(6)), (SECOND, torch.arange(6, 10))):
        got = shards[index]
        for field in fields(example.observation):
            ours, theirs = getattr(got.observation, field.name), getattr(example.observation, field.name)
            torch.testing.assert_close(ours, theirs, atol=0.5 / 255 + 1e-6 if field.name == "mask" else 0, rtol=0)
        assert torch.equal(got.annotation.joints, example.annotation.joints)
        assert torch.equal(got.annotation.body.rotmats, example.annotation.body.rotmats)
        assert torch.equal(got.annotation.body.betas, example.annotation.body.betas)
        assert torch.equal(got.annotation.body.transl, example.annotation.body.transl)


def test_draws_follow_the_generator_and_reach_every_example(folder):
    shards = open_shards(folder)
    a, b = (shards.draw(200, seeded(1)).observation.box for _ in range(2))
    assert torch.equal(a, b)
    assert len(a.unique(dim=0)) == len(shards.tensors["box"].unique(dim=0))


def test_examples_without_truth_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="annotated"):
        write_shard(tmp_path, 0, Example(FIRST.observation))
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_beside(folder):
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["index.json", "shard_00000.safetensors", "shard_00001.safetensors"]


def test_an_unfinished_folder(folder):
    (folder / "index.json").unlink()
    assert "not a finished shard folder" in refusal(folder, folder)
    assert "not a finished shard folder" in refusal(folder / "none", folder)


def test_a_newer_version(folder):
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | {"format_version": FORMAT_VERSION + 1}))
    assert f"version {FORMAT_VERSION + 1}" in refusal(folder, folder / "index.json")


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", '{"examples": 10}', "\udcff"])
def test_a_damaged_index(folder, content):
    (folder / "index.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    refusal(folder, folder / "index.json")


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_truncated_shard(folder, keep):
    shard = folder / "shard_00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:keep])
    assert "damaged shard" in refusal(folder, shard)


@pytest.mark.parametrize("change", [{"box": None}, {"more": torch.zeros(4)}])
def test_a_shard_with_other_arrays(folder, change):
    shard = folder / "shard_00001.safetensors"
    tensors = load_file(shard) | change
    save_file({k: v for k, v in tensors.items() if v is not None}, shard)
    assert "damaged shard" in refusal(folder, shard)


def test_a_missing_shard_is_noticed(folder):
    (folder / "shard_00000.safetensors").unlink()
    assert "a shard is missing" in refusal(folder, folder)
    (folder / "shard_00001.safetensors").unlink()
    assert "no shards" in refusal(folder, folder)
