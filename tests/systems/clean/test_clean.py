"""Labels are judged without their truth, chosen by score, written as data sets; a kill costs one chunk, no byte."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.body.lbs import posed_joints
from hmralign.cleaning.selection import KeepRule
from hmralign.critics.critic import judge
from hmralign.critics.mix import LAB_WEIGHTS
from hmralign.critics.reprojection import ReprojectionCritic
from hmralign.data.prediction_file import read_predictions
from hmralign.data.shards import open_shards, read_index, write_index, write_shard
from hmralign.data.synthetic.label_noise import LabelNoise, with_planted_noise
from hmralign.preferences.person_source import ShardSource
from hmralign.structures import Annotation, Example, Hypotheses, InputError
from hmralign.systems.clean.clean import CleanConfig, clean_labels
from hmralign.systems.clean.folder import read_plan
from hmralign.systems.clean.scores import read_scores, score_labels
from hmralign.systems.clean.sources import (
    LabelBatch,
    LabelSource,
    PredictionLabels,
    ShardLabels,
    joints_apart,
    label_body,
)
from hmralign.training.base_batches import SyntheticBatches
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_data import training_sources
from support import forked
from support.group_stores import files_of
from support.prediction_files import HYP, PERSONS, free_arrays, write
from support.synthetic_persons import BODY, exact, persons, seeded

N = 10
BAD = torch.tensor([False, True, False, False, True, False, False, False, True, False])
CONFIG = CleanConfig(critic="reprojection", keep_share=0.7, chunk_size=4, sheet_items=0)


def labelled() -> Example:
    """Everybody seen where they are, three of them with somebody else's label."""
    return with_planted_noise(BODY, exact(persons(N)), BAD, LabelNoise("wrong_person"), seeded(0))


def shard_folder(folder, example=None, **facts):
    folder.mkdir(parents=True)
    example = labelled() if example is None else example
    for shard, items in enumerate(torch.arange(N).split(6)):
        write_shard(folder, shard, example[items])
    write_index(folder, examples=N, **facts)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return shard_folder(tmp_path_factory.mktemp("source") / "shards", skeleton_hash=BODY.skeleton_hash)


def opened(folder):
    return ShardLabels.open(folder, BODY, "unknown")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def numbers(folder, name):
    return [line["number"] for line in lines(folder / f"{name}.jsonl")]


# -- shards ------------------------------------------------------------------------------------------------------------


def test_bad_labels_are_dropped_with_their_reasons(shards, tmp_path):
    before, out = files_of(shards), tmp_path / "out"
    summary = clean_labels(opened(shards), BODY, out, CONFIG)
    assert files_of(shards) == before
    assert numbers(out, "dropped") == BAD.nonzero()[:, 0].tolist()
    assert numbers(out, "cleaned") == (~BAD).nonzero()[:, 0].tolist()
    line = lines(out / "dropped.jsonl")[0]
    assert line["id"] == "shards:train/000001" and line["reason"].startswith("score -0.")
    assert line["reason"].endswith("(the best 70 %)") and line["score"] < summary["threshold"]
    assert summary == json.loads((out / "summary.json").read_text())
    counts = summary["counts"]
    assert (counts["labels"], counts["kept"], counts["dropped"], counts["not_judged"]) == (N, 7, 3, 0)
    assert sum(summary["scores"]["histogram"]["counts"]) == N and len(summary["scores"]["histogram"]["edges"]) == 21
    assert summary["source"]["labels_by_joints"] == 0 and summary["critic"]["critic"] == "reprojection"
    assert not (out / "sheet.png").exists() and not list((out / "scores").glob("scores_*"))


def test_scores_are_those_of_the_critic_on_the_labels(shards, tmp_path):
    clean_labels(opened(shards), BODY, tmp_path / "out", CONFIG)
    scored = read_scores(tmp_path / "out/scores/scores.safetensors", N)
    example = labelled()
    for person in range(N):
        one = opened(shards).labels(slice(person, person + 1))
        torch.testing.assert_close(one.hypotheses.body.rotmats[0, 0], example.annotation.body.rotmats[person])
        critic = ReprojectionCritic(BODY, torch.zeros(27, 3), torch.full((27,), 0.015))
        ranks = judge(critic, one.hypotheses, Example(example.observation[person : person + 1]))
        assert (float(ranks) < -0.3) == bool(BAD[person])
    assert scored.scores.shape == (N, 1) and scored.judged.all() and scored.parts == {}


class Peeking:
    """A critic that tells whether it was shown the annotation."""

    name, needs_truth, seen = "peeking", False, []

    def __call__(self, hypotheses, example):
        self.seen.append(example.annotation)
        return torch.zeros_like(hypotheses.joints[..., 0, 0])


