"""Commands on a GPU give what they give on the processor, but for rounding. Listed as skipped where there is none."""

import json

import pytest
import torch
from safetensors.torch import load_file

from hmralign.cli.main import main
from hmralign.preferences.store import GroupStore
from support.toy_policy import shard_folder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
PLACES = ("cpu", "cuda")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return shard_folder(tmp_path_factory.mktemp("persons") / "shards", 24)


@pytest.fixture(scope="module")
def stores(shards):
    """Groups of `lite`, sampled and judged in both places."""
    for place in PLACES:
        words = ["groups", str(shards), "--out", str(shards.with_name(place)), "--group-size", "8", "--with-truth"]
        critics = ["oracle", "reprojection", "silhouette", "plausibility", "mix", "scorer"]
        assert main([*words, "--critic", *critics, "--device", place, "--quiet"]) == 0
    return {place: GroupStore.open(shards.with_name(place)) for place in PLACES}


def test_groups_are_sampled_and_judged_alike(stores):
    here, there = stores.values()
    for critic in here.critics():
        torch.testing.assert_close(here.scores(critic), there.scores(critic), rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("method", ["sft", "best-of-n", "dpo", "kto", "group", "direct-reward"])
def test_alignment_moves_weights_alike(method, stores, tmp_path):
    (tmp_path / "few.yaml").write_text("min_persons: 1\n")
    for place in PLACES:
        words = ["align", method, "--groups", str(stores["cpu"].folder), "--critic", "reprojection", "--steps", "2"]
        options = ["--config", str(tmp_path / "few.yaml"), "--out", str(tmp_path / place), "--device", place, "--quiet"]
        assert main([*words, *options]) == 0
    here, there = (load_file(tmp_path / place / "model.safetensors") for place in PLACES)
    for name in here:
        torch.testing.assert_close(here[name].float(), there[name].float(), rtol=1e-2, atol=2e-3)


def test_labels_are_judged_alike(shards, tmp_path, capsys):
    kept = []
    for place in PLACES:
        words = ["clean", str(shards), "--out", str(tmp_path / place), "--device", place, "--json"]
        assert main(words) == 0
        kept.append(json.loads(capsys.readouterr().out)["counts"]["kept"])
    assert abs(kept[0] - kept[1]) <= 1


@pytest.mark.parametrize("what", ["base", "judge", "skeleton"])
def test_models_of_views_are_trained_alike(what, tmp_path):
    (tmp_path / "tiny.yaml").write_text("persons: 6\nbatch_size: 4\nsteps: 2\n")
    for place in PLACES:
        words = ["multiview", "train", what, "--config", str(tmp_path / "tiny.yaml"), "--quiet"]
        assert main([*words, "--device", place, "--out", str(tmp_path / place)]) == 0
    (weights,) = (path.name for path in (tmp_path / "cuda").glob("*.safetensors"))
    here, there = (load_file(tmp_path / place / weights) for place in PLACES)
    for name in here:
        torch.testing.assert_close(here[name].float(), there[name].float(), rtol=1e-2, atol=2e-3)
