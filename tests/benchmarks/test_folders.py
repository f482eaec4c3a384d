"""Benchmarks stand in folders by subject, import only their own folder, and are called by paths that exist."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))
TEXT = {".py", ".md", ".toml", ".yaml", ".yml"}


def test_none_lies_beside_the_folders():
    assert [s.name for s in SCRIPTS if s.parent.name == "benchmarks"] == []


def test_each_imports_only_its_own_folder():
    names = {s.stem: s.parent for s in SCRIPTS}
    assert len(names) == len(SCRIPTS)
    for script in SCRIPTS:
        tree = ast.parse(script.read_text())
        imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert {names[i] for i in imported & set(names)} <= {script.parent}, script.name


def test_every_path_to_a_benchmark_exists():
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    for folder in ("src", "docs", "tests", "tools", "examples", "benchmarks"):
        files += [f for f in (ROOT / folder).rglob("*") if f.suffix in TEXT]
    named = {(f, path) for f in files for path in re.findall(r"benchmarks/[\w/]+\.(?:py|json)\b", f.read_text())}
    assert len(named) > 50
    lost = [f"{f.relative_to(ROOT)}: {path}" for f, path in named if path != "benchmarks/x.py"]
    lost = [line for line in lost if not (ROOT / line.split(": ")[1]).is_file()]
    assert not lost, "\n".join(sorted(lost))


@pytest.mark.parametrize("script", ["photos/stability.py", "recovery/data_ablations.py", "vlm/gpa_ablations.py"])
def test_one_that_imports_others_starts(script):
    ran = subprocess.run([sys.executable, ROOT / "benchmarks" / script, "--help"], capture_output=True, text=True)
    assert ran.returncode == 0 and "usage:" in ran.stdout, ran.stderr
