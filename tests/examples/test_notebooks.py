"""The notebooks run from top to bottom in a folder of their own, without a detector and without a network."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples/notebooks").glob("*.ipynb"))

nbformat = pytest.importorskip("nbformat", reason="notebooks need the extra [notebooks]")
nbclient = pytest.importorskip("nbclient", reason="notebooks need the extra [notebooks]")
pytest.importorskip("ipykernel", reason="notebooks need the extra [notebooks]")


def run(path: Path, folder: Path) -> dict[str, str]:
    """Text that each cell of code shows, by the first line of its source."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    shown = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
            shown[cell.source.splitlines()[0]] = "".join(texts)
    return shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_is_committed_is_valid_and_holds_no_output(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not c.outputs and c.execution_count is None for c in notebook.cells if c.cell_type == "code")


def test_there_are_three():
    assert [p.stem for p in NOTEBOOKS] == ["align", "critic", "photo"]


def test_a_photo_is_recovered_near_its_truth(tmp_path):
    shown = run(NOTEBOOKS[2], tmp_path)
    errors = eval(next(text for line, text in shown.items() if line.startswith("errors =")))
    assert 0 < errors["oracle_mpjpe_mm"] <= errors["best_mpjpe_mm"] and errors["fused_mpjpe_mm"] < 150
    assert {p.suffix for p in (tmp_path / "exported").rglob("*.*")} == {".glb", ".bvh", ".npz"}


def test_a_model_moves(tmp_path):
    shown = run(NOTEBOOKS[0], tmp_path)
    moved, _, total, *_ = shown["import torch"].strip("'\n").split()
    assert 0 < int(moved) <= int(total)
    assert (tmp_path / "aligned/model.safetensors").is_file()


def test_a_critic_is_ranked_between_truth_and_chance(tmp_path):
    shown = run(NOTEBOOKS[1], tmp_path)
    lines = shown["from hmralign.metrics.ranking import spearman"].splitlines()
    found = {name: float(value) for name, value in map(str.split, lines)}
    assert set(found) == {"oracle", "scorer", "reprojection", "random", "upright"}
    assert found["oracle"] == 1 and all(value < 1 for name, value in found.items() if name != "oracle")
