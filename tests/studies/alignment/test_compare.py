"""`hmralign evaluate alignment`: the table, its exit codes, and what it refuses."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from hmralign.cli.main import main
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import InputError
from hmralign.studies.alignment.compare import CompareConfig, compare_aligned, compared_markdown
from hmralign.studies.alignment.measure import BY_REPROJECTION, MeasureConfig
from hmralign.systems.evaluate.predict import PredictConfig
from hmralign.systems.evaluate.run import EvaluateConfig, evaluate_policy
from support.alignment_study import know_splits, tiny_base, tiny_benchmark
from support.openings import read_openings
from support.synthetic_persons import BODY

PREDICT = PredictConfig(SamplerConfig(num_hypotheses=10, num_steps=1), selection=BY_REPROJECTION)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        know_splits(patch)
        yield tiny_benchmark(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    sources = ("tiny/lab", "tiny/train")
    return [tiny_base(folder / "base.safetensors"), tiny_base(folder / "a" / "model.safetensors", 1, sources)]


def argv(data, weights, *more: str) -> list[str]:
    base = ["evaluate", "alignment", "--base", weights[0], "--aligned", *weights[1:], "--data", str(data)]
    usual = {"--split": "tiny/val", "--num-hypotheses": "10", "--num-steps": "1", "--persons": "5"}
    few = [word for option, value in usual.items() if option not in more for word in (option, value)]
    return [*base, *few, "--forgetting-persons", "0", *more]


def test_differences_are_those_of_evaluate(data, weights):
    config = CompareConfig(MeasureConfig(PREDICT), 6, 3, "tiny/labval")
    document = compare_aligned(weights[0], weights[1:], data, "tiny/val", config)
    assert list(document["rows"]) == ["base", "a"] and document["base"] == "base"
    found = [evaluate_policy(w, data, "tiny/val", EvaluateConfig(PREDICT, 6)).evaluation for w in weights]
    change = 1000 * (found[1].columns["fused"] - found[0].columns["fused"]).mean()
    assert document["rows"]["a"]["refined"]["minus_base_mm"]["fused"][0] == pytest.approx(change, abs=0.06)
    assert document["protocols"]["a"]["refined"] == found[1].protocol.record()
    assert document["protocols"]["a"]["raw"]["refinement"]["method"] == "none"
    assert document["rows"]["base"]["forgetting_mm"] == [0.0, 0.0, 0.0]
    assert document["rows"]["a"]["forgetting_mm"] is not None and document["rows"]["a"]["measuring_cpu_seconds"] > 0
    text = compared_markdown(document)
    assert "## Samples as they are" in text and "## With test-time refinement" in text and "rate" not in text


@pytest.mark.parametrize("others", ["tiny/labval", "tiny/train"])
def test_what_was_forgotten_is_the_change_on_the_persons_of_the_forgetting_split(data, weights, others):
    measure = MeasureConfig(PREDICT, kinds=("raw",), temperatures=())
    config = CompareConfig(measure, 4, 5, forgetting_split=others)
    told = compare_aligned(weights[0], weights[1:], data, "tiny/val", config)["rows"]["a"]["forgetting_mm"]
    raw = EvaluateConfig(replace(PREDICT, refinement=RefinementConfig(method="none")), 5)
    base, aligned = (evaluate_policy(w, data, others, raw).evaluation.columns["fused"] for w in weights)
    assert told[0] == pytest.approx(1000 * (aligned - base).mean(), abs=0.06)


def test_a_scorer_has_columns_of_its_own(data, weights):
    measure = MeasureConfig(PREDICT, kinds=("raw",), temperatures=(0.1,))
    config = CompareConfig(measure, 4, 0)
    document = compare_aligned(weights[0], weights[1:], data, "tiny/val", config, PlausibilityCritic(BODY))
    assert {"selected_scorer", "weighted"} <= set(document["rows"]["a"]["raw"]["mm"])
    assert "selected, scorer" in compared_markdown(document) and document["rows"]["a"]["forgetting_mm"] is None


def test_the_command(data, weights, tmp_path, capsys):
    assert main(argv(data, weights, "--json", "--refine", "raw", "--out", str(tmp_path))) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "alignment.json").read_text())
    assert "raw" in document["rows"]["a"] and "refined" not in document["rows"]["a"]
    assert document["protocols"]["a"]["raw"]["persons"] == 5
    assert main(argv(data, weights, "--refine", "refined")) == 0
    out = capsys.readouterr().out
    assert "| a |" in out and "Samples as they are" not in out
    values = document["rows"]["a"]["raw"]["mm"]["fused"]
    assert np.isfinite(values).all() and values[1] <= values[0] <= values[2]


def test_a_test_split_is_logged_for_every_checkpoint(data, weights, tmp_path):
    log = tmp_path / "log.jsonl"
    assert main(argv(data, weights, "--split", "tiny/test", "--log", str(log), "--why", "a table", "--quiet")) == 0
    assert [(e["split"], e["why"], e["predictor"].split("/")[-1]) for e in read_openings(log)] == [
        ("tiny/test", "a table", "base.safetensors"),
        ("tiny/test", "a table", "model.safetensors"),
    ]


@pytest.mark.parametrize(("source", "split"), [("wild/test", "tiny/test"), ("tiny/val", "tiny/val")])
def test_weights_that_have_seen_the_persons_are_refused_before_anything_is_opened(
    data, weights, tmp_path, source, split
):
    seen = tiny_base(tmp_path / "seen.safetensors", sources=(source,))
    log = tmp_path / "log.jsonl"
    config = CompareConfig(MeasureConfig(PREDICT), 4, 0)
    with pytest.raises(InputError, match="would mean nothing"):
        compare_aligned(weights[0], [seen], data, split, config, log=log)
    assert read_openings(log) == []


def test_weights_that_do_not_say_their_sources_are_warned_of(data, weights, tmp_path, caplog):
    silent = tiny_base(tmp_path / "silent.safetensors", sources=())
    config = CompareConfig(MeasureConfig(PREDICT, kinds=("raw",)), 2, 0)
    with caplog.at_level(logging.WARNING, "hmralign.evaluate"):
        compare_aligned(weights[0], [silent], data, "tiny/test", config, log=tmp_path / "log.jsonl")
    assert ["silent.safetensors does not say" in r.message for r in caplog.records] == [True]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--split", "tiny/nothing"], "no split"),
        (["--persons", "9"], "1 to 8"),
        (["--num-hypotheses", "9"], "--num-hypotheses is 9"),
        (["--temperature", "0"], "positive"),
        (["--aligned", "nothing.safetensors"], "no such checkpoint"),
        (["--scorer", "oracle"], "needs ground truth"),
        (["--refine", "twice"], "twice"),
        (["--threads", "0"], "--threads is 0"),
    ],
)
def test_wrong_input(data, weights, capsys, more, sentence):
    assert main(argv(data, weights, *more)) == 2
    assert sentence in capsys.readouterr().err


def test_nothing_to_compare(data, weights, capsys):
    words = argv(data, weights)
    place = words.index("--aligned")
    end = next((n for n, word in enumerate(words[place + 1 :], place + 1) if word.startswith("--")), len(words))
    assert main([*words[: place + 1], *words[end:]]) == 2
    assert "no aligned checkpoint" in capsys.readouterr().err


def test_a_checkpoint_may_still_be_called_alignment(data, tmp_path, monkeypatch, capsys):
    tiny_base(tmp_path / "alignment")
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", "./alignment", "--data", str(data), "--split", "tiny/val", "--out", "out", "--persons", "2"]
    assert main([*command, "--num-hypotheses", "2", "--num-steps", "1", "--quiet"]) == 0
    assert (tmp_path / "out" / "metrics.json").is_file()
