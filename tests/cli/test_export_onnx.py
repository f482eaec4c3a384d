"""`hmralign export onnx`, and `recover` with what it wrote or with `--runtime onnx`: torch's answers but for bits."""

import json

import numpy as np
import pytest
import yaml

from hmralign.cli.main import main

pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")


def fused(folder):
    with np.load(folder / "photo/person_0/hypotheses.npz") as arrays:
        return arrays["fused_joints"]


def refused(capsys, *arguments):
    assert main([*map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("hmralign: ") and err.count("\n") == 1
    return err


def test_a_checkpoint_is_exported_and_recovers(example, tmp_path, capsys):
    folder = tmp_path / "tiny_onnx"
    assert main(["export", "onnx", str(example.checkpoint), "--out", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["files"] == [str(folder / name) for name in ("encoder.onnx", "denoiser.onnx", "model.json")]
    ways = {
        "torch": {"runtime": "torch"},
        "straight": {"runtime": "onnx"},
        "folder": {"checkpoint": folder},
    }
    for name, options in ways.items():
        assert example.recover(out=tmp_path / name, pictures=None, seed=5, **options) == 0
        made_by = yaml.safe_load((tmp_path / name / "run.yaml").read_text())["made_by"]
        assert made_by.get("runtime", "torch") == ("torch" if name == "torch" else "onnx")
        assert ("onnxruntime" in made_by["versions"]) == (name != "torch")
    reference = fused(tmp_path / "torch")
    for name in ("straight", "folder"):
        assert np.abs(fused(tmp_path / name) - reference).max() < 1e-3
    assert np.array_equal(fused(tmp_path / "straight"), fused(tmp_path / "folder"))
    capsys.readouterr()
    # An answer of another runtime is another answer.
    assert example.recover(out=tmp_path / "torch", seed=5, runtime="onnx") == 2
    assert "other settings" in capsys.readouterr().err


def test_wrong_input(example, tmp_path, capsys):
    assert "no such checkpoint" in refused(capsys, "export", "onnx", "lit", "--out", tmp_path / "a")
    assert "'lite' alone" in refused(capsys, "export", "onnx", "pixel", "--out", tmp_path / "a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    assert "holds other files" in refused(capsys, "export", "onnx", example.checkpoint, "--out", tmp_path / "mine")
    assert not (tmp_path / "a").exists()
    assert main(["export", "onnx", str(example.checkpoint), "--out", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    (tmp_path / "a/denoiser.onnx").write_bytes(b"no graph")
    assert example.recover(checkpoint=tmp_path / "a") == 2
    assert "is not the file that model.json beside it was written with" in capsys.readouterr().err
