"""Tables: intervals in mm, the same every time; differences only of the same persons; recalibrations survive a file."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.evaluation.markdown import ANSWERS, evaluation_markdown
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.protocol import NOT_SAID, Protocol, known_sources, may_have_seen, require_unseen
from hmralign.evaluation.summary import (
    CALIBRATED_JOINTS,
    Evaluation,
    calibration_of,
    differences,
    fit_on,
    gaussians_of,
    read_recalibration,
    recalibration_record,
    require_recalibration_of,
)
from hmralign.structures import InputError
from support.openings import read_openings
from support.synthetic_persons import seeded

N = 40


def protocol(**changes):
    facts = dict(
        benchmark="synthwild-v1", split="wild/val", split_sha256="a" * 64, agreement="identical", persons=N,
        predictor="model", predictor_sha256="b" * 64, trained_on=(), skeleton_hash="c" * 64, mesh_hash="d" * 64,
        num_hypotheses=10, sampler_steps=5,
    )  # fmt: skip
    return Protocol(**{**facts, **changes})


def groups(seed=0, too_sure=2.0):
    g = seeded(seed)
    truth = torch.randn(N * 5, 29, 3, generator=g)
    joints = truth[:, None] + 0.1 * torch.randn(N * 5, 1, 29, 3, generator=g)
    return joints + 0.1 / too_sure * torch.randn(N * 5, 30, 29, 3, generator=g), truth


def evaluation(shift=0.0, **changes):
    values = np.random.default_rng(0).gamma(4.0, 0.02, N) + shift
    columns = {name: values for name in ("single", "selected", "fused", "fused_pa", "fused_pve", "spread")}
    columns["failed"] = np.zeros(N)
    mask = np.arange(N) % 2 == 0
    nobody = np.zeros(N, bool)
    joints, truth = groups()
    calibration = calibration_of(gaussians_of(joints), truth, None)
    return Evaluation(protocol(**changes), columns, {"even": mask, "nobody": nobody}, calibration)


def test_the_record_is_plain_repeats_itself_and_holds_the_protocol():
    record = evaluation().record()
    assert json.dumps(record, sort_keys=True, allow_nan=False) == json.dumps(
        evaluation().record(), sort_keys=True, allow_nan=False
    )
    assert record["protocol"]["split_sha256"] == "a" * 64 and record["failures"] == 0
    mean, low, high = record["all"]["fused_mm"]
    assert low < mean < high and mean == pytest.approx(1000 * evaluation().columns["fused"].mean(), abs=0.06)
    assert record["slices"]["even"]["persons"] == N // 2 and record["slices"]["nobody"] == {"persons": 0}
    of_slice = 1000 * evaluation().columns["fused"][::2].mean()
    assert record["slices"]["even"]["fused_mm"][0] == pytest.approx(of_slice, abs=0.06) and abs(of_slice - mean) > 0.2


def test_differences_are_paired():
    found = differences(evaluation(0.005), evaluation(), ("fused",))
    assert found["fused_mm"] == [5.0, 5.0, 5.0]
    with pytest.raises(InputError, match="other persons"):
        differences(evaluation(), evaluation(split_sha256="e" * 64), ("fused",))
    with pytest.raises(InputError, match="'min_of_10' was not measured"):
        differences(evaluation(), evaluation(), ("min_of_10",))


def test_markdown_says_protocol_failures_and_every_number():
    document = {
        "predictors": {"a": evaluation().record(), "b": evaluation(0.01).record()},
        "differences to a": {"b": differences(evaluation(0.01), evaluation(), ("single", "fused"))},
    }
    text = evaluation_markdown(document)
    assert "synthwild-v1 wild/val: 40 persons" in text and "not comparable with published" in text
    assert "aaaaaaaaaaaa" in text and "a: 0, b: 0" in text and "10.0 (10.0 to 10.0)" in text
    assert "even (20)" in text and "nobody (0)" in text


def test_every_number_stands_under_its_own_name():
    """All figures of all tables differ, and each is read back from the column that a reader would look in."""
    ev = evaluation()
    names = [f"{a}{s}" for a in (*ANSWERS, "fused_plane", "fused_depth", "fused_pve", "fused_pa_pve", "selected_pve",
                                 "spread") for s in ("", "_pa")]  # fmt: skip
    columns = {name: np.full(N, 0.01 * (k + 1)) for k, name in enumerate(names)} | {"failed": np.zeros(N)}
    text = evaluation_markdown({"predictors": {"a": replace(ev, columns=columns, slices={}).record()}})
    headings = {
        "MPJPE": {**{a: a for a in ("single", "selected", "fused")}, "zero noise": "zero_noise",
                  **{f"min of {m} (oracle)": f"min_of_{m}" for m in (10, 100, 200)}},
        "Parts of the error, mesh, spread": {
            "fused, image plane": "fused_plane", "fused, depth": "fused_depth", "fused PVE": "fused_pve",
            "fused PA-PVE": "fused_pa_pve", "selected PVE": "selected_pve", "spread": "spread",
        },
    }  # fmt: skip
    headings["PA-MPJPE"] = {label: f"{name}_pa" for label, name in headings["MPJPE"].items()}
    for title, wanted in headings.items():
        header, _, row = text.split(f"## {title}\n\n")[1].split("\n")[:3]
        found = dict(zip(header.strip("| ").split(" | "), row.strip("| ").split(" | ")[1:], strict=True))
        for label, name in wanted.items():
            value = round(1000 * columns[name][0], 1)
            assert found[label] == f"{value} ({value} to {value})", (title, label)


def test_recalibration_survives_a_file_and_is_refused_when_it_lacks_a_joint():
    joints, truth = groups()
    fitted = fit_on(gaussians_of(joints), truth)
    record = json.loads(json.dumps(recalibration_record(fitted, protocol())))
    back = read_recalibration(record)
    torch.testing.assert_close(back.scale, fitted.scale, atol=1e-4, rtol=0)
    before, after = calibration_of(gaussians_of(joints), truth, back).values()
    assert after.expected_calibration_error < before.expected_calibration_error
    del record["joints"][CALIBRATED_JOINTS[3]]
    with pytest.raises(InputError, match="lacks a joint"):
        read_recalibration(record)
    for wrong, said in (({"format_version": 7}, "format 7"), ([], "mapping")):
        with pytest.raises(InputError, match=said):
            read_recalibration(wrong)


def test_a_recalibration_of_other_weights_or_settings_is_refused():
    joints, truth = groups()
    record = recalibration_record(fit_on(gaussians_of(joints), truth), protocol())
    require_recalibration_of(record, protocol())
    for changes in ({"predictor_sha256": "0" * 64}, {"refinement": {"method": "none"}}):
        with pytest.raises(InputError, match="fitted with another"):
            require_recalibration_of(record, protocol(**changes))


@pytest.mark.parametrize("source", ["prior:heldout", "wild/test", "pose_file:abc:test"])
def test_weights_that_saw_the_test_clips_are_refused_on_test_splits(source):
    with pytest.raises(InputError, match="would mean nothing"):
        require_unseen(("prior:train", source), "lab/test")
    require_unseen(("prior:train", source), "lab/val")
    require_unseen(("prior:train", "lab/train", "pose_file:abc:train"), "wild/test")


def test_weights_that_do_not_say_their_sources_pass_and_are_marked():
    require_unseen((), "wild/test")
    assert known_sources(()) == (NOT_SAID,) and known_sources(("prior:train",)) == ("prior:train",)
    for sources in ((), (NOT_SAID,)):
        assert may_have_seen(sources, "wild/test") and not may_have_seen(sources, "wild/val")
    assert not may_have_seen(("prior:train",), "wild/test")


def test_markdown_names_those_of_whom_it_is_not_known():
    def text(**changes):
        known = evaluation(trained_on=("prior:train",), split="wild/test").record()
        return evaluation_markdown({"predictors": {"known": known, "silent": evaluation(**changes).record()}})

    said = "not said by the weights of silent."
    assert said in text(split="wild/test", trained_on=(NOT_SAID,)) and said in text(split="wild/test", trained_on=())
    assert "not said" not in text(split="wild/test", trained_on=("lab/train",))
    assert "not said" not in text(split="wild/val", trained_on=())


def test_every_opening_is_logged_before_it_happens(tmp_path):
    log = tmp_path / "logs" / "openings.jsonl"
    assert read_openings(log) == []
    log_opening(log, "wild/test", "a table", predictor="lite")
    log_opening(log, "lab/test", "another")
    lines = read_openings(log)
    assert [line["split"] for line in lines] == ["wild/test", "lab/test"] and lines[0]["why"] == "a table"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        log_opening(tmp_path / "file" / "log.jsonl", "wild/test", "no folder")
