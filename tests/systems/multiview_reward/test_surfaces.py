"""Views become surfaces, and surfaces figures: through the command line, on a benchmark of free bodies."""

import json

import pytest
import torch

from hmralign.cli.main import main
from hmralign.evaluation.multiview_surfaces import carved, surface_row
from hmralign.metrics.surfaces import Mesh
from hmralign.models.multiview.view_transformer import ViewTransformer, ViewTransformerConfig
from hmralign.policies.multiview import MultiViewPolicy
from hmralign.rendering.ring import RingCameras

TINY = ViewTransformerConfig(size=16, width=16, depth=1, heads=2, head_channels=4)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A benchmark and a base of its ring."""
    folder = tmp_path_factory.mktemp("surfaces")
    words = ["multiview", "benchmark", "--out", str(folder / "hard"), "--items", "3", "--size", "16", "--quiet"]
    assert main(words) == 0
    torch.manual_seed(0)
    MultiViewPolicy(ViewTransformer(TINY)).save(folder / "base.safetensors", ("prior:train",))
    return folder


def test_hulls_of_true_views_are_nearer_than_those_of_another_person(there, capsys):
    words = ["multiview", "surfaces", str(there / "hard"), "--models", str(there / "base.safetensors"), "--samples",
             "2000", "--out", str(there / "out")]  # fmt: skip
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["views"]: row for row in document["rows"]}
    true, other = rows["true views"], rows["another person"]
    assert true["persons"] == 3 and true["without_surface"] == 0
    assert 5 < true["chamfer_mm"][0] < 60 < other["chamfer_mm"][0] and other["accuracy_mm"][0] > true["accuracy_mm"][0]
    sides = rows["true views, sides of another person"]
    assert true["chamfer_mm"][0] < sides["chamfer_mm"][0] < other["chamfer_mm"][0], "the front is known, the sides not"
    assert len([name for name in rows if name.endswith("base.safetensors, sides of another person")]) == 1
    assert true["normal_consistency"][0] > other["normal_consistency"][0] + 0.1
    assert true["chamfer_mm"][0] == pytest.approx(true["chamfer_mm_of_true_views"])
    assert document["unit"] == "millimetres" and document["samples"] == 2000 and "none" in document["alignment"]
    assert main(words) == 0
    assert "Visual hulls of 3 persons (3 in hard poses)" in capsys.readouterr().out
    text = (there / "out/surfaces.md").read_text()
    assert "2000 samples of each surface, millimetres, no alignment" in text and "| true views |" in text
    page = (there / "out/report.html").read_text()
    assert page.count("<h2>person") == 3 and "its hull: Chamfer" in page and "http://" not in page


def test_views_of_nobody_carve_nothing_and_that_is_counted():
    ring, cube = RingCameras(size=16), _cube(0.5)
    views = torch.zeros(2, 4, 4, 16, 16)
    views[1] = ring.render(cube.vertices[None], cube.faces).pixels[0]
    found = carved(views, [cube, cube], ring, samples=500)
    assert found[0].mesh is None and "nobody is seen" in found[0].why_not
    assert found[1].errors.chamfer < 0.05 and found[1].errors.normal_consistency > 0.7
    row = surface_row(found, found)
    assert row["persons"] == 1 and row["without_surface"] == 1 and row["chamfer_mm"][0] < 50
    nobody = surface_row(found[:1], found[:1])
    assert nobody["chamfer_mm"] is None and nobody["persons"] == 0


def _cube(side: float) -> Mesh:
    import trimesh

    box = trimesh.creation.box((side, side, side))
    return Mesh(torch.from_numpy(box.vertices.copy()).float(), torch.from_numpy(box.faces.copy()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "0001/mesh.ply").write_bytes(b"ply"), "is not the file that the manifest has"),
        (lambda f: (f / "0001/views.npz").unlink(), "is missing, and the manifest has it"),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json"),
    ],
)
def test_a_benchmark_that_was_changed_is_refused(there, change, said, tmp_path, capsys):
    import shutil

    shutil.copytree(there / "hard", tmp_path / "b")
    change(tmp_path / "b")
    assert main(["multiview", "surfaces", str(tmp_path / "b")]) == 2
    assert said in capsys.readouterr().err


def test_models_of_another_ring_and_no_samples_are_refused(there, tmp_path, capsys):
    MultiViewPolicy(ViewTransformer(ViewTransformerConfig(size=32, width=16, depth=1, heads=2, head_channels=4))).save(
        tmp_path / "other.safetensors", ()
    )
    assert main(["multiview", "surfaces", str(there / "hard"), "--models", str(tmp_path / "other.safetensors")]) == 2
    assert "makes 4 views of 32 pixels; the benchmark has 4 of 16" in capsys.readouterr().err
    assert main(["multiview", "surfaces", str(there / "hard"), "--samples", "0"]) == 2
    assert "--samples is 0" in capsys.readouterr().err