def test_nobody_sees_the_annotation(shards, tmp_path):
    critic = Peeking()
    score_labels(opened(shards), lambda ids: critic, tmp_path, 4, lambda items, what: items)
    assert critic.seen == [None, None, None]
    assert opened(shards).labels(slice(0, 3)).example.annotation is None


def test_the_copy_is_a_data_set_that_training_takes(shards, tmp_path):
    out = tmp_path / "out"
    summary = clean_labels(opened(shards), BODY, out, replace(CONFIG, write=True))
    assert summary["cleaned"] == "cleaned"
    kept, source = open_shards(out / "cleaned"), open_shards(shards)
    for name, tensor in kept.tensors.items():
        assert torch.equal(tensor, source.tensors[name][~BAD]), name
    index = read_index(out / "cleaned")
    assert index["skeleton_hash"] == BODY.skeleton_hash and index["examples"] == 7
    assert index["cleaned_from"]["kept"] == 7 and index["cleaned_from"]["source_sha256"] == opened(shards).sha256
    training = BaseTrainingConfig(shards=str(out / "cleaned"), shard_share=1.0, batch_size=4, measured_noise=None)
    batch = next(iter(SyntheticBatches(training)))
    assert batch.pose_vector.shape == (4, 130) and training_sources(training) == ("shards:train",)
    again = clean_labels(opened(out / "cleaned"), BODY, tmp_path / "again", replace(CONFIG, keep_share=1.0))
    assert again["counts"]["kept"] == 7


def test_a_copy_says_of_which_split_it_is(tmp_path):
    source = shard_folder(tmp_path / "copy", cleaned_from={"source": "wild/test"})
    config = BaseTrainingConfig(shards=str(source), shard_share=1.0)
    assert training_sources(config) == ("wild/test",) and ShardSource.open(source).name == "wild/test"
    clean_labels(opened(source), BODY, tmp_path / "out", replace(CONFIG, write=True))
    config = BaseTrainingConfig(shards=str(tmp_path / "out/cleaned"), shard_share=1.0)
    assert training_sources(config) == ("wild/test",)


def test_nothing_kept_is_no_data_set(shards, tmp_path):
    config = replace(CONFIG, keep_share=None, threshold=1.0, write=True)
    with pytest.raises(InputError, match="no label reached 1"):
        clean_labels(opened(shards), BODY, tmp_path / "out", config)
    assert not (tmp_path / "out/cleaned").exists() and not (tmp_path / "out/summary.json").exists()


# -- labels whose joints are not their body's --------------------------------------------------------------------------


def test_joints_that_are_the_bodys_leave_the_label_as_it_is():
    annotation = labelled().annotation
    moved = Annotation(annotation.body, annotation.joints + torch.tensor([0.3, 0.1, 1.0]))  # place does not count
    assert not joints_apart(annotation, BODY).any() and not joints_apart(moved, BODY).any()
    assert label_body(annotation, BODY) is annotation.body


def test_joints_of_their_own_are_what_is_judged():
    """The rotations of one person beside the joints of another: the joints are what a model is trained on."""
    annotation = exact(persons(N)).annotation
    other = annotation.joints.roll(1, 0)
    rolled = Annotation(annotation.body, other)
    apart = joints_apart(rolled, BODY)
    body = label_body(rolled, BODY)
    assert apart.sum() > N // 2
    angles = posed_joints(BODY, body)[apart]
    bones = [(1, 4), (4, 7), (16, 18), (18, 20)]
    for a, b in bones:
        made, wanted = angles[:, b] - angles[:, a], (other[:, b] - other[:, a])[apart]
        cosine = torch.nn.functional.cosine_similarity(made, wanted, dim=-1)
        assert float(cosine.min()) > 0.999
    torch.testing.assert_close(posed_joints(BODY, body).mean(1)[apart], other.mean(1)[apart], atol=1e-4, rtol=0)
    assert torch.equal(body.rotmats[~apart], annotation.body.rotmats[~apart])


def test_labels_by_joints_are_counted_and_judged(tmp_path):
    example = exact(persons(N))
    off = example.annotation.joints.clone()
    off[:2, 18:20] += 0.3
    source = opened(
        shard_folder(tmp_path / "s", Example(example.observation, Annotation(example.annotation.body, off)))
    )
    summary = clean_labels(source, BODY, tmp_path / "out", replace(CONFIG, keep_share=0.8))
    assert summary["source"]["labels_by_joints"] == 2 and numbers(tmp_path / "out", "dropped") == [0, 1]


