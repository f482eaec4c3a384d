import pickle

import numpy as np
import pytest
import torch
import trimesh

from hmralign.body.free_body import load_free_body
from hmralign.data.mesh_file import read_mesh
from hmralign.data.synthetic.hard_poses import is_hard
from hmralign.rendering.ring import RingCameras
from hmralign.structures import InputError
from hmralign.systems.multiview_data.benchmark import (
    BenchmarkConfig,
    build_benchmark,
    read_manifest,
    scan_benchmark,
)

RING = RingCameras(size=16, supersampling=1)
SMALL = BenchmarkConfig(items=4, hard_share=0.5, ring=RING, shape_sd=0.5, seed=1)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "out"
    return folder, build_benchmark(SMALL, [], [], folder)


def test_a_benchmark_says_what_it_is_and_holds_it(built):
    folder, manifest = built
    assert read_manifest(folder) == manifest
    assert [item["hard"] for item in manifest["items"]] == [True, True, False, False]
    assert "training never saw" in manifest["made_of"]["motions"]
    for item in manifest["items"]:
        with np.load(folder / item["name"] / "views.npz") as arrays:
            views, joints = torch.from_numpy(arrays["views"]), torch.from_numpy(arrays["joints"])
        assert views.shape == (4, 4, 16, 16) and bool(is_hard(joints[None])[0]) == item["hard"]
        mesh, faces = read_mesh(folder / item["name"] / "mesh.ply")
        turned = (mesh * torch.tensor([1.0, -1.0, -1.0])).float()
        again = RING.render(turned[None], faces).pixels[0]
        assert float((again - views.float()).abs().max()) < 2e-3 and item["open_edges"] == 0


def test_the_same_command_builds_the_same_files(built, tmp_path):
    _, manifest = built
    assert build_benchmark(SMALL, [], [], tmp_path / "again") == manifest


def test_a_file_that_changed_or_lacks_is_named(tmp_path):
    folder = tmp_path / "out"
    build_benchmark(BenchmarkConfig(items=1, ring=RING), [], [], folder)
    strip = folder / "0000/strip.png"
    strip.write_bytes(b"x")
    with pytest.raises(InputError, match=r"strip\.png: is not the file"):
        read_manifest(folder)
    strip.unlink()
    with pytest.raises(InputError, match=r"strip\.png: is missing"):
        read_manifest(folder)


def test_poses_of_motions_and_their_split(tmp_path):
    poses = np.zeros((30, 24, 3), np.float32)
    poses[:, 16:18] = np.linspace(0, 1, 30)[:, None, None]
    poses[:15, 1:3, 0] = -1.6  # sitting
    split = np.array([0, 2] * 15, np.uint8)
    np.savez(tmp_path / "p.npz", poses=poses, split=split)
    config = BenchmarkConfig(items=3, ring=RING, split="test")
    manifest = build_benchmark(config, [tmp_path / "p.npz"], [], tmp_path / "out")
    frames = [int(item["pose"].split("#")[1]) for item in manifest["items"]]
    assert len(set(frames)) == 3 and all(frame % 2 for frame in frames)
    with pytest.raises(InputError, match=r"hard poses?, expected at least 20|distinct hard"):
        build_benchmark(BenchmarkConfig(items=20, ring=RING, split="test"), [tmp_path / "p.npz"], [], tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_scans_become_a_benchmark_of_the_same_form(tmp_path):
    """Stand-ins of scans: the free body as a mesh, with no body file to give joints, and one of them open."""
    body = load_free_body("3k5")
    for name, faces in (("0001", body.faces), ("0002", body.faces[5:])):
        place = tmp_path / "scans/model" / name
        place.mkdir(parents=True)
        trimesh.Trimesh(body.v_template.numpy(), faces.numpy(), process=False).export(place / f"{name}.obj")
    config = BenchmarkConfig(items=4, ring=RingCameras(size=24, supersampling=2))
    manifest = scan_benchmark(config, tmp_path / "scans", "thuman21", None, tmp_path / "out")
    assert [item["name"] for item in manifest["items"]] == ["0001", "0002"]
    assert manifest["items"][0]["open_edges"] == 0 and manifest["items"][1]["open_edges"] > 0
    assert not any(item["has_joints"] for item in manifest["items"])
    with np.load(tmp_path / "out/0001/views.npz") as arrays:
        views = torch.from_numpy(arrays["views"]).float()
    across = (views[0, 3] > 0.3).sum(1)  # pixels of each row: a head above arms that reach out, above two legs
    assert int(across[3:8].max()) > 3 * int(across[12:].max()) and int(across.nonzero()[0]) < int(across.argmax())


def test_joints_of_a_scan_follow_its_parameters(tmp_path):
    """A free body stands in for SMPL-X: scaled, moved and posed as the parameters say, joints fall into the mesh."""
    from hmralign.body import free_body
    from hmralign.body.lbs import posed_joints, vertices
    from hmralign.rendering.ring import body_centre
    from hmralign.structures import BodyParams

    body = load_free_body("3k5")
    params = BodyParams(
        torch.eye(3)[None], torch.eye(3).expand(1, 23, 3, 3).clone(), torch.zeros(1, 10), torch.zeros(1, 3)
    )
    transl = torch.tensor([0.5, 1.0, -0.2])
    place = tmp_path / "scans/model/a"
    place.mkdir(parents=True)
    (tmp_path / "scans/smplx/a").mkdir(parents=True)
    mesh = 1.2 * vertices(body, params)[0] + transl
    trimesh.Trimesh(mesh.numpy(), body.faces.numpy(), process=False).export(place / "a.obj")
    fitted = {
        "global_orient": np.zeros(3), "body_pose": np.zeros(63), "betas": np.zeros(10), "transl": transl.numpy(),
        "scale": np.array(1.2),
    }  # fmt: skip
    (tmp_path / "scans/smplx/a/smplx_param.pkl").write_bytes(pickle.dumps(fitted))
    file = free_body._ASSETS / "free_body_3k5.npz"
    scan_benchmark(SMALL, tmp_path / "scans", "thuman21", file, tmp_path / "out")
    with np.load(tmp_path / "out/a/views.npz") as arrays:
        joints = torch.from_numpy(arrays["joints"])
    wanted = (1.2 * posed_joints(body, params)[0, :24] + transl - body_centre(mesh)) * torch.tensor([1.0, -1.0, -1.0])
    torch.testing.assert_close(joints, wanted, atol=1e-4, rtol=0)


def test_a_scan_that_is_no_mesh_is_named(tmp_path):
    place = tmp_path / "scans/model/0001"
    place.mkdir(parents=True)
    (place / "0001.obj").write_text("v 0 0 0\nv 0 0 nan\nv 1 0 0\nf 1 2 3\n")
    with pytest.raises(InputError, match=r"0001\.obj: has vertices that are not finite"):
        scan_benchmark(SMALL, tmp_path / "scans", "thuman21", None, tmp_path / "out")
    (place / "0001.obj").write_text("v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n")
    with pytest.raises(InputError, match="0001: a mesh has no area"):
        scan_benchmark(SMALL, tmp_path / "scans", "thuman21", None, tmp_path / "out")


def test_a_folder_with_other_things_and_settings_that_build_nothing_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="holds no benchmark"):
        build_benchmark(SMALL, [], [], tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    for wrong in ({"items": 0}, {"hard_share": 1.5}, {"shape_sd": -1.0}):
        with pytest.raises(InputError, match="a benchmark of"):
            BenchmarkConfig(**wrong)
