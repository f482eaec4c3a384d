"""The linter finds names that are not defined, though axes of tensors are written as strings."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AXES = (
    'from jaxtyping import Float\nfrom torch import Tensor\n\nx: Float[Tensor, "*batch 3"]\ny: Float[Tensor, " hyp"]\n'
)


def lint(code: str, path: str) -> str:
    """What the project's own settings say of code at that place."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "--stdin-filename", path, "-"]
    return subprocess.run(command, input=f'"""A module."""\n\n{code}', capture_output=True, text=True, cwd=ROOT).stdout


@pytest.mark.parametrize("path", ["src/hmralign/body/x.py", "tests/body/x.py", "benchmarks/x.py", "tools/x.py"])
def test_an_undefined_name_is_found(path):
    assert "F821" not in lint(AXES, path)
    found = lint(f"{AXES}\nz = undefined_name\n", path)
    assert "F821 Undefined name `undefined_name`" in found


def test_an_axis_without_its_leading_space_is_found():
    assert "F821 Undefined name `hyp`" in lint(AXES.replace('" hyp"', '"hyp"'), "src/hmralign/body/x.py")