# -- prediction files --------------------------------------------------------------------------------------------------


@pytest.fixture
def predictions(tmp_path):
    """Hypothesis 0 is the truth, but of the last person, whose best is the second."""
    arrays = free_arrays()
    for name in ("global_orient", "body_pose", "betas", "transl"):
        arrays[name][-1, [0, 1]] = arrays[name][-1, [1, 0]]
    return write(tmp_path / "theirs.npz", arrays, mask=np.ones((PERSONS, 48, 48), np.uint8))


def test_the_first_hypothesis_is_judged_or_the_best_one(predictions, tmp_path):
    config = replace(CONFIG, keep_share=0.8, write=True)
    first = clean_labels(PredictionLabels.open(predictions, BODY), BODY, tmp_path / "first", config)
    assert numbers(tmp_path / "first", "dropped") == [PERSONS - 1]
    best = clean_labels(PredictionLabels.open(predictions, BODY, "best"), BODY, tmp_path / "best", config)
    assert best["source"]["hypothesis"] == "best" and first["source"]["hypothesis"] == "first"
    assert read_scores(tmp_path / "best/scores/scores.safetensors", PERSONS).scores.shape == (PERSONS, HYP)
    both = [*lines(tmp_path / "best/cleaned.jsonl"), *lines(tmp_path / "best/dropped.jsonl")]
    chosen = {line["number"]: line["hypothesis"] for line in both}
    assert chosen == {**dict.fromkeys(range(PERSONS - 1), 0), PERSONS - 1: 1}


def test_the_cleaned_file_holds_the_judged_hypotheses(predictions, tmp_path):
    config = replace(CONFIG, keep_share=None, threshold=-0.5, write=True)
    clean_labels(PredictionLabels.open(predictions, BODY, "best"), BODY, tmp_path / "out", config)
    source, cleaned = read_predictions(predictions), read_predictions(tmp_path / "out/cleaned.npz")
    kept = numbers(tmp_path / "out", "cleaned")
    assert kept == list(range(PERSONS)) and cleaned.num_hypotheses == 1
    choice = torch.tensor([0] * (PERSONS - 1) + [1])
    rows = torch.arange(PERSONS)
    assert torch.equal(cleaned.rotmats[:, 0], source.rotmats[rows, choice])
    assert cleaned.ids == source.ids and torch.equal(cleaned.observation.box, source.observation.box)
    with np.load(tmp_path / "out/cleaned.npz") as arrays:
        assert arrays["mask"].dtype == np.uint8 and arrays["skeleton"].shape == ()


# -- critics -----------------------------------------------------------------------------------------------------------


def test_parts_of_a_mix_are_kept_and_sum_to_its_scores(shards, tmp_path):
    clean_labels(opened(shards), BODY, tmp_path / "out", replace(CONFIG, critic="mix"))
    scored = read_scores(tmp_path / "out/scores/scores.safetensors", N)
    assert set(scored.parts) == {"reprojection", "silhouette", "plausibility"}
    assert scored.parts["silhouette"].isnan().all()  # nobody has a mask
    heard = ("reprojection", "plausibility")
    mean = sum(LAB_WEIGHTS[n] * scored.parts[n] for n in heard) / sum(LAB_WEIGHTS[n] for n in heard)
    torch.testing.assert_close(scored.scores, mean)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["judged_by_parts"] == {"plausibility + reprojection": N}
    assert "nothing from silhouette" in lines(tmp_path / "out/dropped.jsonl")[0]["reason"]


def test_labels_without_evidence(shards, tmp_path):
    summary = clean_labels(
        opened(shards), BODY, tmp_path / "out", replace(CONFIG, critic="silhouette", threshold=0.5, keep_share=None)
    )
    assert summary["counts"] | {"at_the_threshold": 0} == {
        "labels": N, "kept": 0, "dropped": N, "not_judged": N, "at_the_threshold": 0,
    }  # fmt: skip
    assert summary["scores"] is None and lines(tmp_path / "out/dropped.jsonl")[0]["score"] is None
    with pytest.raises(InputError, match="no label could be judged"):
        clean_labels(opened(shards), BODY, tmp_path / "share", replace(CONFIG, critic="silhouette"))


@pytest.mark.parametrize(
    ("critic", "words"),
    [("oracle", "needs truth"), ("oracle-noisy", "needs truth"), ("consistency", "compares the hypotheses")],
)
def test_critics_that_cannot_judge_a_label(shards, tmp_path, critic, words):
    with pytest.raises(InputError, match=words):
        clean_labels(opened(shards), BODY, tmp_path / "out", replace(CONFIG, critic=critic))
    assert not (tmp_path / "out").exists()


