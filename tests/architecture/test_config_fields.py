"""Every field of a configuration is named in a test: one that nobody sets may be without effect, and none would know.

What the search sees and does not see is tested in `tests/tools/test_unnamed_fields.py`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from unnamed_fields import ROOT, config_fields, unnamed


def test_every_field_of_a_configuration_is_named_in_a_test():
    sources = ROOT / "src/hmralign"
    assert unnamed(sources, ROOT / "tests") == []
    assert sum(1 for path in sources.rglob("*.py") for _ in config_fields(path.read_text())) > 300
