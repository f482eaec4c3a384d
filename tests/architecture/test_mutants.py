"""The table of wrong changes fits the source as it is; `python tools/mutants.py` shows that tests notice them."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from mutants import MUTANTS, PACKAGE, Outcome, changed, faults, markdown


def test_every_snippet_occurs_once_and_its_change_is_another_program():
    assert faults(MUTANTS) == []


def test_the_table_covers_the_mathematics_and_repeats_nothing():
    assert len(MUTANTS) >= 60
    assert len({changed(m) for m in MUTANTS}) == len(MUTANTS)
    folders = {m.file.split("/")[0] for m in MUTANTS}
    assert folders >= {
        "alignment", "training", "diffusion", "hypotheses", "metrics", "geometry", "body", "critics", "evaluation",
        "preferences", "models", "data",
    }  # fmt: skip


def test_a_table_that_no_longer_fits_is_said_to():
    mutant = MUTANTS[0]
    for wrong, words in (
        (replace(mutant, snippet="no such line"), "occurs 0 times"),
        (replace(mutant, snippet="import", replacement="from"), "times, expected once"),
        (replace(mutant, file="nowhere.py"), "occurs 0 times"),
        (replace(mutant, replacement=mutant.snippet), "is not changed"),
        (replace(mutant, replacement="(("), "is no Python"),
        (replace(mutant, tests="nowhere/test_it.py"), "no tests 'nowhere/test_it.py'"),
    ):
        (sentence,) = faults([wrong])
        assert words in sentence and wrong.file in sentence


def test_the_change_is_the_named_one_and_the_table_says_what_killed_it():
    mutant = MUTANTS[0]
    source = (PACKAGE / mutant.file).read_text(encoding="utf-8")
    assert changed(mutant).replace(mutant.replacement, mutant.snippet, 1) != changed(mutant) != source
    table = markdown([(mutant, Outcome("killed", "test_x[a|b]", 1.0))])
    assert table.splitlines()[-1] == f"| {mutant.file} | {mutant.meaning} | killed | test_x[a b] |"
