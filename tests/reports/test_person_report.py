"""The page holds everything, asks for nothing from outside, and no name can become markup."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from hmralign.reports.person_report import render_report, spread_scale, write_report
from hmralign.reports.report_data import MAX_HYPOTHESES, Report, ReportPhoto
from hmralign.structures import InputError
from support.report_example import HOSTILE, example_person, example_report


class _Reader(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.raw: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside:
            self.raw.append((self._inside, data))
        else:
            self.words.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(example_report())


@pytest.fixture(scope="module")
def data(page) -> dict:
    return json.loads(next(raw for kind, raw in _Reader(page).raw if kind == "script" and raw.startswith("{")))


def test_nothing_points_outside(page):
    reader = _Reader(page)
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "action", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        assert "style" not in attributes and not any(a.startswith("on") for a in attributes)
    styles = [raw for kind, raw in reader.raw if kind == "style"]
    assert not any("url(" in s or "@import" in s for s in styles)


def test_the_policy_allows_exactly_the_pages_own_script_and_style(page):
    reader = _Reader(page)
    policy = next(a["content"] for tag, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy and "unsafe" not in policy
    bodies = {"script": [], "style": []}
    for kind, raw in reader.raw:
        bodies[kind].append(raw)
    run = [raw for raw in bodies["script"] if not raw.startswith("{")]
    assert len(run) == 1 and len(bodies["style"]) == 1
    for text in (*run, *bodies["style"]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_hostile_names_stay_text(page):
    reader = _Reader(page)
    assert not any(tag == "img" and a.get("src") == "x" for tag, a in reader.tags)
    assert sum(tag == "script" for tag, _ in reader.tags) == 2
    assert HOSTILE in "".join(reader.words)
    assert "<b>tags</b>" in "".join(reader.words)


def test_the_viewer_gets_the_bodies_in_ranked_order_and_to_a_tenth_of_a_millimetre(data):
    report = example_report()
    person, packed = report.photos[0].persons[0], data["persons"][0]
    assert packed["labels"] == ["Fused", "#1", "#2", "#3", "#4"]
    steps = np.frombuffer(base64.b64decode(packed["vertices"]), "<i2").reshape(5, packed["numVertices"], 3)
    bodies = np.array(packed["center"]) + packed["step"] * steps
    expected = np.concatenate([person.fused_vertices[None], person.vertices[np.argsort(-person.scores)]])
    assert np.abs(bodies - expected).max() < 1e-4
    faces = np.frombuffer(base64.b64decode(data["faces"][packed["faces"]]["data"]), "<u2").reshape(-1, 3)
    assert np.array_equal(faces, person.faces)
    assert data["persons"][1]["labels"] == ["#1", "#2", "#3", "#4"] and data["persons"][1]["name"] == HOSTILE
    assert len(data["faces"]) == 1  # shared


def test_cards_are_best_first_with_their_scores(page):
    person = example_report().photos[0].persons[0]
    first_panel = page.split('class="person"')[1]
    shown = [float(s) for s in re.findall(r"<i>score ([0-9.]+)</i>", first_panel)]
    assert shown == [round(float(s), 3) for s in sorted(person.scores, reverse=True)]


def test_labels_and_numbers_reach_the_page(page):
    words = " ".join(_Reader(page).words)
    for text in ("12.3 cm", "87 %", "Left arm", "Size", "320 x 240", "2 photos, 3 people, 4 hypotheses each"):
        assert text in words, text
    for tag, attributes in _Reader(page).tags:
        if tag == "img":
            assert "alt" in attributes


def test_of_many_hypotheses_the_best_twenty_are_shown():
    person = example_person("one", count=4)
    many = replace(
        person, vertices=np.repeat(person.vertices, 6, 0), scores=np.arange(24.0), thumbnails=(), fused_vertices=None
    )
    assert many.ranked() == list(range(23, 3, -1)) and len(many.ranked()) == MAX_HYPOTHESES


def test_the_file_is_small_enough_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "new" / "report.html"
    for _ in range(2):
        assert write_report(path, example_report()) == path
    assert path.stat().st_size < 3 * 4 * 2**20
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(("spread", "expected"), [(0.0, 0.02), (0.031, 0.04), (0.11, 0.12), (9.0, 2.0)])
def test_the_colour_scale_ends_at_a_round_number(spread, expected):
    assert spread_scale(np.full(100, spread)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": np.zeros((0, 10, 3))}, "no hypothesis"),
        ({"scores": np.zeros(3)}, "scores"),
        ({"spread": np.zeros(3)}, "spread"),
        ({"faces": np.array([[0, 1, 10**6]])}, "faces"),
        ({"vertices": np.full((4, 1020, 3), np.nan)}, "not finite"),
        ({"thumbnails": [()]}, "thumbnails"),
    ],
)
def test_wrong_input_names_the_person_and_the_field(change, message):
    person = example_person("Ada")
    with pytest.raises(InputError, match=message) as error:
        replace(person, **change)
    assert "Ada" in str(error.value)


def test_a_report_on_nobody_is_refused():
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InputError, match="no person"):
        render_report(Report("empty", [ReportPhoto("a.jpg", picture, picture, [])]))
