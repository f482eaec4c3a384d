"""From a published data set to figures, through the commands, on stand-ins: base, groups, DPO, GPA's code, figures."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import yaml

import hmralign
import hmralign.systems.clean.scores as scores
from hmralign.body.free_body import load_free_body
from hmralign.cli.main import main
from hmralign.data.dataset import DatasetSetting
from support import forked
from support.foreign_predictions import write_4d_humans
from support.published_datasets import (
    body_file,
    opener,
    people,
    same_shape,
    write_3dpw,
    write_3dpw_json,
    write_bedlam,
    write_h36m,
    write_human_data,
)
from support.tiny_paper import TINY_PAPER


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return tmp_path_factory.mktemp("bodies")


PRESETS = Path(hmralign.__file__).parent / "storage/assets/presets/align"


def configuration(path: Path) -> Path:
    model = json.loads(json.dumps(dataclasses.asdict(TINY_PAPER)))
    path.write_text(yaml.safe_dump({"model": model, "batch_size": 4, "epochs": 20, "save_every": 1000}))
    return path


def said(capsys, *words: object) -> dict:
    assert main([*map(str, words), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


WAYS = {
    "3dpw": (write_3dpw, ("train", "test"), {}, True),
    "h36m": (write_h36m, ("train", "test"), {}, True),
    "human-data": (write_human_data, ("toy_train", "toy_train"), {}, False),
}


@pytest.mark.parametrize("dataset", ["3dpw", *(pytest.param(d, marks=pytest.mark.slow) for d in WAYS if d != "3dpw")])
def test_from_a_data_set_to_figures(dataset, bodies, tmp_path, capsys):
    """3DPW and Human3.6M on the body of their labels, HumanData carried over to the free body."""
    write, (train, test), options, own_body = WAYS[dataset]
    label_body = body_file(str(bodies))
    who = same_shape(people(label_body))
    for split in dict.fromkeys((train, test)):
        write(tmp_path / "set", who, **({} if dataset == "human-data" else {"split": split}), **options)
    data = ["--data", tmp_path / "set", "--dataset", dataset]
    body = ["--body", label_body] if own_body else ["--label-body", label_body]
    bound = ["--body", label_body] if own_body else []

    base, config = tmp_path / "base/hyponet.safetensors", configuration(tmp_path / "tiny.yaml")
    words = ["train", "paper", "--config", config, *data, "--split", train, *body, "--out", tmp_path / "base"]
    assert main([*map(str, words)]) == 0 and base.is_file()
    capsys.readouterr()

    store = tmp_path / "groups"
    words = ["groups", *data, "--split", train, *body, "--checkpoint", base, "--group-size", 22, "--num-steps", 2]
    document = said(capsys, *words, "--critic", "reprojection", "oracle", "--with-truth", "--out", store)
    assert document["groups"] == (3 if dataset == "3dpw" else 4)

    aligned = [base]
    for name, way in (("dpo", ["dpo", "--critic", "oracle"]), ("gpa-code", [])):
        settings = tmp_path / f"{name}.yaml"
        shipped = (PRESETS / "gpa-code.yaml").read_text() if name == "gpa-code" else ""
        settings.write_text(f"{shipped}\nmin_persons: 1\n")
        words = [
            "align",
            *way,
            "--config",
            settings,
            "--groups",
            store,
            "--checkpoint",
            base,
            *bound,
            "--steps",
            2,
            "--out",
            tmp_path / name,
        ]
        aligned.append(Path(said(capsys, *words)["checkpoint"]))

    words = ["evaluate", *aligned, *data, "--split", test, *body, "--num-hypotheses", 3, "--num-steps", 2]
    log = ["--log", tmp_path / "log.jsonl"]
    if dataset != "human-data" and train != test:
        document = said(capsys, *words, *log, "--out", tmp_path / "evaluation")
        protocol = next(iter(document["predictors"].values()))["protocol"]
        assert protocol["split"] == f"{dataset}/{test}" and "never run on a real file" in protocol["labels"]
        assert "as annotated" in protocol["joints"] or "annotated bodies" in protocol["joints"]
        assert (tmp_path / "log.jsonl").read_text().count("\n") == 3 * (test == "test")
        assert f"{dataset}/{train}" in protocol["trained_on"]
    else:
        document = said(capsys, *words, "--out", tmp_path / "evaluation")
        protocol = next(iter(document["predictors"].values()))["protocol"]
        assert "carried over to free_body" in protocol["labels"] and "carried over" in protocol["joints"]
    assert len(document["predictors"]) == 3
    split = [] if own_body else ["--split", test, "--label-body", label_body]
    body_of_figures = who.body if own_body else load_free_body("3k5")
    measure_by_protocols(dataset, body_of_figures, aligned[1], [*data, *split], bound, tmp_path, capsys)


def measure_by_protocols(dataset, body, checkpoint, data, bound, folder, capsys) -> None:
    """Both protocols, with a made-up regressor of 17 joints; the stand-in is not SMPL, so none is published."""
    regressor = np.zeros((17, body.num_vertices), np.float32)
    regressor[np.arange(17), np.arange(17) * 100] = 1
    np.save(folder / "J_regressor_h36m.npy", regressor)
    words = ["evaluate", checkpoint, *data, *bound, "--h36m-regressor", folder / "J_regressor_h36m.npy"]
    small = ["--num-hypotheses", 6, "--num-steps", 2, "--log", folder / "log.jsonl"]
    found = {}
    for protocol in ("scorehypo-code", "clean"):
        found[protocol] = said(capsys, *words, *small, "--protocol", protocol, "--out", folder / protocol)
        text = (folder / protocol / "benchmark.md").read_text()
        assert f"Protocol {protocol}: " in text and "No published figure stands here: " in text
        assert "the body has" in text or "free body" in text
    code, clean = found["scorehypo-code"], found["clean"]
    assert code["data"]["persons"] == 1 and clean["data"]["persons"] == (3 if dataset == "3dpw" else 4)
    assert "true joints" in code["data"]["crop"] and "true joints" not in clean["data"]["crop"]
    for document in found.values():
        rows = document["rows_mm"]
        assert {"min of 6", "single (mean error)", "selected", "mean of the 5 selected", "mean of all"} <= set(rows)
        for metric in ("pve", "mpjpe", "pa_mpjpe"):
            assert rows["min of 6"][metric][0] <= min(rows[name][metric][0] for name in ("selected", "hypothesis 0"))


def test_a_model_without_pixels_is_evaluated_on_carried_over_labels(bodies, tmp_path, capsys):
    who = people(body_file(str(bodies)))
    write_3dpw_json(tmp_path / "set", who, split="validation")
    words = ["evaluate", "lite", "--data", tmp_path / "set", "--dataset", "3dpw-json", "--split", "val"]
    small = ["--num-hypotheses", 4, "--num-steps", 2, "--out", tmp_path / "out"]
    without = said(capsys, *words, *small)
    assert without["predictors"]["lite"]["protocol"]["persons"] == 4
    assert "by the annotated joints" in without["predictors"]["lite"]["protocol"]["labels"]
    own = said(capsys, *words, *small, "--label-body", body_file(str(bodies)), "--gender", "neutral", "--every", 2)
    assert own["predictors"]["lite"]["protocol"]["persons"] == 2
    assert "(retargeted)" in own["predictors"]["lite"]["protocol"]["labels"]
    assert "truth that a model gets to see" in own["predictors"]["lite"]["protocol"]["keypoints"]


def test_labels_of_a_data_set_are_cleaned_by_their_own_names(bodies, tmp_path, capsys):
    who = people(body_file(str(bodies)))
    write_h36m(tmp_path / "set", who)
    words = ["clean", "--data", tmp_path / "set", "--dataset", "h36m", "--split", "test", "--critic", "reprojection"]
    document = said(capsys, *words, "--keep-share", 0.6, "--sheet-items", 0, "--out", tmp_path / "clean")
    counts = document["counts"]
    assert (counts["labels"], counts["kept"], counts["dropped"], counts["not_judged"]) == (4, 2, 2, 0)
    names = [json.loads(line)["id"] for line in (tmp_path / "clean/cleaned.jsonl").read_text().splitlines()]
    assert all(name.startswith("Sample_20_test_Human36M_smpl_protocol_2.json:") for name in names)
    write_bedlam(tmp_path / "bedlam", people(body_file(str(bodies), 55)))
    words = ["clean", "--data", tmp_path / "bedlam", "--dataset", "bedlam", "--split", "train", "--keep-share", 0.6]
    assert main([*map(str, words), "--critic", "reprojection", "--write", "--out", str(tmp_path / "other")]) == 2
    assert "of 'bedlam' cleaned.jsonl names the kept records" in capsys.readouterr().err


def killed_command(words):
    write, calls = scores.save_whole, []

    def killing(tensors, path):
        calls.append(path)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(tensors, path)

    scores.save_whole = killing
    return main(words)


def test_an_index_of_pseudo_labels_is_cleaned_to_its_best_share_and_a_kill_costs_nothing(bodies, tmp_path, capsys):
    """HumanData in, HumanData out: 0.6 of its records, the same bytes whether the run was killed or not."""
    who = people(body_file(str(bodies)), 10)
    write_human_data(tmp_path / "set", who, compressed=True)
    words = [
        "clean",
        "--data",
        tmp_path / "set",
        "--dataset",
        "human-data",
        "--split",
        "toy",
        "--critic",
        "reprojection",
    ]
    words += ["--keep-share", 0.6, "--sheet-items", 0, "--chunk-size", 2, "--write"]

    def more(name: str) -> list[str]:
        return [*map(str, words), "--export", str(tmp_path / f"{name}.parquet"), "--out", str(tmp_path / name)]

    straight = said(capsys, *more("straight"))
    assert straight["counts"]["kept"] == 6 and straight["cleaned"] == "cleaned.npz"
    assert forked.run(lambda: killed_command(more("killed"))) == -signal.SIGKILL
    assert len(list((tmp_path / "killed/scores").glob("scores_*.safetensors"))) == 2
    assert not (tmp_path / "killed/cleaned.npz").exists()
    said(capsys, *more("killed"))
    for name in ("cleaned.jsonl", "dropped.jsonl", "scores/scores.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    kept = [json.loads(line)["id"] for line in (tmp_path / "straight/cleaned.jsonl").read_text().splitlines()]
    (tmp_path / "again").mkdir()
    for name in ("straight", "killed"):
        (tmp_path / name / "cleaned.npz").rename(tmp_path / f"again/{name}.npz")
    shutil.copytree(tmp_path / "set/images", tmp_path / "again/images")
    for name in ("straight", "killed"):
        found = opener("human-data")(tmp_path / "again", name, DatasetSetting())
        rows = [int(id_.split(":")[1]) for id_ in kept]
        assert np.allclose(found.labels.poses, who.poses[rows], atol=1e-6)
    table = pyarrow.parquet.read_table(tmp_path / "straight.parquet").to_pylist()
    assert [row["id"] for row in table if row["kept"]] == kept and len(table) == 10
    assert all((row["reason"] is None) == row["kept"] for row in table)
    assert json.loads(pyarrow.parquet.read_schema(tmp_path / "straight.parquet").metadata[b"hmralign"])["rule"]


def test_what_is_trained_on_a_test_split_is_not_tested_on_it(bodies, tmp_path, capsys):
    from hmralign.evaluation.protocol import require_unseen
    from hmralign.structures import InputError

    require_unseen(("3dpw/train",), "3dpw/test")
    with pytest.raises(InputError, match="were trained on 3dpw/test"):
        require_unseen(("3dpw/train", "3dpw/test"), "3dpw/test")


def test_predictions_of_another_system_are_measured_as_checkpoints_are(bodies, tmp_path, capsys):
    label_body = body_file(str(bodies))
    who = people(label_body)
    write_3dpw_json(tmp_path / "3DPW", who)
    tracks = write_4d_humans(tmp_path / "demo.pkl", who)
    words = ["evaluate", "--predictions", tracks, "--data", tmp_path / "3DPW", "--dataset", "3dpw-json"]
    shared = ["--split", "test", "--label-body", label_body, "--log", tmp_path / "log.jsonl"]
    free = said(capsys, *words, *shared, "--predicted-by", "4D-Humans", "--out", tmp_path / "free")
    assert free["predictor"]["name"] == "4D-Humans" and free["predictor"]["without"] == 0
    assert 1 < free["rows_mm"]["prediction"]["mpjpe"][0] < 80, "limbs of the mean shape"
    own = said(capsys, *words, *shared, "--body", label_body, "--out", tmp_path / "own")
    assert own["rows_mm"]["prediction"]["mpjpe"][0] < 0.1
    assert main([*map(str, words), "--out", str(tmp_path / "x"), "--protocol", "scorehypo-code"]) == 2
    assert "which predictions of a file cannot be" in capsys.readouterr().err
    assert main(["evaluate", "lite", *map(str, words[1:]), "--out", str(tmp_path / "x")]) == 2
    assert "both checkpoints ('lite') and --predictions are given" in capsys.readouterr().err
    strange = tmp_path / "strange.npz"
    np.savez(strange, verts=np.zeros((2, 6890, 3)))
    assert main([*map(str, ["evaluate", "--predictions", strange, *words[3:]]), "--out", str(tmp_path / "x")]) == 2
    assert "which no format of predictions has; read are: 4d-humans" in capsys.readouterr().err
