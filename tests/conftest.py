"""Shape checking is on in all tests: every jaxtyping annotation of the package is enforced by beartype."""

import sys
from pathlib import Path

from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parent))  # so that tests write `from support.shared_data import ...`
install_import_hook("hmralign", "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(1)
