"""The whole comparison on a few persons: phases, resuming, workers, the report with and without cells."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.models.checkpoint import load_checkpoint, trained_on
from hmralign.structures import InputError
from hmralign.studies.alignment import jobs, study
from hmralign.studies.alignment.cells import Cell, Facts, read_facts
from hmralign.studies.alignment.figures import study_document
from hmralign.studies.alignment.jobs import CellJob
from hmralign.studies.alignment.measure import weighted_column
from hmralign.studies.alignment.phases import PHASES, REPLICATED, final_jobs, replicate_cells, sweep_stores
from hmralign.studies.alignment.report import READING, study_markdown
from hmralign.studies.alignment.rows import Row, row_named
from hmralign.studies.alignment.shown import shown, shown_text
from hmralign.studies.alignment.study import AlignmentStudy
from support.alignment_study import know_splits, tiny_benchmark, tiny_settings
from support.openings import read_openings
from support.synthetic_persons import BODY

ROWS = ("best-of-N, reprojection", "SFT lab and broad", "SFT own mean")


@pytest.fixture(scope="module", autouse=True)
def splits():
    with pytest.MonkeyPatch.context() as patch:
        know_splits(patch)
        patch.setattr(study, "SCORER", "plausibility")  # stands in for the learned critic
        yield


@pytest.fixture(scope="module")
def data(splits, tmp_path_factory):
    return tiny_benchmark(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    """A finished comparison of five rows; do not write into it."""
    found = AlignmentStudy(tiny_settings(data, tmp_path_factory.mktemp("study"), rows=ROWS))
    for phase in PHASES:
        assert PHASES[phase](found) == [], phase
    return found


def some(data, folder, **changes) -> AlignmentStudy:
    """One row, one base, one seed."""
    settings = tiny_settings(data, folder, rows=("best-of-N, reprojection",), seeds=(0,))
    return AlignmentStudy(replace(settings, bases=settings.bases[:1], **changes))


def weights(one: AlignmentStudy, cell: Cell) -> dict[str, torch.Tensor]:
    return load_checkpoint(one.folder(cell) / "model.safetensors", BODY.skeleton_hash).state_dict()


def counted(monkeypatch, name: str) -> list[str]:
    """Names of cells for which a function of `jobs` is called."""
    called, whole = [], getattr(jobs, name)

    def function(cell_or_model, *rest):
        called.append(getattr(cell_or_model, "name", "measured"))
        return whole(cell_or_model, *rest)

    monkeypatch.setattr(jobs, name, function)
    return called


def test_rows_that_matter_have_a_run_per_base_and_seed(done):
    document = study_document(done, ("a command",))
    assert document["rows"]["best-of-N, reprojection"]["runs"] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert document["rows"]["SFT lab and broad labels"]["runs"] == [[0, 0]]
    assert document["rows"]["base"]["runs"] == [[0, 0], [1, 0]]
    assert document["rows"]["base, first one"]["runs"] == [[0, 0]]
    assert document["cpu_seconds"]["training"] > 0 and document["cpu_seconds"]["measuring"] > 0


def test_the_chosen_trial_is_the_best_on_validation_persons(done):
    row = row_named("best-of-N, reprojection")
    fused = {c.rate: done.columns(c, done.tuning)["raw"]["fused"].mean() for c in done.trials(row)}
    choice = done.choice(row)
    assert fused[choice.rate] == min(fused.values()) and len(fused) == 3
    cell = next(c for c in done.trials(row) if c.rate == choice.rate)
    columns = done.columns(cell, done.tuning)["raw"]
    weighted = {t: columns[weighted_column(t)].mean() for t in done.settings.temperatures}
    assert weighted[choice.temperature] == min(weighted.values())
    ceiling = done.trials(row_named("SFT true labels (ceiling)"))
    assert {(c.rate, c.steps) for c in ceiling} == {(r, n) for r in (1e-4, 3e-4, 1e-3, 3e-3) for n in (2, 6)}


def test_every_reading_of_test_persons_is_logged(done):
    log = read_openings(done.settings.log)
    cells = {path.parent.name for path in done.settings.work.glob("cells/*/tiny_test_*.npz")}
    assert {entry["split"] for entry in log} == {"tiny/test"} and {e["why"] for e in log} == {jobs.WHY}
    named = {entry["predictor"].split("/")[0] for entry in log if "model.safetensors" in entry["predictor"]}
    assert named == {name for name in cells if not name.startswith("base_")}
    assert len(log) == len(list(done.settings.work.glob("cells/*/tiny_test_*.npz")))


def test_weights_say_what_they_were_trained_on(done):
    def sources(name: str) -> tuple[str, ...]:
        row = row_named(name)
        return trained_on(done.folder(done.final_cells(row, done.choice(row))[0]) / "model.safetensors")

    assert sources("best-of-N, reprojection") == ("tiny/lab", "tiny/train")
    assert sources("SFT lab and broad labels") == ("tiny/lab", "tiny/broad")


def test_sweeps_cut_what_is_there(done):
    assert sweep_stores(done) == ["size_2", "size_4", "persons_14"]
    document = study_document(done, ())
    table = document["sweeps"]["sizes"]["best-of-N, reprojection"]
    assert list(table) == ["2", "4"] and len(table["4"]["refined"]["fused"]) == 3
    assert list(document["sweeps"]["persons"]["best-of-N, reprojection"]) == ["14"]
    assert "GPA sigmoid, reprojection" not in document["sweeps"]["sizes"]  # it was not tuned


def test_replication_is_one_new_seed_on_each_base(done):
    found = study_document(done, ())["replication"]
    assert found["SFT own mean"]["runs"] == [[0, 5], [1, 6]]
    entry = found["SFT own mean"]["refined"]["fused"]
    low, high = entry["published"]
    assert entry["inside"] == (low <= entry["mean"] <= high)
    assert found["DPO, oracle"] == "not run"


def test_replicate_seeds_are_given_to_the_bases_in_turn(done):
    for seeds, expected in (((5, 6, 7), {(0, 5), (1, 6)}), ((9,), {(0, 9)}), ((3, 8), {(0, 3), (1, 8)})):
        cells = replicate_cells(AlignmentStudy(replace(done.settings, replicate_seeds=seeds)))
        assert {(cell.base, cell.seed) for cell, _ in cells} == expected
        assert all(cell.row.name in REPLICATED for cell, _ in cells)


def test_the_document_is_plain_and_the_report_shows_it(done):
    document = study_document(done, ("a command",))
    text = json.dumps(document, allow_nan=False)
    assert str(done.settings.work) not in text and str(done.settings.data) not in text
    markdown = study_markdown(document, "It helps.\n")
    assert markdown.index(f"{READING}\nIt helps.\n{READING}") < markdown.index("## Samples as they are")
    assert "| best-of-N, reprojection | 4 |" in markdown and "min 100" in markdown and "weighted" in markdown
    assert "not available: SynthWild has no detector's 3D landmarks" in markdown
    assert markdown == study_markdown(json.loads(text), "It helps.\n")
    assert len(document["rows"]["best-of-N, reprojection"]["raw"]["minus_base_mm"]["min_of_100"]) == 3
    assert "min_of_100" not in document["rows"]["SFT lab and broad labels"]["raw"]["mm"]


def test_what_is_kept_beside_the_tables_makes_the_same_tables(done):
    document = study_document(done, ("a command",))
    kept = json.loads(shown_text(document))
    assert study_markdown(kept, "It helps.\n") == study_markdown(document, "It helps.\n")
    assert kept == shown(document) == shown(kept) and len(json.dumps(kept)) < 0.6 * len(json.dumps(document))


def test_a_finished_cell_is_not_made_again_and_one_that_was_cut_off_is(data, tmp_path, monkeypatch):
    first = some(data, tmp_path)
    trained = counted(monkeypatch, "train_cell")
    assert PHASES["tune"](first) == [] and len(trained) == 3
    cell = first.trials(row_named("best-of-N, reprojection"))[1]
    before = weights(first, cell)
    again = some(data, tmp_path)
    assert PHASES["tune"](again) == [] and len(trained) == 3
    (first.folder(cell) / "facts.json").unlink()  # written last: a kill leaves a folder without it
    (first.folder(cell) / "model.safetensors").write_bytes(b"half")
    assert PHASES["tune"](some(data, tmp_path)) == [] and trained[3:] == [cell.name]
    assert all(torch.equal(value, before[name]) for name, value in weights(first, cell).items())
    measured = counted(monkeypatch, "measure_persons")
    first.measurement_path(cell, first.tuning).unlink()
    assert PHASES["tune"](some(data, tmp_path)) == [] and len(trained) == 4 and len(measured) == 1


def test_two_workers_do_not_make_one_cell_twice(data, tmp_path, monkeypatch):
    shared = some(data, tmp_path)
    assert PHASES["groups"](shared) == []
    trained = counted(monkeypatch, "train_cell")
    errors: list[BaseException] = []

    def worker():
        try:
            PHASES["tune"](some(data, tmp_path))
        except BaseException as error:  # a thread's error is lost otherwise
            errors.append(error)

    workers = [threading.Thread(target=worker) for _ in range(2)]
    monkeypatch.setattr("hmralign.studies.workers.PAUSE", 0.05)
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not errors and len(trained) == len(set(trained)) == 3


def test_other_settings_are_other_cells(data, tmp_path):
    one = some(data, tmp_path)
    assert PHASES["groups"](one) == []
    cell = Cell(row_named("best-of-N, reprojection"), 0, 0, 1e-3, 2)
    folders = {one.folder(c) for c in (cell, replace(cell, seed=1), replace(cell, rate=1e-4), replace(cell, steps=3))}
    assert len(folders) == 4 and one.folder(cell) in folders
    assert some(data, tmp_path, batch_size=4).folder(cell) not in folders


def test_nothing_is_measured_by_weights_that_have_seen_the_persons(data, tmp_path):
    from hmralign.structures import InputError
    from support.alignment_study import tiny_base

    seen = tiny_base(tmp_path / "seen.safetensors", sources=("wild/test",))
    one = AlignmentStudy(replace(tiny_settings(data, tmp_path), bases=(seen,), rows=("base",)))
    job = CellJob(one, Cell(row_named("base")), (one.final(study.Choice(0.0, 0, None)),))
    with pytest.raises(InputError, match="would mean nothing"):
        job.do()
    assert read_openings(one.settings.log) == []


def test_extrapolated_weights_lie_on_the_line_through_base_and_aligned(data, tmp_path, monkeypatch):
    one = some(data, tmp_path)
    further = Row("further", None, "ours", "reprojection", extrapolates="best-of-N, reprojection", factor=1.5)
    assert PHASES["groups"](one) == []
    trained = counted(monkeypatch, "train_cell")
    cell = Cell(further, 0, 0, 1e-3, 2)
    job = CellJob(one, cell, (one.tuning,))
    job.do()
    assert job.is_done() and len(trained) == 1  # the row that it goes on from was trained for it
    base = load_checkpoint(one.settings.bases[0], BODY.skeleton_hash).state_dict()
    assert cell.parent is not None
    aligned, found = weights(one, cell.parent), weights(one, cell)
    for name, value in found.items():
        torch.testing.assert_close(value, base[name] + 1.5 * (aligned[name] - base[name]))
    assert any(not torch.equal(aligned[n], base[n]) for n in base)


def test_a_reward_without_a_gradient_is_said_and_not_run(data, tmp_path, monkeypatch):
    from hmralign.critics.reprojection import ReprojectionCritic

    judge = ReprojectionCritic.__call__
    monkeypatch.setattr(ReprojectionCritic, "__call__", lambda *args: judge(*args).detach())
    one = some(data, tmp_path, rows=("direct reward, reprojection",))
    assert PHASES["tune"](one) == [] and PHASES["final"](one) == []
    row = row_named("direct reward, reprojection")
    assert all("no gradient" in (one.skipped(cell) or "") for cell in one.trials(row)) and one.choice(row) is None
    document = study_document(one, ())
    assert "no gradient" in document["not_run"][row.name] and document["rows"][row.name]["runs"] == []
    assert "| skipped |" in study_markdown(document, None)


def test_a_report_of_an_empty_folder_says_that_nothing_was_run(data, tmp_path):
    one = AlignmentStudy(tiny_settings(data, tmp_path, bases=(str(tmp_path / "none.safetensors"),)))
    document = study_document(one, ())
    assert document["not_run"]["base"] == "not tuned" and document["not_run"]["DPO, oracle"] == "not tuned"
    assert any(key.startswith("base ") and "none.safetensors" in key for key in document["not_run"])
    assert "not run" in study_markdown(document, None) and str(tmp_path) not in study_markdown(document, None)


def test_a_report_with_missing_cells(data, tmp_path):
    one = some(data, tmp_path, rows=("best-of-N, reprojection", "GPA sigmoid, reprojection"), seeds=(0, 1))
    assert PHASES["groups"](one) == []
    row = row_named("best-of-N, reprojection")
    for cell in (
        *one.trials(row),
        *one.trials(row_named("base")),
        *one.trials(row_named("GPA sigmoid, reprojection"))[:1],
    ):
        CellJob(one, cell, (one.tuning,)).do()
    for job in final_jobs(one):
        if job.cell.seed == 0:
            job.do()
    document = study_document(one, ())
    assert document["not_run"][row.name] == "1 of 2 runs"
    assert document["not_run"]["GPA sigmoid, reprojection"] == "not tuned"
    assert document["rows"][row.name]["runs"] == [[0, 0]] and document["paired"] == {}
    markdown = study_markdown(document, None)
    assert "| GPA sigmoid, reprojection | not run |" in markdown
    assert any(line.count("not run") == 2 for line in markdown.split("## Trials")[1].splitlines() if "GPA" in line)
    assert document["sweeps"]["sizes"]["best-of-N, reprojection"] == {"2": "not run", "4": "not run"}


def test_a_row_whose_critic_is_not_there_is_named(data, tmp_path, monkeypatch):
    from hmralign.structures import InputError

    def no_weights(name, *rest, **more):
        raise InputError("no weights")

    one = AlignmentStudy(tiny_settings(data, tmp_path, rows=("DPO, reprojection",)))
    monkeypatch.setattr(study, "make_critic", no_weights)
    assert [r.name for r in one.rows] == ["base"] and one.scorer is None
    assert (
        study_document(one, ())["not_run"]["DPO, reprojection"]
        == "critic 'reprojection' has no weights in this version"
    )


def test_facts_survive_the_disk(done):
    row = row_named("SFT own mean")
    facts = read_facts(done.folder(done.trials(row)[0]))
    assert isinstance(facts, Facts) and facts.cpu_seconds > 0 and facts.groups == 8 and facts.skipped is None
    assert np.isfinite(facts.cpu_seconds)


def test_rows_with_known_settings_take_them_over_without_trials(data, tmp_path):
    """In another comparison, of which every row may be measured with every seed."""
    chosen = {"best-of-N, reprojection": {"rate": 7e-4, "steps": 3, "temperature": 0.1}, "base": {"rate": 0.0}}
    path = tmp_path / "known.json"
    path.write_text(json.dumps({"rows": {name: {"choice": choice} for name, choice in chosen.items()}}))
    one = some(data, tmp_path, known=path, seeds=(0, 1), all_matter=True, rows=("best-of-N, rep", "GPA code, half"))
    row = row_named("best-of-N, reprojection")
    assert one.trials(row) == () and one.choice(row) == study.Choice(7e-4, 3, 0.1)
    assert [(c.rate, c.steps, c.seed) for c in one.final_cells(row, one.choice(row))] == [(7e-4, 3, 0), (7e-4, 3, 1)]
    half = row_named("GPA code, half truth, reprojection")
    assert [c.rate for c in one.trials(half)] == [3e-4] and one.critics_of("wild", 0) == (
        "reprojection",
        "oracle-gpa",
        "scorer-lab",
    )
    assert [c.seed for c in one.final_cells(half, study.Choice(1e-3, 2, None))] == [0, 1]
    path.write_text('{"rows": [3]}')
    with pytest.raises(InputError, match=r"known\.json: not a document of the comparison"):
        assert some(data, tmp_path, known=path).known
