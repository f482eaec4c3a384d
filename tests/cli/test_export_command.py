"""`recover --export` and `hmralign export`: the files hold the fused bodies that `recover` wrote."""

import json

import numpy as np
import trimesh

from hmralign.body.skeleton import JOINT_NAMES
from hmralign.cli.main import main
from support.gltf_reader import GltfFile
from support.recover_example import alphapose_entry

FILES = ["person_0/fused.bvh", "person_0/fused_amass.npz", "scene.glb", "scene_uncertainty.glb"]


def _new_files(before: set, folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p not in before)


def _fused_joints(folder, person: int = 0) -> np.ndarray:
    """Joints of the fused body in the axes of the files."""
    with np.load(folder / f"person_{person}/hypotheses.npz") as arrays:
        return arrays["fused_joints"] * [1, -1, -1]


def test_recover_exports_what_it_found_also_when_it_was_found_before(example, capsys):
    assert example.recover() == 0
    folder = example.out / "photo"
    before = {p for p in folder.rglob("*") if p.is_file()}
    stamps = {p: p.stat().st_mtime_ns for p in before}
    keypoints = example.keypoints
    arguments = ["--keypoints", str(keypoints), "--checkpoint", str(example.checkpoint), "--num-hypotheses", "2"]
    line = ["recover", str(example.photo), *arguments, "--out", str(example.out), "--export", "glb", "bvh", "npz"]
    assert main(line) == 0 and "done before" in capsys.readouterr().out
    assert _new_files(before, folder) == FILES
    assert {p: p.stat().st_mtime_ns for p in before} == stamps
    scene = trimesh.load_scene(folder / "scene.glb")
    expected = _fused_joints(folder)
    for number, name in enumerate(JOINT_NAMES):
        assert np.abs(scene.graph.get(name)[0][:3, 3] - expected[number]).max() < 1e-4


def test_everybody_of_a_photo_is_in_one_scene(example, capsys):
    keypoints = json.loads(example.keypoints.read_text())
    moved = example.points.copy()
    moved[:, 0] *= 0.7
    example.keypoints.write_text(json.dumps([*keypoints, alphapose_entry("photo.png", moved)]))
    assert example.recover() == 0
    capsys.readouterr()
    assert main(["export", str(example.out), "--format", "glb", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    folder = example.out / "photo"
    assert answer["files"] == [str(folder / name) for name in FILES[2:]]
    for name in FILES[2:]:
        file = GltfFile((folder / name).read_bytes())
        assert [skin.name for skin in file.gltf.skins] == ["person_0", "person_1"]
        for person in range(2):
            assert np.abs(file.joints(person) - _fused_joints(folder, person)).max() < 1e-4
    low, high = file.gltf.asset.extras["vertex_colors_m"]
    assert low == 0 and high >= 0.02


def test_what_cannot_be_exported_is_named(example, capsys, tmp_path):
    def refused(*arguments: str) -> str:
        assert main(["export", *arguments]) == 2
        return capsys.readouterr().err

    assert "holds no finished photo" in refused(str(tmp_path))
    assert example.recover() == 0
    assert "no export format is named" in refused(str(example.out), "--format")
    assert "'fbx' is no export format" in refused(str(example.out), "--format", "glb", "fbx")
    assert example.recover(export="fbx") == 2 and "'fbx' is no export" in capsys.readouterr().err
    arrays = example.out / "photo/person_0/hypotheses.npz"
    with np.load(arrays) as file:
        found = {name: file[name] for name in file.files}
    np.savez(arrays, **{**found, "skeleton_hash": np.array("0" * 64), "body_name": np.array("somebody")})
    said = refused(str(example.out))
    assert "'somebody'" in said and "--body FILE" in said
    del found["fused_betas"]
    np.savez(arrays, **found)
    assert "fused_betas" in refused(str(example.out))
    assert not list(example.out.rglob("*.bvh"))
