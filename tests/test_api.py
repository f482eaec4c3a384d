"""The programming interface on given keypoints and a tiny random checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hmralign
from hmralign import NobodyFound, Recoverer
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.models.checkpoint import checkpoint_path
from hmralign.models.scorer_checkpoint import scorer_path
from hmralign.structures import BodyParams, InputError
from support.mesh_reader import read_mesh
from support.recover_example import HEIGHT, WIDTH, example_photo, tiny_checkpoint

K = np.array([[275.0, 0, 79.5], [0, 275, 99.5], [0, 0, 1]])


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    for name in ("PERSON_SIDE", "TILE_SIDE"):
        monkeypatch.setattr(f"hmralign.systems.recover.pictures.{name}", 40)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def load(checkpoint, **options) -> Recoverer:
    chosen = {"body": load_free_body("3k5"), "detector": None, "num_hypotheses": 4, **options}
    return Recoverer.load(checkpoint, **chosen)


@pytest.fixture(scope="module")
def recoverer(checkpoint):
    return load(checkpoint)


@pytest.fixture(scope="module")
def people(recoverer):
    rgb, points = example_photo()
    left = points.copy()
    left[:, 0] -= 20
    return recoverer(rgb, keypoints=np.stack([points, left]), K=K)


def same(a: BodyParams, b: BodyParams) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, hmralign; print('torch' in sys.modules); hmralign.Recoverer; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "True"]
    assert "Recoverer" in dir(hmralign)
    with pytest.raises(AttributeError, match="Recover2"):
        hmralign.Recover2  # noqa: B018


def test_people_are_a_sequence_with_their_photo(people):
    assert len(people) == 2 and [p.number for p in people] == [0, 1] and people[-1].number == 1
    assert people.photo.width == WIDTH and people.camera.source == "given"
    assert len(people[0:2]) == 2 and set(people.seconds) == {"load", "detect", "sides", "estimate", "critics"}


def test_shapes_and_the_two_answers(people):
    person = people[0]
    assert person.hypotheses.num_hypotheses == 4 and person.scores.shape == (4,) and person.spread.shape == (29,)
    assert sorted(person.ranking) == [0, 1, 2, 3] and person.best_index == int(person.scores.argmax())
    assert same(person.best, person.hypotheses.body[person.best_index]) and same(person.params("fused"), person.fused)
    assert person.vertices().shape == (person.body.num_vertices, 3)
    assert torch.equal(person.vertices("best"), person.vertices(person.best_index))
    assert set(person.critic_scores) == {"reprojection", "plausibility", "silhouette"}
    np.testing.assert_allclose(person.keypoints[:, :2], example_photo()[1][:, :2], atol=1e-3)


@pytest.mark.parametrize("which", [4, -5, True])
def test_bodies_that_do_not_exist(people, which):
    with pytest.raises(InputError, match="does not exist"):
        people[0].vertices(which)


def test_the_same_seed_gives_the_same_answer_and_another_another(checkpoint, recoverer, people):
    rgb, points = example_photo()
    again, other = recoverer(rgb, keypoints=points, K=K)[0], load(checkpoint, seed=1)(rgb, keypoints=points, K=K)[0]
    assert same(again.hypotheses.body, recoverer(rgb, keypoints=points, K=K)[0].hypotheses.body)
    assert not same(again.hypotheses.body, other.hypotheses.body)


def test_a_person_does_not_depend_on_who_else_is_in_the_photo(recoverer, people):
    rgb, points = example_photo()
    alone = recoverer(rgb, keypoints=points, K=K)[0]
    torch.testing.assert_close(alone.hypotheses.joints, people[0].hypotheses.joints, atol=1e-4, rtol=0)


def test_without_refinement_the_samples_stay_as_they_are(checkpoint, people):
    rgb, points = example_photo()
    plain = load(checkpoint, refine=False)(rgb, keypoints=points, K=K)[0]
    assert not same(plain.hypotheses.body, people[0].hypotheses.body)


@pytest.mark.skipif(not checkpoint_path("lite").is_file(), reason="the shipped weights are not here")
def test_with_the_shipped_weights_both_answers_fall_on_the_keypoints():
    rgb, points = example_photo()
    for intrinsics in (K, None):
        person = load("lite", num_hypotheses=10)(rgb, keypoints=points, K=intrinsics)[0]
        plain = load("lite", num_hypotheses=10, refine=False)(rgb, keypoints=points, K=intrinsics)[0]
        assert plain.fused_agreement.reprojection_px > person.fused_agreement.reprojection_px
        for agreement in (person.fused_agreement, person.best_agreement):
            assert agreement.reprojection_over_box_height < 0.06, agreement


@pytest.mark.skipif(not scorer_path("scorer-lab").is_file(), reason="the shipped weights are not here")
def test_a_learned_scorer_may_weigh_the_answer_and_then_no_error_is_promised():
    rgb, points = example_photo()
    plain, weighed = (load("lite", num_hypotheses=20, weighed_by=w) for w in (None, "scorer-lab"))
    one, other = plain(rgb, keypoints=points, K=K)[0], weighed(rgb, keypoints=points, K=K)[0]
    assert same(one.hypotheses.body, other.hypotheses.body) and not same(one.fused, other.fused)
    assert one.expected_error is not None and other.expected_error is None


def test_wrong_settings(checkpoint):
    for options, said in (
        ({"num_hypotheses": 0}, "at least 1"),
        ({"device": "abacus"}, "abacus"),
        ({"device": "meta"}, "meta"),
        ({"weighed_by": "nobody"}, "nobody"),
    ):
        with pytest.raises(InputError, match=said):
            load(checkpoint, **options)


def test_wrong_inputs_of_a_call(recoverer):
    rgb, points = example_photo()
    with pytest.raises(InputError, match="no detector"):
        recoverer(rgb)
    with pytest.raises(InputError, match="boxes are"):
        recoverer(rgb, boxes=[[1.0, 2.0], [3.0]])
    with pytest.raises(InputError, match="K is"):
        recoverer(rgb, keypoints=points, K=np.eye(2))
    for keep in (0, -1, True):
        with pytest.raises(InputError, match="keep"):
            recoverer(rgb, keypoints=points).save("never", keep=keep)


def test_a_detector_of_ones_own(checkpoint):
    class Nobody:
        def __call__(self, image):
            return []

        def detect_in_box(self, image, box):
            return None

    own = load(checkpoint, detector=Nobody())
    assert "Nobody" in repr(own)
    with pytest.raises(NobodyFound), own:
        own(example_photo()[0])


@pytest.mark.parametrize("intrinsics", [K, None])
def test_somebody_known_only_by_a_box_fills_it(recoverer, intrinsics):
    rgb, _ = example_photo()
    boxes = torch.tensor([[90.0, 20, 140, 180], [10, 100, 150, 150]])
    people = recoverer(rgb, boxes=boxes.tolist(), K=intrinsics)
    for person, box in zip(people, boxes, strict=True):
        assert person.box_only and person.box.tolist() == box.tolist() and "only by its box" in repr(person)
        slack = 0.03 * (box[2:] - box[:2]).max()
        joints = project(person.fused_joints, person.camera.K)
        assert (joints > box[:2] - slack).all() and (joints < box[2:] + slack).all()
        mesh = project(person.vertices(), person.camera.K)
        extent = (mesh.amax(0) - mesh.amin(0)) / (box[2:] - box[:2])
        assert float(extent.max()) == pytest.approx(1, abs=0.03)
    assert "0, known only by its box" in people._repr_html_()


def test_a_photo_of_52_megapixels_is_reduced_and_its_keypoints_with_it(recoverer, tmp_path):
    Image.new("L", (8000, 6500), 90).save(tmp_path / "large.png")
    points = example_photo()[1] * np.array([30.0, 30.0, 1.0])
    people = recoverer(tmp_path / "large.png", keypoints=points, focal_px=8000.0)
    assert max(people.photo.width, people.photo.height) == 4096
    np.testing.assert_allclose(people[0].keypoints[:, :2], (points[:, :2] + 0.5) * 4096 / 8000 - 0.5, atol=0.05)
    assert float(people.camera.K[0, 0]) == pytest.approx(4096)


def test_what_a_notebook_shows(people):
    text = people._repr_html_()
    assert text.count("data:image/png;base64,") == 1 and text.count("<tr>") == 3 and "<script" not in text
    assert people[1]._repr_html_().count("<tr>") == 2 and "<td>1</td>" in people[1]._repr_html_()
    assert "2 found" in repr(people) and "spread" in repr(people[0]) and people.overlay().size == (WIDTH, HEIGHT)


def test_a_saved_photo_says_the_same_as_its_objects(people, tmp_path):
    folder = people.save(tmp_path / "out", keep=2)
    person, saved = people[1], folder / "person_1"
    arrays = np.load(saved / "hypotheses.npz", allow_pickle=False)
    for prefix, expected in (("", person.hypotheses.body), ("fused_", person.fused)):
        pose = torch.from_numpy(arrays[f"{prefix}body_pose"]).unflatten(-1, (23, 3))
        orient = torch.from_numpy(arrays[f"{prefix}global_orient"])
        read = BodyParams(
            rotvec_to_rotmat(orient),
            rotvec_to_rotmat(pose),
            torch.from_numpy(arrays[f"{prefix}betas"]),
            torch.from_numpy(arrays[f"{prefix}transl"]),
        )
        torch.testing.assert_close(read.rotmats, expected.rotmats, atol=1e-4, rtol=0)
        joints = torch.from_numpy(arrays[f"{prefix}joints"])
        torch.testing.assert_close(posed_joints(person.body, read), joints, atol=1e-4, rtol=0)
    assert arrays["ranking"].tolist() == person.ranking and np.allclose(arrays["K"], K)
    assert any("metres" in str(line) for line in arrays["about"])
    for name, which in (("fused", "fused"), ("best", "best")):
        for suffix in ("glb", "obj"):
            vertices, faces = read_mesh(saved / f"{name}.{suffix}")
            np.testing.assert_allclose(vertices, person.vertices(which).numpy(), atol=1e-4)
            assert len(faces) == len(person.body.faces)
    second = person.ranking[1]
    vertices, _ = read_mesh(saved / f"rank_002_hypothesis_{second:03d}.glb")
    np.testing.assert_allclose(vertices, person.vertices(second).numpy(), atol=1e-4)


def test_the_summary_holds_what_is_promised(people, tmp_path):
    people[0].save(tmp_path / "one")
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    for key in ("format_version", "box", "detector", "num_hypotheses", "scores", "spread_m", "selected_index", "seed",
                "seconds", "camera", "image", "made_by"):  # fmt: skip
        assert key in summary, key
    assert summary["selected_index"] == people[0].best_index and len(summary["spread_m"]) == 29
    for answer, agreement in (("selected", people[0].best_agreement), ("fused", people[0].fused_agreement)):
        assert summary[answer]["reprojection_px"] == pytest.approx(agreement.reprojection_px)
        height = summary["box"][3] - summary["box"][1]
        share = agreement.reprojection_px / height
        assert summary[answer]["reprojection_over_box_height"] == pytest.approx(share, rel=1e-3)
        assert summary[answer]["mask_iou"] is None
    made = summary["made_by"]
    assert made["body"]["skeleton_hash"] == people[0].body.skeleton_hash and "torch" in made["versions"]
    assert len(made["checkpoint"]["sha256"]) == 64


def test_saving_the_same_again_changes_nothing_and_another_needs_permission(people, tmp_path, monkeypatch):
    folder = people.save(tmp_path / "out")
    when = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert people.save(folder) == folder and {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == when
    for other in ({"keep": 2}, {"pictures": False}, {"report": False}):
        with pytest.raises(InputError, match=r"overwrite=True$"):
            people.save(folder, **other)
    before = sorted(p.relative_to(folder) for p in folder.rglob("*"))
    monkeypatch.setattr("hmralign.systems.recover.outputs.person_summary", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        people.save(folder, overwrite=True)
    assert sorted(p.relative_to(folder) for p in folder.rglob("*")) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    monkeypatch.undo()
    assert people.save(folder, overwrite=True) == folder


def test_a_person_saved_again_is_the_same_person_or_an_error(people, tmp_path):
    folder = people[0].save(tmp_path / "one")
    when = (folder / "summary.json").stat().st_mtime_ns
    assert people[0].save(folder) == folder and (folder / "summary.json").stat().st_mtime_ns == when
    with pytest.raises(InputError, match=r"overwrite=True$"):
        people[0].save(folder, keep=2)
    (folder / "summary.json").write_text("{}")
    with pytest.raises(InputError, match=r"overwrite=True$"):
        people[0].save(folder)


def test_without_pictures_there_are_numbers_alone_and_they_are_the_same(recoverer, tmp_path):
    rgb, points = example_photo()
    people = recoverer(rgb, keypoints=points)
    drawn, bare = people.save(tmp_path / "drawn"), people.save(tmp_path / "bare", pictures=False)
    assert {str(p.relative_to(bare)) for p in bare.rglob("*") if p.is_file()} == {
        "photo.json", "person_0/summary.json", "person_0/hypotheses.npz",
    }  # fmt: skip
    arrays, others = (np.load(f / "person_0" / "hypotheses.npz", allow_pickle=False) for f in (drawn, bare))
    assert arrays.files == others.files and all(np.array_equal(arrays[n], others[n]) for n in arrays.files)
    no_report = people.save(tmp_path / "no_report", report=False)
    names = {str(p.relative_to(drawn)) for p in drawn.rglob("*")}
    assert {str(p.relative_to(no_report)) for p in no_report.rglob("*")} == names - {"report.html"}
    assert {p.name for p in people[0].save(tmp_path / "one", pictures=False).iterdir()} == {
        "summary.json", "hypotheses.npz",
    }  # fmt: skip
    with pytest.raises(InputError, match="without pictures"):
        people.save(tmp_path / "both", pictures=False, keep=2)


def test_every_person_is_counted_once(recoverer, tmp_path):
    rgb, points = example_photo()
    three = recoverer(rgb, keypoints=np.stack([points] * 3))
    for name, pictures in (("drawn", True), ("bare", False)):
        counted = []
        three.save(tmp_path / name, pictures=pictures, on_person=lambda counted=counted: counted.append(1))
        assert len(counted) == 3


def test_lists_of_keypoints_are_taken_as_arrays_are(recoverer):
    rgb, points = example_photo()
    listed = [[list(row) for row in points]]
    listed[0][4] = [None, None, 0]
    points[4] = 0
    first, second = recoverer(rgb, keypoints=listed)[0], recoverer(rgb, keypoints=points)[0]
    assert torch.equal(first.hypotheses.joints, second.hypotheses.joints)
    with pytest.raises(InputError, match="keypoints are"):
        recoverer(rgb, keypoints=[[[1.0, 2.0, 1.0], [3.0]]])


def test_the_joints_have_names(people, tmp_path):
    person = people[0]
    assert len(person.joint_names) == len(person.spread) == len(person.fused_joints) == len(set(person.joint_names))
    said = json.loads((person.save(tmp_path / "one", pictures=False) / "summary.json").read_text())["spread_m"]
    assert said == pytest.approx(dict(zip(person.joint_names, person.spread.tolist(), strict=True)), abs=1e-4)


def test_many_photos_are_an_iterator(recoverer, tmp_path, caplog, capsys):
    rgb, points = example_photo()
    for name in ("a.png", "b.png"):
        Image.fromarray(rgb).save(tmp_path / name)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    answers = recoverer.many(tmp_path, keypoints=points)
    assert iter(answers) is iter(answers)
    with caplog.at_level("WARNING"):
        found = list(answers)
    assert [Path(people.photo.name).name for people in found] == ["a.png", "b.png"]
    (said,) = [r.message for r in caplog.records]
    assert said.startswith("left out: ") and "broken.jpg" in said
    assert capsys.readouterr() == ("", "")
    alone = recoverer(rgb, keypoints=points)[0]
    (of_list,) = recoverer.many([rgb], keypoints=points, progress=False)
    assert torch.equal(of_list[0].hypotheses.joints, alone.hypotheses.joints)
    with pytest.raises(InputError, match=r"broken\.jpg"):
        list(recoverer.many([tmp_path / "broken.jpg"], keypoints=points, skip_bad=False))
    for nothing in ([], tmp_path / "none"):
        with pytest.raises(InputError):
            recoverer.many(nothing)


def test_a_bar_is_shown_where_it_is_asked_for(recoverer, capsys):
    rgb, points = example_photo()
    assert len(list(recoverer.many([rgb, rgb], keypoints=points, progress=True))) == 2
    out, err = capsys.readouterr()
    assert out == "" and "recovering" in err


def test_nothing_is_printed(recoverer, tmp_path, capsys):
    rgb, points = example_photo()
    recoverer(rgb, keypoints=points).save(tmp_path / "out")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("count", [1, 4])
def test_any_number_of_hypotheses(checkpoint, tmp_path, count):
    rgb, points = example_photo()
    people = load(checkpoint, num_hypotheses=count)(rgb, keypoints=points)
    assert people[0].hypotheses.num_hypotheses == count and bool(torch.isfinite(people[0].scores).all())
    assert (float(people[0].spread.max()) == 0) == (count == 1)
    people.save(tmp_path / "out", keep="all")


def test_people_export_themselves_and_speak_in_rotation_vectors(people, tmp_path):
    files = people.export(tmp_path / "forms")
    each = ["fused.bvh", "fused_amass.npz"]
    assert [file.name for file in files] == ["scene.glb", "scene_uncertainty.glb", *each, *each]
    assert all(file.stat().st_size > 1000 for file in files)
    with pytest.raises(InputError, match="fbx"):
        people.export(tmp_path / "forms", ["fbx"])
    vectors = people[0].to_rotvec()
    assert {name: tuple(v.shape) for name, v in vectors.items()} == {
        "global_orient": (3,), "body_pose": (69,), "betas": (10,), "transl": (3,),
    }  # fmt: skip
    torch.testing.assert_close(rotvec_to_rotmat(vectors["global_orient"]), people[0].fused.global_orient)
    best = people[0].to_rotvec("best")
    assert torch.equal(best["transl"], people[0].best.transl)
