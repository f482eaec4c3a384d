"""A file is read up to a limit, whatever it is and whatever its size is said to be."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from support.budget import within_budget


@given(content=st.binary(max_size=20), limit=st.integers(0, 20))
def test_all_of_it_or_a_sentence(tmp_path_factory, content, limit):
    path = tmp_path_factory.mktemp("limited") / "file"
    path.write_bytes(content)
    if len(content) <= limit:
        assert read_limited(path, limit) == content
    else:
        with pytest.raises(InputError, match=f"has more than {limit} bytes"):
            read_limited(path, limit)


def test_a_large_limit_reserves_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert within_budget(lambda: read_limited(tmp_path / "file", 2**40), megabytes=20) == b"x"


def test_files_of_which_the_system_does_not_know_the_size():
    assert read_limited_of_system("/proc/self/status", 2**20).startswith(b"Name:")
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_limited_of_system("/proc/self/status", 10)


def read_limited_of_system(name, limit):
    if not Path(name).exists():
        pytest.skip(f"there is no {name}")
    return read_limited(Path(name), limit)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(InputError, match="pipe or a device"):
            within_budget(lambda name=name: read_limited(tmp_path / name, 10))
    for missing in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(OSError):
            read_limited(missing, 10)
