"""One holder at a time, and the folder is free again whatever happened inside."""

import pytest

from hmralign.storage.folder_lock import held_folder
from hmralign.structures import InputError


def test_one_holder_at_a_time_in_one_process_too(tmp_path):
    with held_folder(tmp_path, "writing to this store"):
        sentence = f"{tmp_path}: another process is counting; wait for it or stop it"
        with pytest.raises(InputError) as refused, held_folder(tmp_path, "counting"):
            pass
        assert str(refused.value) == sentence
        with held_folder(tmp_path / "other", "counting"):
            pass


@pytest.mark.parametrize("error", [RuntimeError("mine"), OSError("mine"), TimeoutError("mine")])
def test_errors_inside_go_through_and_free_the_folder(tmp_path, error):
    with pytest.raises(type(error)) as raised, held_folder(tmp_path, "counting"):
        raise error
    assert raised.value is error
    with held_folder(tmp_path, "counting"):
        pass


def test_the_folder_is_made(tmp_path):
    with held_folder(tmp_path / "a/b", "counting"):
        assert [p.name for p in (tmp_path / "a/b").iterdir()] == [".lock"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: is no folder that can be written to"):
        with held_folder(tmp_path / "file", "counting"):
            pass
    assert (tmp_path / "file").read_text() == "x"