def test_a_critic_that_draws_does_not_mind_being_stopped(shards, tmp_path):
    config = replace(CONFIG, critic="random", seed=3)
    clean_labels(opened(shards), BODY, tmp_path / "a", config)
    clean_labels(opened(shards), BODY, tmp_path / "b", config)
    other = clean_labels(opened(shards), BODY, tmp_path / "c", replace(config, seed=4))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert other["scores_sha256"] != json.loads((tmp_path / "a/summary.json").read_text())["scores_sha256"]


def test_samples_are_judged_beside_the_labels_and_kept(shards, tmp_path):
    """Another rule needs no new samples; a run with another number of them is another run."""
    first = clean_labels(opened(shards), BODY, tmp_path / "a", CleanConfig(chunk_size=4, sheet_items=2, num_samples=3))
    assert first["reference"]["samples"] == 3 and first["rule"]["margin"] == 0.03
    assert 0 <= first["good_labels_dropped"]["wild/val"] < 0.2
    scored = read_scores(tmp_path / "a/scores/scores.safetensors", N)
    assert scored.reference is not None
    kept = (scored.scores[:, 0] - scored.reference >= -0.03).nonzero()[:, 0].tolist()
    assert numbers(tmp_path / "a", "cleaned") == kept
    once = clean_labels(
        opened(shards),
        BODY,
        tmp_path / "b",
        CleanConfig(chunk_size=4, sheet_items=0, num_samples=3, margin=0.5),
        scores_from=tmp_path / "a",
    )
    assert once["scores_sha256"] == first["scores_sha256"] and once["counts"]["dropped"] <= first["counts"]["dropped"]
    with pytest.raises(InputError, match="reference"):
        clean_labels(
            opened(shards), BODY, tmp_path / "c", CleanConfig(chunk_size=4, num_samples=4), scores_from=tmp_path / "a"
        )


def test_only_scorers_find_their_rule_themselves():
    with pytest.raises(InputError, match="give a threshold or a share"):
        _ = CleanConfig(critic="reprojection").rule
    assert CleanConfig().rule == KeepRule(margin=0.03) and CleanConfig(keep_share=0.5).rule == KeepRule(keep_share=0.5)
    with pytest.raises(InputError, match="exactly one"):
        _ = CleanConfig(threshold=0.5, keep_share=0.5).rule


# -- folders -----------------------------------------------------------------------------------------------------------


def test_the_same_run_again_changes_nothing(shards, tmp_path):
    config = replace(CONFIG, sheet_items=2, write=True)
    clean_labels(opened(shards), BODY, tmp_path / "out", config)
    before = files_of(tmp_path / "out")
    clean_labels(opened(shards), BODY, tmp_path / "out", config)
    assert files_of(tmp_path / "out") == before and "sheet.png" in before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keep_share": 0.5}, "keep_share = 0.7, not 0.5"),
        ({"keep_share": None, "outliers": 2.0}, "keep_share = 0.7, not null"),
        ({"critic": "plausibility"}, "critic = "),
        ({"chunk_size": 5}, "chunk_size = 4, not 5"),
        ({"keep_unjudged": True}, "keep_unjudged"),
    ],
)
def test_a_folder_of_other_settings_is_refused(shards, tmp_path, changes, words):
    clean_labels(opened(shards), BODY, tmp_path / "out", CONFIG)
    before = files_of(tmp_path / "out")
    with pytest.raises(InputError, match=words):
        clean_labels(opened(shards), BODY, tmp_path / "out", replace(CONFIG, **changes))
    assert files_of(tmp_path / "out") == before


