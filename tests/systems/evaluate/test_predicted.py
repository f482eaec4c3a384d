"""Anybody's predictions, from their files to a table: the truth has no error, what is assumed and missing is said."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign.body.body_file import load_joint_regressor
from hmralign.body.lbs import vertices
from hmralign.evaluation.benchmarks.protocol import find_protocol
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams, InputError
from hmralign.systems.evaluate.predicted import PredictedConfig, evaluate_predictions
from support.foreign_predictions import write_4d_humans, write_nlf, write_sam_3d_body, write_smplerx
from support.published_datasets import (
    People,
    body_file,
    people,
    same_shape,
    write_3dpw,
    write_3dpw_json,
    write_ehf,
    write_human_data,
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """3DPW in COCO's layout, whose four persons are in four photos, and the body of its labels."""
    folder = tmp_path_factory.mktemp("disk")
    body = body_file(str(tmp_path_factory.mktemp("body")))
    who = people(body)
    write_3dpw_json(folder / "3DPW", who)
    regressor = np.zeros((17, who.body.num_vertices), np.float32)
    regressor[np.arange(17), np.arange(17) * 100] = 1
    np.save(folder / "J.npy", regressor)
    return folder, body, who


def measured(disk, paths, out: Path, protocol: str | None = "3dpw-14", **changes):
    folder, body, _ = disk
    config = PredictedConfig(**({"body": body, "regressor": folder / "J.npy"} | changes))
    return evaluate_predictions(paths, folder / "3DPW", "3dpw-json", protocol, config, out, log=out / "log.jsonl")


def moved(who: People, degrees: float) -> People:
    """Each person's left elbow bent further."""
    rotmats = who.params.rotmats.clone()
    rotmats[:, 18] = rotmats[:, 18] @ rotvec_to_rotmat(torch.deg2rad(torch.tensor([0.0, degrees, 0.0])))
    params = BodyParams(rotmats[:, 0], rotmats[:, 1:], who.params.betas, who.params.transl)
    return People(who.body, params, who.K)


def test_the_truth_predicted_has_no_error(disk, tmp_path):
    document = measured(disk, [write_4d_humans(tmp_path / "demo.pkl", disk[2])], tmp_path / "out")
    row = document["rows_mm"]["prediction"]
    assert all(row[metric][2] < 0.1 for metric in ("pve", "mpjpe", "pa_mpjpe"))
    text = (tmp_path / "out/benchmark.md").read_text()
    assert "Protocol 3dpw-14" in text and "format 4d-humans" in text and "4 predictions, 0 records without one" in text
    assert "- camera of focal length 5000" in text and "as predicted" in text
    assert "an oracle" not in text and (tmp_path / "out/log.jsonl").read_text().count("\n") == 1


def test_errors_are_those_of_a_program_of_their_own(disk, tmp_path):
    """Loops over persons with SciPy's Procrustes, on meshes posed here."""
    from scipy.spatial import procrustes as scipy_procrustes

    folder, _, who = disk
    other = moved(who, 40)
    document = measured(disk, [write_4d_humans(tmp_path / "demo.pkl", other)], tmp_path / "out")
    J = np.load(folder / "J.npy").astype(np.float64)
    pick = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
    found = {"pve": [], "mpjpe": [], "pa_mpjpe": []}
    for row in range(len(who)):
        a, b = (vertices(p.body, p.params)[row].double().numpy() for p in (other, who))
        ja, jb = J @ a, J @ b
        found["pve"].append(np.linalg.norm((a - ja[0]) - (b - jb[0]), axis=1).mean())
        found["mpjpe"].append(np.linalg.norm((ja - ja[0] - jb + jb[0])[pick], axis=1).mean())
        true, aligned, _ = scipy_procrustes(jb[pick], ja[pick])
        scale = np.linalg.norm(jb[pick] - jb[pick].mean(0))
        found["pa_mpjpe"].append(np.linalg.norm(true - aligned, axis=1).mean() * scale)
    for metric, values in found.items():
        assert document["rows_mm"]["prediction"][metric][0] == pytest.approx(1000 * np.mean(values), abs=0.02), metric


