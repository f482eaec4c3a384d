"""The tests stand where the sources stand: one folder of tests for each folder of modules, under the same name."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

OF_THE_REPOSITORY = {
    "architecture": "src", "benchmarks": "benchmarks", "documents": "docs", "examples": "examples", "tools": "tools",
}  # fmt: skip
"""Folders of tests that are about other folders of the repository than the package."""


def folders_with(root: Path, pattern: str) -> set[str]:
    """Folders below the root that hold such a file, by their path in it."""
    return {str(path.parent.relative_to(root)) for path in root.rglob(pattern)} - {"."}


def misplaced(sources: Path, tests: Path) -> list[str]:
    """Folders of tests without a source, and folders of sources without a test."""
    modules = {
        str(path.parent.relative_to(sources)) for path in sources.rglob("*.py") if path.name != "__init__.py"
    } - {"."}
    tested = folders_with(tests, "test_*.py") - set(OF_THE_REPOSITORY)
    return sorted([f"tests/{name}" for name in tested - modules] + [f"src/{name}" for name in modules - tested])


def test_every_folder_of_modules_has_its_folder_of_tests():
    assert misplaced(ROOT / "src/hmralign", ROOT / "tests") == []
    assert all((ROOT / folder).is_dir() for folder in OF_THE_REPOSITORY.values())


def test_a_misplaced_folder_would_be_seen(tmp_path):
    for name in ("src/a/b/c.py", "src/d/e.py", "src/d/__init__.py", "src/f/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("tests/a/b/test_c.py", "tests/g/test_e.py", "tests/tools/test_x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert misplaced(tmp_path / "src", tmp_path / "tests") == ["src/d", "tests/g"]
