"""What is committed speaks of the project alone, and stays small."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_BYTES = 16 << 20
MAX_WEIGHT_BYTES = 60 * 10**6
WEIGHT_SUFFIXES = {".safetensors", ".npz", ".pt", ".pth", ".ckpt", ".onnx", ".bin", ".task", ".tflite"}

# Written in pieces so that this file does not report itself. An absolute path does not follow a word or a dot.
_HOSTS = ("pypi" + r"\.org", "files" + r"\.pythonhosted", "registry" + r"\.npmjs", "conda" + r"\.anaconda")
_FOLDERS = ("work", "root", "home", "Users", "tmp/sm")
FORBIDDEN = re.compile("|".join([*_HOSTS, *(rf"(?<![\w.~}}>)-])/{folder}/" for folder in _FOLDERS)]))


@cache
def tracked() -> list[Path]:
    """Files git knows of; the test is about the repository, so it is skipped in a copy without one."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a git checkout")
    return [p for name in listed.decode().split("\0") if name and (p := ROOT / name).is_file()]


def text_of(path: Path) -> str | None:
    data = path.read_bytes()
    if b"\0" in data[:8192]:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def test_no_paths_of_one_machine_and_no_package_hosts():
    found = []
    for path in tracked():
        for number, line in enumerate((text_of(path) or "").splitlines(), start=1):
            if match := FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", ["work", "root", "home"])
def test_such_a_line_would_be_seen(folder):
    for line in (f"open('/{folder}/a')", f"PATH=/{folder}/x", f"see /{folder}/x", "https://" + "pypi" + ".org/simple"):
        assert FORBIDDEN.search(line)
    for line in (f"runs/{folder}/a", f"./{folder}/a", f"https://example.com/{folder}/a", f"{{base}}/{folder}/"):
        assert not FORBIDDEN.search(line)


def test_no_large_file():
    large = [f"{p.relative_to(ROOT)}: {p.stat().st_size} bytes" for p in tracked() if p.stat().st_size > MAX_FILE_BYTES]
    assert not large, "\n".join(large)


def test_all_weights_together_stay_small():
    weights = {p: p.stat().st_size for p in tracked() if p.suffix in WEIGHT_SUFFIXES}
    assert sum(weights.values()) <= MAX_WEIGHT_BYTES, weights
