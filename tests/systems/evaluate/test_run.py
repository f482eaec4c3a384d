"""Checkpoints on a tiny split: the same JSON twice, failures counted, test readings logged, nothing unseen opened."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.cli.main import main
from hmralign.data.synthetic.synthwild import SPLITS, Split
from hmralign.data.synthwild_folder import open_split
from hmralign.evaluation.person_errors import FAILURE_ERROR
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.models.checkpoint import save_checkpoint, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import InputError
from hmralign.systems.evaluate.compare import compare_checkpoints
from hmralign.systems.evaluate.predict import PredictConfig, predict_in_batches
from hmralign.systems.evaluate.run import EvaluateConfig, evaluate_policy, measure, protocol_of, recalibrate
from hmralign.systems.synth.write_synthwild import write_benchmark
from support.openings import read_openings
from support.synthetic_persons import BODY, tiny_model

CONFIG = EvaluateConfig(PredictConfig(sampler=SamplerConfig(num_hypotheses=12, num_steps=2), batch=7))


@pytest.fixture(autouse=True)
def splits(monkeypatch):
    monkeypatch.setitem(SPLITS, "tiny/val", Split("wild", "train", 20, 991, 0.6))
    monkeypatch.setitem(SPLITS, "tiny/test", Split("wild", "heldout", 20, 992, 0.6))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPLITS, "tiny/val", Split("wild", "train", 20, 991, 0.6))
        patch.setitem(SPLITS, "tiny/test", Split("wild", "heldout", 20, 992, 0.6))
        write_benchmark(folder, ["tiny/val", "tiny/test"])
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return [
        str(
            save_checkpoint(
                folder / f"model_{k}.safetensors", tiny_model(k), BODY.skeleton_hash, sources=("prior:train",)
            )
        )
        for k in (0, 1)
    ]


def test_twice_gives_the_same_json_and_the_batch_size_does_not_matter(data, weights, tmp_path):
    for name in ("a", "b"):
        compare_checkpoints(weights, data, "tiny/val", CONFIG, tmp_path / name)
    other = replace(CONFIG, predict=replace(CONFIG.predict, batch=20))
    compare_checkpoints(weights, data, "tiny/val", other, tmp_path / "c")
    first = (tmp_path / "a" / "metrics.json").read_bytes()
    assert first == (tmp_path / "b" / "metrics.json").read_bytes()
    one, another = json.loads(first), json.loads((tmp_path / "c" / "metrics.json").read_bytes())
    for column, values in one["predictors"]["model_0"]["all"].items():
        assert values == pytest.approx(another["predictors"]["model_0"]["all"][column], abs=0.11), column


def test_what_an_evaluation_writes(data, weights, tmp_path):
    document = compare_checkpoints(weights, data, "tiny/val", CONFIG, tmp_path)
    record = document["predictors"]["model_0"]
    assert record["protocol"]["trained_on"] == ("prior:train",) and record["protocol"]["num_hypotheses"] == 12
    assert {"single_mm", "selected_mm", "fused_mm", "min_of_10_mm", "fused_pve_mm", "spread_mm"} <= set(record["all"])
    assert "min_of_100_mm" not in record["all"]
    assert set(document["differences to model_0"]) == {"model_1"}
    with np.load(tmp_path / "persons_model_1.npz") as columns:
        assert columns["fused"].shape == (20,)
        assert 1000 * columns["fused"].mean() == pytest.approx(
            document["predictors"]["model_1"]["all"]["fused_mm"][0], abs=0.1
        )
    assert "## Slices" in (tmp_path / "metrics.md").read_text() and (tmp_path / "calibration.png").stat().st_size > 5000
    assert (tmp_path / "recalibration_model_0.json").exists()


def test_recalibration_from_validation_is_used_on_test(data, weights, tmp_path):
    compare_checkpoints(weights[:1], data, "tiny/val", CONFIG, tmp_path / "val")
    document = compare_checkpoints(
        weights[:1], data, "tiny/test", CONFIG, tmp_path / "test",
        recalibrations=[tmp_path / "val" / "recalibration_model_0.json"], why="the table of the note",
    )  # fmt: skip
    seen = document["predictors"]["model_0"]["calibration"]
    assert seen["recalibrated"]["expected_calibration_error_mm"] < seen["as predicted"]["expected_calibration_error_mm"]
    assert not (tmp_path / "test" / "recalibration_model_0.json").exists()
    assert read_openings(data / "test_openings.jsonl")[-1]["why"] == "the table of the note"


def test_recalibration_is_never_fitted_on_test(data, weights, tmp_path):
    measured = evaluate_policy(weights[0], data, "tiny/test", CONFIG, log=tmp_path / "log.jsonl")
    with pytest.raises(InputError, match="validation persons"):
        recalibrate(measured)
    assert len(read_openings(tmp_path / "log.jsonl")) == 1


def test_weights_that_saw_the_test_clips_do_not_open_the_split(data, tmp_path):
    path = save_checkpoint(tmp_path / "m.safetensors", tiny_model(), BODY.skeleton_hash, sources=("wild/test",))
    assert trained_on(path) == ("wild/test",)
    with pytest.raises(InputError, match="would mean nothing"):
        evaluate_policy(path, data, "tiny/test", CONFIG, log=tmp_path / "log.jsonl")
    assert read_openings(tmp_path / "log.jsonl") == []


def test_weights_that_do_not_say_their_sources_are_marked_on_a_test_split(data, tmp_path, caplog):
    path = str(save_checkpoint(tmp_path / "m.safetensors", tiny_model(), BODY.skeleton_hash))
    with caplog.at_level(logging.WARNING, "hmralign.evaluate"):
        compare_checkpoints([path], data, "tiny/val", CONFIG, tmp_path / "val")
        assert not caplog.records
        document = compare_checkpoints([path], data, "tiny/test", CONFIG, tmp_path / "t", log=tmp_path / "log.jsonl")
    assert [r.message for r in caplog.records if "does not say what it was trained on" in r.message] == [
        f"{path} does not say what it was trained on; whether the persons of tiny/test were new to it is not known"
    ]
    assert document["predictors"]["m"]["protocol"]["trained_on"] == ("not said by the weights",)
    assert "not said by the weights of m." in (tmp_path / "t" / "metrics.md").read_text()
    assert "not said by the weights" not in (tmp_path / "val" / "metrics.md").read_text()


def test_a_model_that_gives_nan_is_counted_not_dropped(data, weights):
    split = open_split(data, "tiny/val")
    model = tiny_model()

    def broken():
        for part, predicted in predict_in_batches(LitePolicy(model, BODY), split.examples.observation, CONFIG.predict):
            joints = predicted.joints.clone()
            joints[0, 3] = torch.nan
            yield part, replace(predicted, joints=joints)

    protocol = protocol_of(split, BODY, CONFIG, "broken", "0", ())
    clean = measure(
        predict_in_batches(LitePolicy(model, BODY), split.examples.observation, CONFIG.predict), split, BODY, protocol
    ).evaluation
    record = (measured := measure(broken(), split, BODY, protocol)).evaluation.record()
    assert record["failures"] == 3 and measured.evaluation.columns["fused"][0] == FAILURE_ERROR
    assert record["all"]["fused_mm"][0] > clean.record()["all"]["fused_mm"][0]
    assert np.isfinite(list(record["all"].values())).all()


def test_truth_does_not_reach_the_model_or_the_critics(data, weights):
    """Corrupted annotations change the errors, never the predictions."""
    split, policy = open_split(data, "tiny/val"), LitePolicy(tiny_model(), BODY)
    seen = [
        p for _, p in predict_in_batches(LitePolicy(tiny_model(), BODY), split.examples.observation, CONFIG.predict)
    ]
    tensors = {**split.shards.tensors, "joints": torch.randn_like(split.shards.tensors["joints"])}
    other = replace(split, shards=replace(split.shards, tensors=tensors))
    again = [p for _, p in predict_in_batches(policy, other.examples.observation, CONFIG.predict)]
    assert all(
        torch.equal(a.fused, b.fused) and torch.equal(a.selected, b.selected) for a, b in zip(seen, again, strict=True)
    )


def test_neither_batches_nor_company_change_a_persons_noise(data, weights):
    seen, policy = open_split(data, "tiny/val").examples.observation, LitePolicy(tiny_model(), BODY)
    config = replace(CONFIG.predict, refinement=RefinementConfig(method="none"))
    whole = [p.joints for _, p in predict_in_batches(policy, seen, replace(config, batch=100))]
    parts = [p.joints for _, p in predict_in_batches(policy, seen, replace(config, batch=3))]
    # Metres. Kernels round by the size of a batch, up to 0.13 mm with plain ones; other noise is centimetres.
    torch.testing.assert_close(torch.cat(parts), torch.cat(whole), atol=5e-4, rtol=0)
    few = [p.joints for _, p in predict_in_batches(policy, seen[:5], config)]
    torch.testing.assert_close(torch.cat(few), torch.cat(whole)[:5], atol=5e-4, rtol=0)


def test_the_command(data, weights, tmp_path, capsys):
    argv = ["evaluate", *weights, "--data", str(data), "--split", "tiny/val", "--out", str(tmp_path / "out"),
            "--num-hypotheses", "10", "--num-steps", "1", "--persons", "8", "--json"]  # fmt: skip
    assert main(argv) == 0
    out = json.loads(capsys.readouterr().out)
    assert out["predictors"]["model_0"]["protocol"]["persons"] == 8


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--split", "tiny/nothing"], "no split"),
        (["--persons", "21"], "1 to 20"),
        (["--num-hypotheses", "0"], "at least 1"),
        (["--recalibration", "nothing.json"], "1 recalibration for 2 checkpoints"),
    ],
)
def test_wrong_input(data, weights, tmp_path, capsys, change, sentence):
    base = ["evaluate", *weights, "--data", str(data), "--out", str(tmp_path / "out")]
    split = [] if "--split" in change else ["--split", "tiny/val"]
    assert main([*base, *split, *change]) == 2
    assert sentence in capsys.readouterr().err