def test_records_without_a_prediction_are_counted_and_nothing_published_stands_beside(disk, tmp_path):
    path = write_4d_humans(tmp_path / "demo.pkl", disk[2], change=lambda c: c.popitem())
    document = measured(disk, [path], tmp_path / "out")
    assert document["predictor"]["without"] == 1 and document["data"]["persons"] == 4
    assert "1 record without one" in (tmp_path / "out/benchmark.md").read_text()
    assert document["not_comparable"] is not None


@pytest.mark.parametrize(("write", "name", "most"), [
    (write_nlf, "nlf.pkl", 25), (write_sam_3d_body, "sam.pkl", 25), (write_smplerx, "smplerx", 80),
])  # fmt: skip
def test_other_bodies_are_carried_over_and_said_to_be(write, name, most, disk, tmp_path):
    document = measured(disk, [write(tmp_path / name, disk[2])], tmp_path / "out", None, body=None, label_body=disk[1])
    assert document["protocol"]["name"] == "24-joints" and "free body" in document["not_comparable"]
    assert document["rows_mm"]["prediction"]["mpjpe"][0] < most
    assert "retargeted" in document["predictor"]["bodies"]


def test_a_body_of_another_family_is_posed_by_its_own_file(disk, tmp_path):
    smplx = body_file(str(tmp_path), 55)
    path = write_smplerx(tmp_path / "out", people(smplx))
    without = measured(disk, [path], tmp_path / "a", None, body=None, label_body=disk[1])
    own = measured(disk, [path], tmp_path / "b", None, body=None, label_body=disk[1], prediction_body=smplx)
    assert own["rows_mm"]["prediction"]["mpjpe"][0] < 0.7 * without["rows_mm"]["prediction"]["mpjpe"][0]
    with pytest.raises(InputError, match="is a body of smpl, the predictions are of smplx"):
        measured(disk, [path], tmp_path / "c", None, prediction_body=disk[1])


def test_several_people_in_one_photo_are_told_apart(disk, tmp_path):
    """All persons in the first photo, in two orders."""
    folder, body, who = disk

    def all_in_one(content):
        for annotation in content["annotations"]:
            annotation["image_id"] = 100

    def one_frame(frames):
        first, *others = list(frames)
        for other in others[::-1]:
            for key in ("tid", "bbox", "smpl", "camera", "size", "tracked_time"):
                frames[first][key] += frames[other][key]
            del frames[other]

    write_3dpw_json(tmp_path / "3DPW", who, change=all_in_one)
    config = PredictedConfig(body=body, regressor=folder / "J.npy")
    path = write_4d_humans(tmp_path / "demo.pkl", who, change=one_frame)
    document = evaluate_predictions([path], tmp_path / "3DPW", "3dpw-json", "clean", config, tmp_path / "out")
    assert document["predictor"]["without"] == 0 and document["rows_mm"]["prediction"]["pve"][2] < 0.1


def test_frames_of_the_official_files_are_found(disk, tmp_path):
    """3DPW's sequence files, whose records have no boxes: one person in each photo is clear."""
    folder, body, who = disk
    same = same_shape(who)
    write_3dpw(tmp_path / "3DPW", same)
    config = PredictedConfig(body=body, regressor=folder / "J.npy")
    path = write_4d_humans(tmp_path / "demo.pkl", same)
    document = evaluate_predictions([path], tmp_path / "3DPW", "3dpw", "3dpw-14", config, tmp_path / "out")
    assert document["data"]["persons"] == 3 and document["rows_mm"]["prediction"]["mpjpe"][2] < 0.1


