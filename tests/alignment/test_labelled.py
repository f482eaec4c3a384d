"""Half truth: which persons count as labelled, who judges them, and how much of a batch they are."""

from dataclasses import replace

import pytest
import torch

from hmralign.alignment.labelled import LabelledConfig, label_groups
from hmralign.alignment.methods.dpo import ADHMR_CODE, DpoConfig, dpo_items
from hmralign.alignment.methods.group import GPA_CODE
from hmralign.alignment.methods.sft import true_samples
from hmralign.alignment.scored_groups import load_groups
from hmralign.storage.presets import preset_path
from hmralign.structures import InputError
from hmralign.systems.align.configuration import RefreshConfig, read_align_config, recommended
from hmralign.systems.align.run import align_policy, step_losses
from support.synthetic_persons import BODY, seeded
from support.toy_policy import tiny_policy, tiny_store

HALF = LabelledConfig(share=0.5)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny_store(tmp_path_factory.mktemp("store"), ("random", "oracle-gpa", "plausibility"))


@pytest.fixture(scope="module")
def groups(store):
    return load_groups(store, "random", tiny_policy(), "tiny", truth=True)


def test_labelled_persons_are_judged_by_the_truth_and_the_others_never(store, groups):
    found = label_groups(groups, store.scores("oracle-gpa"), HALF, 0)
    assert found.labelled.sum() == 6
    assert torch.equal(found.scores[found.labelled], store.scores("oracle-gpa")[found.labelled])
    assert torch.equal(found.scores[~found.labelled], groups.scores[~found.labelled])
    again, other = (label_groups(groups, None, HALF, seed) for seed in (0, 1))
    assert torch.equal(again.labelled, found.labelled) and not torch.equal(other.labelled, found.labelled)
    assert torch.equal(again.scores, groups.scores)
    some = found[torch.tensor([3, 1])]
    assert torch.equal(some.labelled, found.labelled[[3, 1]])
    assert label_groups(groups, None, LabelledConfig(), 0) is groups


def test_a_share_that_leaves_one_kind_empty_is_refused(groups):
    with pytest.raises(InputError, match="without any"):
        label_groups(groups, None, LabelledConfig(share=0.01), 0)
    for wrong in ({"share": 1.0}, {"share": 0.5, "batch_share": 0.0}, {"share": 0.5, "batch_share": 1.0}):
        with pytest.raises(InputError, match="labelled: share"):
            LabelledConfig(**wrong)


@pytest.mark.parametrize(("share", "batch_share"), [(0.5, 0.5), (0.25, 0.5), (0.5, 0.25)])
def test_each_batch_has_the_partition_weight_of_labelled_persons(store, groups, share, batch_share):
    labelled = LabelledConfig(share, "oracle-gpa", batch_share)
    config = recommended("group", settings=replace(GPA_CODE, drawn=4), critic="random", labelled=labelled)
    config = replace(config, training=replace(config.training, batch_size=32))
    marked = label_groups(groups, store.scores("oracle-gpa"), labelled, 0)
    step = step_losses(tiny_policy(), tiny_policy(), marked, BODY, config)
    seen = [marked.labelled[step.items.person[step._batch(number)]] for number in range(9)]
    assert [int(batch.sum()) for batch in seen] == [round(8 * batch_share)] * 9
    of_kind = [step.items.person[step._batch(n)][seen[n]] for n in range(9)]
    counts = torch.bincount(torch.cat(of_kind), minlength=12)[marked.labelled]
    assert counts.max() - counts.min() <= 1, "whole passes over each kind"


def test_half_of_adhmrs_code_is_truth_against_the_mode(groups):
    marked = label_groups(groups, None, HALF, 0)
    config = replace(ADHMR_CODE, top_k=2)
    items = dpo_items(marked, tiny_policy(), config, seeded(0))
    labelled = marked.labelled[items.person]
    assert int(labelled.sum()) == 6 and int((~labelled).sum()) == 12  # K pairs of each of the other six
    truth = true_samples(groups, tiny_policy(), "dpo")
    torch.testing.assert_close(items.x_0[labelled, 0], truth[items.person[labelled], 0])
    assert torch.equal(items.x_0[labelled, 1], groups.x_0[items.person[labelled], 0])
    for person, (chosen, rejected) in zip(items.person[~labelled], items.x_0[~labelled], strict=True):
        better, worse = (
            groups.scores[person, (groups.x_0[person] == x).all(-1).nonzero()[0, 0]] for x in (chosen, rejected)
        )
        assert better > worse
    with pytest.raises(InputError, match=r"labelled\.share above 0"):
        dpo_items(groups, tiny_policy(), config, seeded(0))
    assert "labelled" not in DpoConfig().labelled_pairs


def test_the_presets_of_the_public_codes():
    adhmr = read_align_config(preset_path("align", "adhmr-code"))
    assert adhmr.settings == ADHMR_CODE and adhmr.labelled == LabelledConfig(0.5, None, 0.5)
    assert adhmr.training.halved_at == 0.7 and adhmr.scores == ("reprojection",)
    gpa = read_align_config(preset_path("align", "gpa-code"))
    assert gpa.labelled.share == 0 and gpa.scores == ("reprojection",)
    assert replace(gpa, labelled=HALF).scores == ("reprojection", "oracle-gpa")


def test_labels_need_a_method_with_scores_that_are_not_refreshed():
    with pytest.raises(InputError, match="trains on scores"):
        recommended("sft", labelled=HALF)
    with pytest.raises(InputError, match=r"refresh\.rounds = 1"):
        recommended("group", labelled=HALF, refresh=RefreshConfig(rounds=2))


@pytest.mark.parametrize("name", ["gpa-code", "adhmr-code"])
def test_the_public_codes_end_to_end(name, store, tmp_path):
    config = read_align_config(preset_path("align", name))
    few = {"drawn": 6} if name == "gpa-code" else {"top_k": 2}
    config = replace(
        config, critic="random", settings=replace(config.settings, **few), min_persons=1, held_out_hypotheses=4,
        labelled=replace(config.labelled, share=0.5), held_out_share=0.2,
        training=replace(config.training, steps=3, batch_size=16, check_every=2),
    )  # fmt: skip
    straight = align_policy(tiny_policy(), "tiny", BODY, store, config, tmp_path / "a")
    assert straight.stopped is None and straight.groups == 10
    start = tiny_policy().state_dict()
    moved = [name for name, value in straight.policy.state_dict().items() if not torch.equal(value, start[name])]
    assert moved and all(name.startswith("model.denoiser") for name in moved)
