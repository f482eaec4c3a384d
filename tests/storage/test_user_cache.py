"""A cache that cannot be written does not end a run: a temporary one is used, and one warning says so."""

import os
import subprocess
import sys

import pytest

from hmralign.storage.user_cache import why_unwritable

RENDER = """
import logging, sys
logging.basicConfig(format="%(name)s: %(message)s")
from hmralign.rendering.warp_start import started_warp
wp = started_warp()
started_warp()
print(wp.config.kernel_cache_dir)
"""


def test_a_folder_is_made_and_left_empty(tmp_path):
    assert why_unwritable(tmp_path / "new" / "deep") is None
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_a_folder_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "file").touch()
    assert why_unwritable(tmp_path / "file" / "cache") == "Not a directory"


@pytest.mark.parametrize("variable", ["WARP_CACHE_PATH", "XDG_CACHE_HOME", "HOME"])
def test_kernels_go_to_a_temporary_folder_with_one_warning(tmp_path, variable):
    (tmp_path / "file").touch()
    places = {name: value for name, value in os.environ.items() if name not in ("WARP_CACHE_PATH", "XDG_CACHE_HOME")}
    run = subprocess.run(
        [sys.executable, "-c", RENDER],
        env={**places, variable: str(tmp_path / "file"), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    (said,) = [line for line in run.stderr.splitlines() if line.startswith("hmralign")]
    assert "cannot be written (Not a directory)" in said or "cannot be written (File exists)" in said
    assert "WARP_CACHE_PATH or XDG_CACHE_HOME can name another place" in said
    place = run.stdout.strip()
    assert place.startswith(str(tmp_path)) and os.path.dirname(place) in said
    assert not os.path.exists(place)  # it lasts as long as the process
