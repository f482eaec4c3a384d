"""A true Qwen3-VL class behind the true protocol is audited, and describes the photo that is refined.

Its weights are random, so what it says is nonsense in the right form: nothing of it may be believed by chance, and
everything around it is as it would be.
"""

import json

import numpy as np
import pytest

from hmralign.body.npz_file import read_npz
from hmralign.cli.main import main

SAMPLES, MIRRORED, PARTS = 1, 2, 7
OPENER = """
from dataclasses import replace

from hmralign.data.dataset import DatasetFacts
from support.pixel_persons import pictured
from support.synthetic_persons import persons

def open_mine(folder, split):
    class Mine:
        facts = DatasetFacts("mine/val", "us", "none", "cam, metres")

        def examples(self):
            known = persons(3)
            yield replace(known, observation=pictured(known.observation, side=96))

    return Mine()
"""


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr("hmralign.systems.language_refinement.pictures.SIDE", 64)


@pytest.mark.slow
def test_audit_and_refinement(recovered, tmp_path, tiny_server, tiny_folder, capsys):
    photo, folder, _ = recovered
    (tmp_path / "mine.py").write_text(OPENER)
    journal = tmp_path / "journal.sqlite"
    # Answers of a few words: a model that writes letter after letter at random would fill any length.
    server = ["--base-url", tiny_server, "--model", tiny_folder, "--journal", journal, "--part-words", 5, "--json"]
    audit = tmp_path / "audit.json"
    data = ["--data", tmp_path, "--dataset", f"{tmp_path / 'mine.py'}:open_mine", "--split", "val", "--persons", 2]
    asked = ["--samples", SAMPLES, "--mirrored-samples", 0]
    code, document, _ = run(capsys, "critic", "describe", *data, *asked, *server, "--out", audit)
    assert code == (3 if document["failures"] else 0), document
    assert document["failures"] < 2 * SAMPLES * PARTS, "some answers are in the right form"
    facts = json.loads(audit.read_text())["facts"]
    assert facts["persons"] == 2 and facts["asked"]["part_words"] == 5

    refine = ["refine", folder, "--photo", photo, "--describe", "vlm", "--trust", audit, "--samples", SAMPLES, *server]
    code, first, said = run(capsys, *refine, "--out", tmp_path / "a")
    assert code == 0 and (tmp_path / "a" / "report.html").is_file()
    record = json.loads((tmp_path / "a" / "person_0" / "summary.json").read_text())
    failures = [note for note in record["notes"] if "No answer" in note]
    assert len(failures) < (SAMPLES + MIRRORED) * PARTS and all(note in said for note in first["notes"])
    assert record["statements"] == [] and any("is believed" in note for note in record["notes"]), "it speaks at random"

    calls = [*refine, "--budget-calls", 0]
    code, second, _ = run(capsys, *calls, "--out", tmp_path / "b")
    assert code == 0 and second["people"] == first["people"], "everything is in the journal"
    one, other = (read_npz(tmp_path / out / "person_0" / "refinement.npz")["refined_body_pose"] for out in "ab")
    np.testing.assert_array_equal(one, other)
