"""A wheel of the package, installed into a folder: what a user has who never saw the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install_wheel(folder: Path) -> Path:
    """Build a wheel of a copy of the sources and install it alone; returns the folder for PYTHONPATH."""
    source = folder / "source"
    shutil.copytree(ROOT / "src/hmralign", source / "src/hmralign", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    target = folder / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-compile"]
    subprocess.run([*pip, "--target", target, source], check=True, capture_output=True, text=True)
    return target


def run_installed(target: Path, arguments: list[str], folder: Path, text: str | None = None):
    """Run Python on the installed package alone, in a folder outside of the repository."""
    environment = {**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, input=text, capture_output=True, text=True, check=False)
