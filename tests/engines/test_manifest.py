"""A manifest holds a folder to one run: facts, number of units, their names and order."""

from dataclasses import replace

import pytest

from hmralign.engines.manifest import FILE, Manifest
from hmralign.structures import InputError

NAMES = [("a", "b"), ("c",)]
MANIFEST = Manifest.of_units("groups", {"seed": 1, "trained_on": ("x",)}, NAMES)


def test_the_first_worker_writes_it_and_the_others_agree(tmp_path):
    MANIFEST.hold(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    Manifest.of_units("groups", {"seed": 1, "trained_on": ["x"]}, iter(NAMES)).hold(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before and MANIFEST.units == 2


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Manifest.of_units("groups", {"seed": 2, "trained_on": ("x",)}, NAMES), "facts.seed = 1, not 2"),
        (Manifest.of_units("clean", {"seed": 1, "trained_on": ("x",)}, NAMES), 'work = "groups", not "clean"'),
        (Manifest.of_units("groups", MANIFEST.facts, NAMES[:1]), "units = 2, not 1"),
        (Manifest.of_units("groups", MANIFEST.facts, [("a",), ("b", "c")]), "units_sha256"),
        (Manifest.of_units("groups", MANIFEST.facts, [("c",), ("a", "b")]), "units_sha256"),
    ],
)
def test_another_run_is_refused_and_has_another_fingerprint(tmp_path, other, words):
    MANIFEST.hold(tmp_path)
    with pytest.raises(InputError) as error:
        other.hold(tmp_path)
    assert words in str(error.value) and other.fingerprint != MANIFEST.fingerprint
    assert replace(MANIFEST).fingerprint == MANIFEST.fingerprint
