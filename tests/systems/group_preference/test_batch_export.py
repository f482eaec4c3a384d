"""Requests in files are the requests of a live run, each once, whatever stops the export."""

import asyncio
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from hmralign.structures import InputError
from hmralign.systems.group_preference import batch_folder
from hmralign.systems.group_preference.batch_export import BatchForm, export_batch
from hmralign.systems.group_preference.batch_folder import BatchFolder, BatchLimits
from hmralign.systems.group_preference.batch_import import import_answers
from hmralign.systems.group_preference.score import score_groups
from hmralign.vlm.asking import Limits
from hmralign.vlm.chat import request_key
from hmralign.vlm.journal import Journal
from hmralign.vlm.request_body import request_body
from support.batch_answers import answer_lines, die, entries_of, killed, request_lines, write_lines
from support.judged_stores import BODY, JUDGE, SCORE, TruthJudge, asker, judged_store

REQUESTS = 4
"""Two groups, two calls each."""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return judged_store(tmp_path_factory.mktemp("original") / "store", count=2)


@pytest.fixture
def folder(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "store"))


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        yield journal


def export(folder, out, journal, config=SCORE, model="scripted", **more):
    return export_batch(folder, out, journal, model, BODY, config, **more)


def test_lines_are_the_requests_of_a_live_run(folder, tmp_path, journal):
    report = export(folder, tmp_path / "out", journal)
    judge = TruthJudge(folder)
    with Journal.open(tmp_path / "live.sqlite") as live:
        score_groups(folder, asker(judge.backend, live), BODY, SCORE)
    lines = {line["custom_id"]: line["body"] for line in request_lines(tmp_path / "out")}
    assert report.requests == len(lines) == REQUESTS and len(report.files) == 1
    assert lines == {request_key("scripted", r): request_body(r, "scripted") for r in judge.backend.requests}
    (file,) = report.files
    content = (tmp_path / "out" / file.file).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
    assert journal.spent().calls == 0


def test_a_second_export_writes_nothing_and_what_is_answered_is_left_out(folder, tmp_path, journal):
    export(folder, tmp_path / "out", journal)
    before = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    again = export(folder, tmp_path / "out", journal)
    assert (again.requests, again.waiting, again.files) == (0, REQUESTS, ())
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    score_groups(folder, asker(TruthJudge(folder).backend, journal), BODY, SCORE, name="live")
    assert export(folder, tmp_path / "other", journal).answered == REQUESTS
    assert request_lines(tmp_path / "other") == []
    nothing = export(folder, tmp_path / "other", journal, name="live")
    assert (nothing.requests, nothing.answered) == (0, 0), "these groups are scored"


def test_files_keep_to_their_limits(folder, tmp_path, journal):
    one = export(folder, tmp_path / "one", journal)
    by_count = export(folder, tmp_path / "count", journal, form=BatchForm(limits=BatchLimits(max_requests=3)))
    assert [file.requests for file in by_count.files] == [3, 1]
    sizes = [entry.length for entry in entries_of(tmp_path / "one")]
    limit = (sizes[0] + sizes[1]) / 1e6
    by_size = export(folder, tmp_path / "size", journal, form=BatchForm(limits=BatchLimits(max_megabytes=limit)))
    assert len(by_size.files) >= 2 and max(file.bytes for file in by_size.files) <= limit * 1e6
    assert request_lines(tmp_path / "count") == request_lines(tmp_path / "size") == request_lines(tmp_path / "one")
    assert one.requests == by_count.requests == by_size.requests
    for name, number in (("count", 2), ("size", len(by_size.files))):
        assert [f.file for f in BatchFolder.open(tmp_path / name).files()] == [
            f"requests_{n:05d}.jsonl" for n in range(number)
        ]
    with pytest.raises(InputError, match=r"wild/train/000000.*may have 0\.001"):
        export(folder, tmp_path / "tiny", journal, form=BatchForm(limits=BatchLimits(max_megabytes=0.001)))
    with pytest.raises(InputError, match="more than 0"):
        BatchLimits(max_requests=0)


