"""Answers of a batch become what live answers would have become, in any order, once each, and nothing is filled in."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.systems.group_preference.batch_export import export_batch
from hmralign.systems.group_preference.batch_folder import BatchFolder, BatchLimits, exporting
from hmralign.systems.group_preference.batch_import import ImportReport, import_answers
from hmralign.systems.group_preference.score import score_groups
from hmralign.systems.group_preference.verdict_files import read_verdicts
from hmralign.vlm.asking import Limits
from hmralign.vlm.backends import Nobody
from hmralign.vlm.image_tokens import QWEN3_VL
from hmralign.vlm.journal import Journal
from hmralign.vlm.prices import Price, PriceTable
from support.batch_answers import answer_lines, entries_of, killed, write_lines
from support.judged_stores import BODY, SCORE, TruthJudge, asker, judged_store
from support.killed_asker import die_at

PRICES = PriceTable({"scripted": Price(1.0, 2.0)})
REQUESTS = 4


class Round:
    """A store, its requests and right answers to them, made once."""

    def __init__(self, folder: Path):
        self.folder, self.out = judged_store(folder / "store", count=2), folder / "out"
        self.judge = TruthJudge(self.folder)
        with Journal.open(folder / "empty.sqlite") as journal:
            export_batch(self.folder, self.out, journal, "scripted", BODY, SCORE)
        self.lines = answer_lines(self.out, self.judge)


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    return Round(tmp_path_factory.mktemp("round"))


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        yield journal


def changed(line, **fields):
    """A copy whose answer has another text, or other fields of a completion."""
    line = json.loads(json.dumps(line))
    body = line["response"]["body"]
    choice = body["choices"][0]
    if "text" in fields:
        choice["message"]["content"] = fields.pop("text")
    if "finish" in fields:
        choice["finish_reason"] = fields.pop("finish")
    body |= fields
    return line


def answered(line) -> dict:
    return json.loads(line["response"]["body"]["choices"][0]["message"]["content"])


def take(sent, journal, tmp_path, lines, **more) -> ImportReport:
    path = write_lines(tmp_path / "answers.jsonl", lines)
    return import_answers(sent.folder, sent.out, [path], journal, PRICES, **more)


def test_scores_are_those_of_a_live_run_bit_by_bit(sent, tmp_path, journal):
    with Journal.open(tmp_path / "live.sqlite") as live:
        live_asker = replace(asker(TruthJudge(sent.folder).backend, live), prices=PRICES)
        folder = Path(shutil.copytree(sent.folder, tmp_path / "store"))
        score_groups(folder, live_asker, BODY, SCORE, name="live")
        spent = live.spent()
    lines = random.Random(3).sample(sent.lines, len(sent.lines))
    files = [write_lines(tmp_path / "a.jsonl", lines[:1]), write_lines(tmp_path / "b.jsonl", lines[1:])]
    report = import_answers(folder, sent.out, files, journal, PRICES)
    assert (report.answered, report.failed, report.missing) == (REQUESTS, {}, 0)
    assert journal.spent() == spent and report.cost == pytest.approx(spent.cost)
    assert (report.prompt_tokens, report.completion_tokens) == (spent.prompt_tokens, spent.completion_tokens)

    scored = score_groups(folder, asker(Nobody("scripted"), journal, journal_only=True), BODY, SCORE)
    assert (scored.judged, scored.calls) == (2, 0) and journal.spent() == spent
    store = GroupStore.open(folder)
    assert torch.equal(store.scores("vlm"), store.scores("live"))
    assert read_verdicts(store, "vlm") == read_verdicts(store, "live")


def test_lines_that_came_before_change_nothing(sent, tmp_path, journal):
    twice = [*sent.lines, *reversed(sent.lines)]
    first = take(sent, journal, tmp_path, twice)
    assert (first.answered, first.known) == (REQUESTS, REQUESTS)
    spent = journal.spent()
    again = take(sent, journal, tmp_path, twice)
    assert (again.answered, again.known, again.cost) == (0, 2 * REQUESTS, 0.0) and journal.spent() == spent
    other = {label: {"score": 1, "comment": ""} for label in answered(sent.lines[0])}
    late = take(sent, journal, tmp_path, [changed(sent.lines[0], text=json.dumps(other))])
    assert late.known == 1 and journal.spent() == spent, "a question that has its answer keeps it"


def test_what_is_wrong_with_a_file_is_said_and_the_rest_is_taken(sent, tmp_path, journal):
    lines = [sent.lines[0], b"{half", {**sent.lines[1], "custom_id": "someone"}, sent.lines[2]]
    report = take(sent, journal, tmp_path, lines)
    assert (report.answered, report.missing, report.unknown) == (2, 2, ("someone",))
    (corrupt,) = report.corrupt
    assert "answers.jsonl, line 2" in corrupt and "no JSON" in corrupt
    rest = take(sent, journal, tmp_path, sent.lines)
    assert (rest.answered, rest.known, rest.missing) == (2, 2, 0)


FAULTS = {
    "out of range": lambda s: {**s, next(iter(s)): {"score": 250, "comment": ""}},
    "no score": lambda s: {**s, next(iter(s)): {"comment": "good"}},
    "missing label": lambda s: dict(list(s.items())[1:]),
    "foreign label": lambda s: {**s, "?": s[next(iter(s))]},
}


def test_absurd_answers_are_attempts_and_no_scores(sent, tmp_path, journal):
    pairs = zip(sent.lines, FAULTS.values(), strict=True)
    lines = [changed(line, text=json.dumps(change(answered(line)))) for line, change in pairs]
    report = take(sent, journal, tmp_path, lines)
    assert report.answered == 0 and sum(report.failed.values()) == REQUESTS
    assert set(report.failed) <= {"schema", "labels"}
    assert journal.spent().calls == REQUESTS and journal.spent().answers == 0
    assert report.cost > 0, "what cannot be used is paid for"
    for entry, line in zip(entries_of(sent.out), lines, strict=True):
        (attempt,) = journal.attempts(entry.key)
        assert attempt.status == "invalid" and json.loads(attempt.body) == line["response"]["body"]
    next_round = export_batch(sent.folder, tmp_path / "next", journal, "scripted", BODY, SCORE)
    assert next_round.requests == REQUESTS
    assert [e.custom_id for e in entries_of(tmp_path / "next")] == [f"{e.key[:60]}-1" for e in entries_of(sent.out)]
    # The second attempts are right, and their answers are told from late ones of the first.
    second = answer_lines(tmp_path / "next", sent.judge)
    path = write_lines(tmp_path / "second.jsonl", second)
    assert import_answers(sent.folder, tmp_path / "next", [path], journal).answered == REQUESTS
    assert take(sent, journal, tmp_path, lines).known == REQUESTS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": "I would say 80."}, "json"),
        ({"text": ""}, "empty"),
        ({"finish": "length"}, "length"),
        ({"text": "", "finish": "content_filter"}, "refusal"),
    ],
)
def test_reasons_are_those_of_live_answers(sent, tmp_path, journal, change, reason):
    assert take(sent, journal, tmp_path, [changed(sent.lines[0], **change)]).failed == {reason: 1}
    (attempt,) = journal.attempts(entries_of(sent.out)[0].key)
    assert attempt.status == ("refused" if reason == "refusal" else "invalid")


def test_errors_of_the_service_are_no_attempts_and_are_exported_again(sent, tmp_path, journal):
    ids = [line["custom_id"] for line in sent.lines]
    lines = [
        {"custom_id": ids[0], "response": None, "error": {"code": "batch_expired", "message": "too late"}},
        {"custom_id": ids[1], "response": {"status_code": 400, "body": None}, "error": "too long"},
        sent.lines[2],
    ]
    report = take(sent, journal, tmp_path, lines)
    assert report.failed == {"batch_expired": 1, "status 400": 1} and (report.answered, report.missing) == (1, 1)
    assert journal.spent().cost == report.cost and journal.attempts(ids[0])[0].status == "error"
    assert take(sent, journal, tmp_path, lines).known == 3
    assert export_batch(sent.folder, tmp_path / "next", journal, "scripted", BODY, SCORE).requests == 3
    assert [e.custom_id for e in entries_of(tmp_path / "next")] == [ids[0], ids[1], ids[3]]


def test_the_documented_loop_ends_with_the_scores_of_a_live_run(tmp_path, journal):
    folder, out = judged_store(tmp_path / "store", count=4), tmp_path / "first"
    judge, nobody = TruthJudge(folder), asker(Nobody("scripted"), journal, journal_only=True)
    with Journal.open(tmp_path / "live.sqlite") as live:
        score_groups(folder, asker(judge.backend, live), BODY, SCORE, name="live")
    export_batch(folder, out, journal, "scripted", BODY, SCORE)
    lines = answer_lines(out, judge)
    import_answers(folder, out, [write_lines(tmp_path / "a.jsonl", lines[:-1])], journal)
    spent = journal.spent()
    report = score_groups(folder, nobody, BODY, SCORE)
    assert (report.groups, report.judged, report.waiting, report.unjudged) == (2, 2, 1, ())
    assert GroupStore.open(folder).unscored("vlm") == [1] and journal.spent() == spent, "nothing is filled in"

    rest = tmp_path / "rest"
    assert export_batch(folder, rest, journal, "scripted", BODY, SCORE).requests == 1
    import_answers(folder, rest, [write_lines(tmp_path / "b.jsonl", answer_lines(rest, judge))], journal)
    report = score_groups(folder, nobody, BODY, SCORE)
    assert (report.groups, report.judged, report.waiting) == (4, 4, 0)
    store = GroupStore.open(folder)
    assert torch.equal(store.scores("vlm"), store.scores("live"))
    assert read_verdicts(store, "vlm") == read_verdicts(store, "live")


def test_good_verdicts_outlast_a_journal_without_answers(sent, tmp_path, journal):
    folder = Path(shutil.copytree(sent.folder, tmp_path / "store"))
    ids = GroupStore.open(folder).shard_ids(0)
    with Journal.open(tmp_path / "live.sqlite") as live:
        wrong = TruthJudge(folder, wrong={ids[0]: "garbage"})
        score_groups(folder, asker(wrong.backend, live), BODY, SCORE)
    before = read_verdicts(GroupStore.open(folder), "vlm")
    assert sorted(line["status"] for line in before) == ["judged", "unjudged"]
    nobody = asker(Nobody("scripted"), journal, journal_only=True)
    assert score_groups(folder, nobody, BODY, SCORE, retry=True).waiting == 2
    assert read_verdicts(GroupStore.open(folder), "vlm") == before


def test_a_wrong_name_of_the_model_leaves_nothing_behind(sent, tmp_path, journal):
    take(sent, journal, tmp_path, sent.lines)
    folder = Path(shutil.copytree(sent.folder, tmp_path / "store"))
    assert score_groups(folder, asker(Nobody("skripted"), journal, journal_only=True), BODY, SCORE).waiting == 2
    assert score_groups(folder, asker(Nobody("scripted"), journal, journal_only=True), BODY, SCORE).judged == 2


def test_answers_that_were_given_without_looking_are_refused(sent, tmp_path, journal):
    limits, out = Limits(check_pictures=QWEN3_VL), tmp_path / "out"
    export_batch(sent.folder, out, journal, "scripted", BODY, SCORE, limits=limits)
    blind = changed(sent.lines[0], usage={"prompt_tokens": 3, "completion_tokens": 2})
    path = write_lines(tmp_path / "a.jsonl", [blind, *sent.lines[1:]])
    report = import_answers(sent.folder, out, [path], journal)
    assert report.failed == {"prompt_cut": 1} and report.answered == REQUESTS - 1


def test_half_a_surrogate_pair_blocks_no_import(sent, tmp_path, journal):
    half = changed(
        sent.lines[0], text=json.dumps({k: {**v, "comment": "\ud83d"} for k, v in answered(sent.lines[0]).items()})
    )
    broken = changed(sent.lines[1], text="\ud83d {")
    report = take(sent, journal, tmp_path, [half, broken, *sent.lines[2:]])
    assert report.answered == REQUESTS - 1 and report.failed == {"json": 1}
    take(sent, journal, tmp_path, sent.lines)
    folder = Path(shutil.copytree(sent.folder, tmp_path / "store"))
    assert score_groups(folder, asker(Nobody("scripted"), journal, journal_only=True), BODY, SCORE).judged == 2


def test_a_service_that_counts_no_tokens_is_estimated(sent, tmp_path, journal):
    report = take(sent, journal, tmp_path, [changed(sent.lines[0], usage=None)])
    assert report.prompt_tokens > 200 and report.completion_tokens > 5 and report.cost > 0


def test_answers_of_another_model_are_refused_before_anything_is_written(sent, tmp_path, journal):
    lines = [sent.lines[0], changed(sent.lines[1], model="scripted-lite")]
    with pytest.raises(InputError, match=r"answers\.jsonl, line 2: is by the model 'scripted-lite'"):
        take(sent, journal, tmp_path, lines)
    assert journal.spent().calls == 0
    assert take(sent, journal, tmp_path, lines, answered_by=["scripted-lite"]).answered == 2
    assert take(sent, journal, tmp_path, [changed(sent.lines[2], model="Scripted-2026-01-31")]).answered == 1


def test_other_stores_and_changed_requests_are_refused(sent, tmp_path, journal):
    path = write_lines(tmp_path / "a.jsonl", sent.lines)
    other = judged_store(tmp_path / "other", persons_from=4, count=2)
    with pytest.raises(InputError, match="another store"):
        import_answers(other, sent.out, [path], journal)
    with pytest.raises(InputError, match=r"no manifest\.json"):
        import_answers(sent.folder, sent.folder, [path], journal)
    with pytest.raises(InputError, match="cannot be read"):
        import_answers(sent.folder, sent.out, [tmp_path / "none.jsonl"], journal)
    out = Path(shutil.copytree(sent.out, tmp_path / "out"))
    file = out / "requests_00000.jsonl"
    file.write_bytes(file.read_bytes().replace(b"predictions", b"predictionz", 1))
    with pytest.raises(InputError, match="was changed since it was written"):
        import_answers(sent.folder, out, [path], journal)
    file.unlink()
    with pytest.raises(InputError, match=r"requests_00000\.jsonl is missing"):
        import_answers(sent.folder, out, [path], journal)
    index = out / "index_00000.jsonl"
    index.write_bytes(index.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"index_00000\.jsonl: damaged"):
        import_answers(sent.folder, out, [path], journal)


@pytest.mark.parametrize(("point", "commit"), [("before", 0), ("inside", 1), ("after", 2)])
def test_a_killed_import_is_continued(sent, tmp_path, point, commit):
    path = write_lines(tmp_path / "a.jsonl", sent.lines)

    def run():
        with Journal.open(tmp_path / "journal.sqlite") as own:
            die_at(own, point, commit)
            import_answers(sent.folder, sent.out, [path], own)

    killed(run)
    kept = commit + (point == "after")
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        assert journal.spent().answers == kept
        report = import_answers(sent.folder, sent.out, [path], journal)
        assert (report.answered, report.known) == (REQUESTS - kept, kept)
        assert journal.spent().calls == REQUESTS


def test_two_questions_of_one_name_are_refused(sent, tmp_path):
    out = Path(shutil.copytree(sent.out, tmp_path / "out"))
    folder = BatchFolder.open(out)
    entry = next(folder.entries())
    request = folder.request(entry)
    with exporting(out, folder.manifest, BatchLimits()) as writer:
        assert not writer.add(entry, request)
        with pytest.raises(InputError, match="two questions have the name"):
            writer.add(replace(entry, key=entry.key[:60] + "zzzz"), request)