def test_folders_that_are_not_ours(shards, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not empty \('note.txt'\)"):
        clean_labels(opened(shards), BODY, tmp_path, CONFIG)
    before = files_of(shards)
    for inside in (shards, shards / "cleaned"):
        with pytest.raises(InputError, match="lies in the source"):
            clean_labels(opened(shards), BODY, inside, CONFIG)
    assert files_of(shards) == before and [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_scores_of_an_earlier_run(shards, tmp_path):
    clean_labels(opened(shards), BODY, tmp_path / "first", CONFIG)
    calls = []

    def progress(items, what):
        calls.extend(items)
        return items

    again = clean_labels(
        opened(shards), BODY, tmp_path / "second", replace(CONFIG, keep_share=None, threshold=-2.0),
        scores_from=tmp_path / "first", progress=progress,
    )  # fmt: skip
    assert calls == [] and again["counts"]["kept"] == N
    with pytest.raises(InputError, match="critic = "):
        clean_labels(opened(shards), BODY, tmp_path / "third", replace(CONFIG, critic="plausibility"),
                     scores_from=tmp_path / "first")  # fmt: skip
    with pytest.raises(InputError, match=r"no plan\.json"):
        clean_labels(opened(shards), BODY, tmp_path / "fourth", CONFIG, scores_from=tmp_path)


def test_damaged_files(shards, tmp_path):
    out = tmp_path / "out"
    clean_labels(opened(shards), BODY, out, CONFIG)
    scores = out / "scores/scores.safetensors"
    scores.write_bytes(scores.read_bytes()[:-9])
    with pytest.raises(InputError, match="not a file of scores"):
        clean_labels(opened(shards), BODY, out, CONFIG)
    scores.unlink()
    clean_labels(opened(shards), BODY, out, CONFIG)
    (out / "plan.json").write_text("{}")
    with pytest.raises(InputError, match="format version None"):
        read_plan(out)


def test_a_critic_that_fails_keeps_what_was_judged(shards, tmp_path):
    class Failing(Peeking):
        name = "failing"

        def __call__(self, hypotheses, example):
            return torch.full_like(hypotheses.joints[..., 0, 0], torch.nan)

    with pytest.raises(InputError, match=r"labels 'shards:train/000004' to 'shards:train/000007'.*'failing'"):
        score_labels(
            opened(shards),
            lambda ids: Failing() if ids[0] == "shards:train/000004" else Peeking(),
            tmp_path,
            4,
            lambda items, what: items,
        )
    assert [p.name for p in tmp_path.iterdir()] == ["scores_00000.safetensors"]


def two_chunks(items, what):
    for number, item in enumerate(items):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item


def test_a_killed_run_is_continued_to_the_same_bytes(shards, tmp_path):
    out = tmp_path / "out"
    killed = forked.run(lambda: clean_labels(opened(shards), BODY, out, CONFIG, progress=two_chunks))
    assert killed == -signal.SIGKILL
    assert sorted(p.name for p in (out / "scores").iterdir()) == [
        "scores_00000.safetensors",
        "scores_00001.safetensors",
    ]
    assert not (out / "summary.json").exists()
    judged = []

    def progress(items, what):
        judged.extend(items)
        return items

    clean_labels(opened(shards), BODY, out, CONFIG, progress=progress)
    clean_labels(opened(shards), BODY, tmp_path / "straight", CONFIG)
    assert judged == [2] and files_of(out) == files_of(tmp_path / "straight")


def test_an_unfinished_copy_is_finished(shards, tmp_path):
    out, config = tmp_path / "out", replace(CONFIG, write=True)
    clean_labels(opened(shards), BODY, out, config)
    before = files_of(out)
    (out / "cleaned/index.json").unlink()
    (out / "cleaned/shard_00000.safetensors").write_bytes(b"half")
    clean_labels(opened(shards), BODY, out, config)
    assert files_of(out) == before


# -- sheet, sources of the user's own ----------------------------------------------------------------------------------


def test_the_sheet_shows_kept_blue_and_dropped_red(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("hmralign.systems.clean.sheet.COLUMNS", 1)
    clean_labels(opened(shards), BODY, tmp_path / "out", replace(CONFIG, sheet_items=2))
    picture = np.asarray(Image.open(tmp_path / "out/sheet.png").convert("RGB")).astype(int)
    upper, lower = picture[: len(picture) // 2], picture[len(picture) // 2 :]
    bluer = [((p[..., 2] - p[..., 0]) > 60).sum() for p in (upper, lower)]
    redder = [((p[..., 0] - p[..., 2]) > 40).sum() for p in (upper, lower)]
    assert bluer[0] > 5 * bluer[1] and redder[1] > redder[0]


class Own:
    """A source of the user's own."""

    name, sha256, detector, facts = "mine", "a" * 64, "unknown", {"kind": "mine"}
    ids = tuple("abc")

    def labels(self, items):
        example = exact(persons(N))[torch.arange(3)[items]]
        one = example.annotation.body[:, None]
        return LabelBatch(Hypotheses(one, posed_joints(BODY, one)), Example(example.observation))


def test_a_source_of_the_users_own(tmp_path):
    assert isinstance(Own(), LabelSource)
    summary = clean_labels(Own(), BODY, tmp_path / "out", replace(CONFIG, keep_share=None, threshold=-0.2))
    assert summary["counts"]["kept"] == 3 and lines(tmp_path / "out/cleaned.jsonl")[1]["id"] == "b"
    with pytest.raises(InputError, match="'mine' is a source of its own kind"):
        clean_labels(Own(), BODY, tmp_path / "copy", replace(CONFIG, threshold=-0.2, keep_share=None, write=True))