@pytest.mark.parametrize(("images", "address"), [("files", "file:///mnt/b/images/"), ("urls", "https://h.example/p/")])
def test_pictures_may_lie_beside_the_requests(folder, tmp_path, journal, images, address):
    export(folder, tmp_path / "inline", journal)
    report = export(folder, tmp_path / "out", journal, form=BatchForm(images, address))
    inline, beside = request_lines(tmp_path / "inline"), request_lines(tmp_path / "out")
    assert [line["custom_id"] for line in beside] == [line["custom_id"] for line in inline]
    assert report.files[0].bytes < 40_000 and "base64" not in json.dumps(beside)
    addresses = {
        p["image_url"]["url"] for line in beside for p in line["body"]["messages"][1]["content"] if "image_url" in p
    }
    assert all(a.startswith(address) for a in addresses)
    files = {a: tmp_path / "out" / "images" / a.removeprefix(address) for a in addresses}
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.stem for path in files.values())
    batch = BatchFolder.open(tmp_path / "out")
    assert [request_key("scripted", batch.request(e)) for e in batch.entries()] == [e.key for e in batch.entries()]
    next(iter(files.values())).unlink()
    with pytest.raises(InputError, match="keep requests and images"):
        [batch.request(entry) for entry in batch.entries()]


def test_addresses_have_to_fit_their_kind():
    for images, address in (("inline", "file:///x/"), ("files", ""), ("files", "https://x/"), ("urls", "file:///x/")):
        with pytest.raises(InputError, match=f"pictures as '{images}'"):
            BatchForm(images, address)
    with pytest.raises(InputError, match="end with /"):
        BatchForm("urls", "https://x")


@pytest.mark.parametrize(("point", "number"), [("file", 1), ("index", 0), ("index", 1), ("after", 0)])
def test_a_killed_export_is_continued(folder, tmp_path, journal, monkeypatch, point, number):
    form, out = BatchForm(limits=BatchLimits(max_requests=2)), tmp_path / "out"

    def run():
        calls, replace_, index = [], os.replace, batch_folder._write_index

        def dying_replace(source, target):
            if point == "file" and Path(target).name == f"requests_{number:05d}.jsonl":
                die()
            replace_(source, target)

        def dying_index(path, head, entries):
            calls.append(path)
            if point == "index" and len(calls) == number + 1:
                die()
            index(path, head, entries)
            if point == "after" and len(calls) == number + 1:
                die()

        monkeypatch.setattr(batch_folder.os, "replace", dying_replace)
        monkeypatch.setattr(batch_folder, "_write_index", dying_index)
        with Journal.open(tmp_path / "journal.sqlite") as own:
            export(folder, out, own, form=form)

    killed(run)
    kept = 2 * (number + (point == "after"))
    assert len(entries_of(out)) == kept
    (out / ".manifest.json.abc").touch()
    report = export(folder, out, journal, form=form)
    assert (report.requests, report.waiting) == (REQUESTS - kept, kept)
    export(folder, tmp_path / "straight", journal, form=form)
    assert request_lines(out) == request_lines(tmp_path / "straight")
    assert [p.name for p in out.iterdir() if p.name.startswith(".")] == [".lock"]


def test_a_folder_is_continued_with_the_same_alone(folder, tmp_path, journal):
    export(folder, tmp_path / "out", journal)
    with pytest.raises(InputError, match="made with model = "):
        export(folder, tmp_path / "out", journal, model="other")
    with pytest.raises(InputError, match=r"made with settings\.seed = "):
        export(folder, tmp_path / "out", journal, replace(SCORE, judge=replace(JUDGE, seed=1)))
    with pytest.raises(InputError, match="made with images = "):
        export(folder, tmp_path / "out", journal, form=BatchForm("urls", "https://x/"))
    with pytest.raises(InputError, match="no folder of requests"):
        export(folder, folder, journal)
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(InputError, match="another process"):
        export(folder, tmp_path / "out", journal)
    (tmp_path / "out" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="format version"):
        export(folder, tmp_path / "out", journal)


def test_scores_by_another_judge_are_refused_before_anything_is_written(folder, tmp_path, journal):
    score_groups(folder, asker(TruthJudge(folder).backend, journal), BODY, SCORE)
    with pytest.raises(InputError, match="other settings"):
        export(folder, tmp_path / "out", journal, model="other")
    assert not (tmp_path / "out").exists()


