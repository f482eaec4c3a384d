"""Shape checking is on in all tests: every jaxtyping annotation of the package is enforced by beartype.

And one tiny vision-language model with one server of it, for all tests of a session that ask.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # so that tests write `from support.shared_data import ...`

from support.type_checks import install

install("hmralign")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

hypothesis.settings.register_profile("any load", deadline=None)  # seconds of a busy machine say nothing of a property
hypothesis.settings.load_profile("any load")

torch.set_num_threads(1)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # processes that tests start compile the package once, not each anew


def pytest_collection_modifyitems(items):
    """Slow tests are listed as skipped unless HMRALIGN_SLOW_TESTS is set."""
    if os.environ.get("HMRALIGN_SLOW_TESTS"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; set HMRALIGN_SLOW_TESTS=1"))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    from support.tiny_qwen3_vl import save_tiny_qwen3_vl

    return save_tiny_qwen3_vl(tmp_path_factory.mktemp("models") / "tiny-qwen3-vl")


@pytest.fixture(scope="session")
def tiny_server(tiny_folder):
    from support.tiny_qwen3_vl import serve

    with serve(tiny_folder) as address:
        yield address