def test_a_protocol_that_gives_what_is_true_takes_no_predictions(disk, tmp_path):
    assert find_protocol("scorehypo-code", "3dpw").true_depth
    with pytest.raises(InputError, match="which predictions of a file cannot be"):
        measured(disk, [write_nlf(tmp_path / "a.pkl", disk[2])], tmp_path / "out", "scorehypo-code")
    with pytest.raises(InputError, match="J_regressor_h36m finds in the mesh"):
        measured(disk, [write_nlf(tmp_path / "b.pkl", disk[2])], tmp_path / "out", "clean", regressor=None)


def test_ehf_as_released_is_measured_on_its_meshes_about_the_pelvis_that_the_regressor_finds(tmp_path):
    """Predictions of the fitted bodies: what is left is the fingers, by the same sums in plain numpy."""
    body_path = body_file(str(tmp_path), 55)
    who = people(body_path)
    write_ehf(tmp_path / "EHF", who)
    path = write_smplerx(tmp_path / "out", who)
    for meta in (path / "meta").iterdir():
        content = json.loads(meta.read_text())
        meta.write_text(json.dumps(content | {"img_path": f"EHF/{int(meta.stem[:5]) + 1:02d}_img.png"}))
    config = PredictedConfig(body=body_path, label_body=body_path)
    found = evaluate_predictions([path], tmp_path / "EHF", "ehf", "ehf", config, tmp_path / "figures")
    J = load_joint_regressor(body_path).double().numpy()
    made = vertices(who.body, who.params).double().numpy()
    true = made + 0.03 * who.body.weights[:, 22:].sum(1).double().numpy()[:, None]
    gap = (made - (J[:1] @ made)) - (true - J[:1] @ true)
    row = found["rows_mm"]["prediction"]
    assert row["pve"][0] == pytest.approx(1000 * np.linalg.norm(gap, axis=-1).mean(), abs=0.1)
    fitted = [by_kabsch(a, b) for a, b in zip(made, true, strict=True)]
    assert row["pa_pve"][0] == pytest.approx(1000 * np.mean(fitted), abs=0.1)
    assert 0.5 < row["pve"][0] < 10 and found["published"] is None
    with pytest.raises(InputError, match="expected the file of SMPL-X as the body"):
        evaluate_predictions([path], tmp_path / "EHF", "ehf", "ehf", PredictedConfig(label_body=body_path), tmp_path)


def by_kabsch(made, true):
    a, b = made - made.mean(0), true - true.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    d = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    return np.linalg.norm((s * d).sum() / (a**2).sum() * a @ (u * d @ vt).T - b, axis=1).mean()


def test_ehf_is_measured_by_vertices_before_and_after_procrustes(tmp_path):
    smplx = body_file(str(tmp_path), 55)
    who = people(smplx)
    write_human_data(tmp_path / "EHF", who, family="smplx", name="ehf_val")
    config = PredictedConfig(body=smplx)

    def errors(predicted: People, name: str):
        path = write_smplerx(tmp_path / name, predicted)
        for meta in (path / "meta").iterdir():
            content = json.loads(meta.read_text())
            meta.write_text(json.dumps(content | {"img_path": f"toy/{int(meta.stem[:5]):04d}.jpg"}))
        found = evaluate_predictions([path], tmp_path / "EHF", "human-data", "ehf", config, tmp_path / f"{name}_out")
        assert found["data"]["persons"] == 4 and found["predictor"]["without"] == 0
        return found["rows_mm"]["prediction"]

    assert all(value[2] < 0.1 for value in errors(who, "truth").values())
    assert errors(moved(who, 40), "bent")["pa_pve"][0] > 5
    root = rotvec_to_rotmat(torch.tensor([0.0, 0.5, 0.0])) @ who.params.global_orient
    turned = People(who.body, replace(who.params, global_orient=root), who.K)
    found = errors(turned, "turned")
    assert found["pa_pve"][0] < 0.1 < 50 < found["pve"][0], "a turn of the whole body is aligned away"
    text = (tmp_path / "turned_out/benchmark.md").read_text()
    assert "| smplerx | PVE | PA-PVE | MPJPE | PA-MPJPE |" in text and "hands, jaw and expression are at rest" in text