def test_the_second_attempt_is_that_of_a_live_run(folder, tmp_path, journal):
    judge = TruthJudge(folder, wrong={"wild/train/000001": "garbage"})
    with Journal.open(tmp_path / "live.sqlite") as live:
        score_groups(folder, asker(judge.backend, live, answer_attempts=2), BODY, SCORE, name="live")
    sent = {request_key("scripted", r): r for r in judge.backend.requests}
    assert len(sent) == REQUESTS + 2

    out, limits = tmp_path / "out", Limits(answer_attempts=2)
    for round_ in range(2):
        report = export(folder, out, journal, limits=limits)
        assert report.requests == (REQUESTS, 2)[round_]
        lines = answer_lines(out, TruthJudge(folder, wrong=judge.wrong))
        import_answers(folder, out, [write_lines(tmp_path / "a.jsonl", lines)], journal)
    assert {e.request_hash for e in entries_of(out)} == set(sent)
    second = [e for e in entries_of(out) if e.custom_id != e.key]
    assert len(second) == 2 and all(e.custom_id == f"{e.key[:60]}-1" for e in second)
    bodies = {line["custom_id"]: line["body"] for line in request_lines(out)}
    for entry in second:
        assert bodies[entry.custom_id] == request_body(sent[entry.request_hash], "scripted")
        assert "could not be used" in json.dumps(bodies[entry.custom_id])
    used_up = export(folder, out, journal, limits=limits)
    assert (used_up.requests, used_up.given_up, used_up.answered) == (0, 2, 2)
    once_more = export(folder, out, journal, limits=limits, retry=True)
    assert once_more.requests == 2 and {e.custom_id[-2:] for e in entries_of(out)[-2:]} == {"-2"}


def test_groups_that_cannot_be_drawn_are_said(tmp_path, journal):
    folder = judged_store(tmp_path / "behind", count=2, behind=1)
    report = export(folder, tmp_path / "out", journal)
    assert report.requests == 2 and [id_ for id_, _ in report.undrawn] == ["wild/train/000001"]


def test_an_answer_is_read_without_the_form_where_it_was_not_sent(folder, tmp_path, journal):
    form = BatchForm(send_schema=False)
    export(folder, tmp_path / "out", journal, form=form)
    assert "response_format" not in json.dumps(request_lines(tmp_path / "out"))
    batch = BatchFolder.open(tmp_path / "out")
    reply = asyncio.run(TruthJudge(folder).backend.complete(batch.request(next(batch.entries()))))
    assert json.loads(reply.text)


def test_requests_say_their_limit_under_the_name_that_is_asked_for(folder, tmp_path, journal):
    form = BatchForm(limit_field="max_completion_tokens")
    export(folder, tmp_path / "out", journal, form=form)
    plain = export(folder, tmp_path / "plain", journal)
    named, usual = request_lines(tmp_path / "out"), request_lines(tmp_path / "plain")
    assert plain.requests == REQUESTS and [line["custom_id"] for line in named] == [line["custom_id"] for line in usual]
    for line, other in zip(named, usual, strict=True):
        assert "max_tokens" not in line["body"]
        assert line["body"].pop("max_completion_tokens") == other["body"].pop("max_tokens")
        assert line["body"] == other["body"]
    answers = write_lines(tmp_path / "answers.jsonl", answer_lines(tmp_path / "out", TruthJudge(folder)))
    assert import_answers(folder, tmp_path / "out", [answers], journal).answered == REQUESTS
    assert import_answers(folder, tmp_path / "out", [answers], journal).known == REQUESTS
    kept = [attempt for entry in entries_of(tmp_path / "out") for attempt in journal.attempts(entry.key)]
    assert all("max_completion_tokens" in attempt.params for attempt in kept) and len(kept) == REQUESTS
    assert export(folder, tmp_path / "other", journal).answered == REQUESTS, "an answer is one however it was asked for"
    with pytest.raises(InputError, match="limit_field"):
        export(folder, tmp_path / "plain", journal, form=form)
