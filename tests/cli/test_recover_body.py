"""`hmralign recover --body FILE`: results on the user's own body, marked as retargeted, or one sentence."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
import yaml

from hmralign.body import lbs
from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.cli.main import main
from hmralign.structures import BodyParams
from support.body_files import stand_in, write_npz, write_pkl
from support.gltf_reader import GltfFile
from support.mesh_reader import read_mesh
from support.recover_example import tiny_checkpoint


def arrays_of(out):
    with np.load(out / "photo" / "person_0" / "hypotheses.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_every_output_says_that_it_is_retargeted_and_shows_the_body_of_the_file(example, tmp_path):
    path = write_npz(tmp_path, stand_in(24), name="my_body")
    body = load_body(path)
    assert example.recover(body=path) == 0
    person = example.out / "photo" / "person_0"
    for record in (person / "summary.json", person.parent / "photo.json"):
        content = json.loads(record.read_text())
        assert content["retargeted"] is True and content["made_by"]["retargeted"] is True
        made_by = content["made_by"]
        assert made_by["body"] == {
            "name": "my_body", "skeleton_hash": body.skeleton_hash, "mesh_hash": body.mesh_hash
        }  # fmt: skip
        assert made_by["estimated_on"]["name"] == "free_body_7k"
        assert made_by["estimated_on"]["skeleton_hash"] == load_free_body("7k").skeleton_hash
    arrays = arrays_of(example.out)
    assert arrays["retargeted"] and arrays["body_name"] == "my_body" and arrays["estimated_on"] == "free_body_7k"
    assert arrays["skeleton_hash"] == body.skeleton_hash and arrays["mesh_hash"] == body.mesh_hash
    page = (person.parent / "report.html").read_text()
    assert "Retargeted" in page and "my_body" in page
    assert yaml.safe_load((example.out / "run.yaml").read_text())["options"]["body"] == str(path)

    # The meshes are the file's, posed by the arrays beside them.
    params = BodyParams(*(torch.tensor(arrays[f"fused_{n}"]) for n in
                          ("global_orient_rotmat", "body_pose_rotmat", "betas", "transl")))  # fmt: skip
    expected = lbs.vertices(body, params).numpy()
    mesh, faces = read_mesh(person / "fused.glb")
    np.testing.assert_allclose(mesh, expected, atol=1e-4)
    assert np.array_equal(np.sort(faces, axis=None), np.sort(body.faces.numpy(), axis=None))
    np.testing.assert_allclose(arrays["fused_joints"], lbs.posed_joints(body, params).numpy(), atol=1e-5)


def test_people_on_the_users_body_are_exported_with_that_body_alone(example, tmp_path, capsys):
    path = write_npz(tmp_path, stand_in(24), name="my_body")
    body = load_body(path)
    assert example.recover(body=path, export="glb") == 0
    arrays = arrays_of(example.out)
    params = BodyParams(*(torch.tensor(arrays[f"fused_{n}"]) for n in
                          ("global_orient_rotmat", "body_pose_rotmat", "betas", "transl")))  # fmt: skip
    expected = lbs.vertices(body, params).numpy() * [1, -1, -1]  # with the pose correctives of the file
    file = GltfFile((example.out / "photo/scene.glb").read_bytes())
    assert np.abs(file.skinned(0) - expected).max() < 1e-4
    assert main(["export", str(example.out)]) == 2
    assert "'my_body'" in capsys.readouterr().err
    assert main(["export", str(example.out), "--body", str(path), "--format", "bvh"]) == 0


def test_the_person_is_the_one_that_was_estimated_on_the_free_body(example, tmp_path):
    assert example.recover(out=tmp_path / "free") == 0
    assert example.recover(out=tmp_path / "own", body=write_pkl(tmp_path, stand_in(24, scale=1.05))) == 0
    free, own = arrays_of(tmp_path / "free"), arrays_of(tmp_path / "own")
    assert not free["retargeted"] and free["body_name"] == free["estimated_on"] == "free_body_7k"
    for name in ("global_orient_rotmat", "body_pose_rotmat", "scores", "ranking"):
        assert np.array_equal(free[name], own[name]), name
    assert np.linalg.norm(free["joints"] - own["joints"], axis=-1).mean() < 0.02
    summary = json.loads((tmp_path / "free" / "photo" / "person_0" / "summary.json").read_text())
    assert summary["retargeted"] is False
    assert "Retargeted" not in (tmp_path / "free" / "photo" / "report.html").read_text()


@pytest.mark.parametrize("joints", [52, 55])
def test_bodies_with_fingers(example, tmp_path, joints):
    assert example.recover(body=write_npz(tmp_path, stand_in(joints, 400))) == 0
    assert arrays_of(example.out)["retargeted"] and arrays_of(example.out)["betas"].shape == (2, 10)


def test_a_result_of_another_body_is_another_result(example, tmp_path, capsys):
    assert example.recover() == 0
    path = write_npz(tmp_path, stand_in(24))
    assert example.recover(body=path) == 2
    assert "overwrite" in capsys.readouterr().err
    assert example.recover(body=path, overwrite=True) == 0 and example.recover(body=path) == 0
    assert "1 done before" in capsys.readouterr().out


def test_weights_of_the_files_own_skeleton_need_no_retargeting(example, tmp_path):
    path = write_npz(tmp_path, stand_in(24))
    own = tiny_checkpoint(tmp_path / "own.safetensors", load_body(path).skeleton_hash)
    assert example.recover(body=path, checkpoint=own) == 0
    arrays = arrays_of(example.out)
    assert not arrays["retargeted"] and arrays["estimated_on"] == "SMPL_NEUTRAL"


def test_weights_of_a_third_skeleton_are_refused(example, tmp_path, capsys):
    other = tiny_checkpoint(tmp_path / "other.safetensors", "c" * 64)
    for options in ({}, {"body": write_npz(tmp_path, stand_in(24))}):
        assert example.recover(checkpoint=other, **options) == 2
        assert "another skeleton" in capsys.readouterr().err


def test_a_free_body_file_is_not_retargeted(example):
    from hmralign.body import free_body

    assert example.recover(body=free_body._ASSETS / "free_body_3k5.npz") == 0
    assert not arrays_of(example.out)["retargeted"] and arrays_of(example.out)["body_name"] == "free_body_3k5"


class _Command:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_bad_body_files_end_in_one_sentence(example, tmp_path, capsys):
    trace = tmp_path / "trace"
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({**stand_in(24), "f": _Command(trace)}, 2))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "body.obj").write_text("v 0 0 0")
    for name, said in (("evil.pkl", "posix.system"), ("text.npz", "Cannot read"), ("body.obj", ".npz or .pkl"),
                       ("absent.npz", "absent.npz")):  # fmt: skip
        assert example.recover(body=tmp_path / name) == 2
        err = capsys.readouterr().err
        assert said in err and name in err and err.count("\n") == 1 and "Traceback" not in err
    assert not trace.exists() and not (example.out / "photo").exists()
