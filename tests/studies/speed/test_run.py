"""`hmralign bench speed`: a document with machine and roofline, a check by ratios, two versions in turns."""

import json
from pathlib import Path

import pytest

from hmralign.cli.main import main
from hmralign.structures import InputError
from hmralign.studies.speed.run import compare_versions, slower_stages, speed_markdown
from hmralign.studies.speed.stages import opened_setting, stage_names, stages

SOURCE = Path(__file__).parents[3] / "src"


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "speed.json"
    words = ["--stages", "context", "metrics", "store", "--repeats", "1", "--out", str(out), "--quiet"]
    assert main(["bench", "speed", *words]) == 0
    return out


def test_the_document(said):
    document = json.loads(said.read_text())
    assert [row["name"] for row in document["stages"]] == [
        "context, 1 person", "context, 16 persons", "store, 16 persons, G = 20, one critic",
        "metrics, PA-MPJPE of 2000 poses",
    ]  # fmt: skip
    assert document["machine"]["threads"] == 1 and document["machine"]["torch"] and document["machine"]["processor"]
    assert document["roofline"]["gflops"] > 0
    for row in document["stages"]:
        assert row["cpu_seconds"] > 0 and row["wall_seconds"] > 0 and row["gigabytes"] > 0 and row["products"] > 0
        assert row["per_cpu_second"] == pytest.approx(row["items"] / row["cpu_seconds"])
        assert row["bound_by"] in ("arithmetic", "memory", "overhead")
    page = said.with_suffix(".md").read_text()
    assert page == speed_markdown(document) and "| store, 16 persons" in page


def test_slower_stages_are_named_by_products_and_not_by_seconds(said, tmp_path):
    document = json.loads(said.read_text())
    assert slower_stages(document, said) == []
    earlier = json.loads(said.read_text())
    for row in earlier["stages"]:
        row["cpu_seconds"] /= 100  # another machine
    earlier["stages"][1]["products"] /= 2
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    assert slower_stages(document, tmp_path / "earlier.json") == ["context, 16 persons: 2.00 times the products"]
    earlier["stages"] = []
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    with pytest.raises(InputError, match="none of these stages"):
        slower_stages(document, tmp_path / "earlier.json")


def test_a_check_that_fails_ends_with_its_code(said, tmp_path, capsys):
    earlier = json.loads(said.read_text())
    for row in earlier["stages"]:
        row["products"] /= 1000
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    words = ["--stages", "metrics", "--repeats", "1", "--check", str(tmp_path / "earlier.json"), "--json"]
    assert main(["bench", "speed", *words]) == 3
    out, err = capsys.readouterr()
    assert len(json.loads(out)["slower"]) == 1 and "warning: metrics" in err


def test_two_versions_are_timed_in_turns():
    document = compare_versions(SOURCE, ("metrics",), rounds=3)
    (row,) = document["stages"]
    assert row["least"] <= row["faster_by"] <= row["most"] and 0.2 < row["faster_by"] < 5  # it is the same version
    assert row["cpu_seconds"] > 0 and row["other_cpu_seconds"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--stages", "dance"], "there is no stage 'dance'"),
        (["--against", "nowhere"], "has no folder hmralign"),
        (["--against", "nowhere", "--check", "it.json"], "--check and --against"),
        (["--out", "speed.txt"], "ends in .json"),
        (["--repeats", "0"], "at least 1"),
    ],
)
def test_what_is_refused(words, says, capsys):
    assert main(["bench", "speed", *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_every_stage_runs():
    with opened_setting() as setting:
        found = list(stages(setting, stage_names()))
        assert len(found) > 25 and len({stage.name for stage in found}) == len(found)
        for stage in found:
            stage.work()
