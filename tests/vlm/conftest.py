"""One tiny model and one server of it for all tests of a session."""

import pytest

from support.tiny_qwen3_vl import save_tiny_qwen3_vl, serve


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return save_tiny_qwen3_vl(tmp_path_factory.mktemp("models") / "tiny-qwen3-vl")


@pytest.fixture(scope="session")
def tiny_server(tiny_folder):
    with serve(tiny_folder) as address:
        yield address
