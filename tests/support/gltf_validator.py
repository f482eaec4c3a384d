"""Khronos' glTF validator, an npm package: `npm install` in tools/gltf_validator, or named by NODE_PATH."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[2] / "tools" / "gltf_validator" / "validate.cjs"


def validator_report(path: Path) -> dict:
    """What the validator says of a file; the test is skipped where it is not installed."""
    if shutil.which("node") is None:
        pytest.skip("needs Node.js and the npm package gltf-validator")
    run = subprocess.run(["node", str(_SCRIPT), str(path)], capture_output=True, text=True, timeout=60)
    if run.returncode == 3:
        pytest.skip("needs the npm package gltf-validator: run `npm install` in tools/gltf_validator")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
