"""The page of a clip: complete without scripts, every string escaped, the chart as the numbers say."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from hmralign.reports.clip_report import (
    ClipMoments,
    ClipPerson,
    ClipReport,
    chart,
    render_clip_report,
    write_clip_report,
)
from hmralign.structures import InputError
from support.browser import NO_GL, SOFTWARE_GL, chromium_page, find_chromium


def example_person(frames=40, moments=5, name="Track 0"):
    rng = np.random.default_rng(0)
    at = np.linspace(0, frames - 1, moments).astype(int)
    box = np.array([[x, y, z] for x in (-0.3, 0.3) for y in (-0.8, 0.8) for z in (-0.15, 0.15)])
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                      [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])  # fmt: skip
    vertices = np.stack([box + np.array([0.4 * k / moments, 0, 4]) for k in range(moments)])
    times = np.arange(frames) / 25
    flags = np.zeros(frames, bool)
    flags[10:13] = frames > 1
    turned = np.zeros(frames, bool)
    turned[20:21] = True
    pictures = [np.full((60, 60, 3), (30 * k, 120, 60), np.uint8) for k in range(moments)]
    found = ClipMoments(vertices, faces, rng.uniform(0, 0.1, (moments, 8)), times[at], at, np.diag([60.0, 60.0, 1.0]),
                        (-30, -30, 30, 30), pictures)  # fmt: skip
    return ClipPerson(name, found, times, 0.05 + 0.02 * np.sin(times), flags, turned, {"Ends with": "the clip ends"})


def example_clip(**changes):
    persons = [example_person(), example_person(name="Track 1 <b>")]
    strip = [("0.00 s", np.zeros((40, 60, 3), np.uint8))]
    files = [("overlay.mp4: everybody", "overlay.mp4")]
    return replace(
        ClipReport("Bodies in <a>.mp4", "40 frames & more", persons, strip, files, {"Frames": "40"}), **changes
    )


def data_of(page):
    return json.loads(re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_escapes_everything_and_carries_all_moments():
    page = render_clip_report(example_clip())
    assert "<a>" not in page and "Track 1 &lt;b&gt;" in page and "40 frames &amp; more" in page
    data = data_of(page)
    person = data["persons"][0]
    assert len(person["times"]) == len(person["pictures"]) == len(person["labels"]) == 5
    assert len(base64.b64decode(person["levels"])) == 5 * 8 and len(base64.b64decode(person["ramp"])) == 3 * 256
    assert page.count('type="range"') == 2 and 'max="4"' in page and "style=" not in page.split("</style>")[1]


def test_marks_of_a_moment_are_in_its_label():
    person = example_person(moments=40)
    labels = data_of(render_clip_report(example_clip(persons=[person])))["persons"][0]["labels"]
    assert labels[11] == "0.44 s, frame 11 (filled in)" and labels[20] == "0.80 s, frame 20 (sides exchanged)"
    assert labels[0] == "0.00 s, frame 0"


def test_the_chart_goes_through_the_numbers():
    drawing = chart(example_person())
    points = np.array([p.split(",") for p in re.search(r'points="([^"]*)"', drawing)[1].split()], float)
    assert len(points) == 40 and (np.diff(points[:, 0]) > 0).all()
    spread = 0.05 + 0.02 * np.sin(np.arange(40) / 25)
    assert np.corrcoef(points[:, 1], -spread)[0, 1] > 0.999  # up is more
    assert drawing.count('class="filled"') == 1 and drawing.count('class="turned"') == 1


def test_one_moment_and_no_pictures_are_enough(tmp_path):
    person = example_person(frames=1, moments=1)
    person = replace(person, moments=replace(person.moments, pictures=()))
    assert write_clip_report(tmp_path / "report.html", example_clip(persons=[person], strip=())).is_file()


def test_a_track_without_moments_is_refused():
    person = example_person()
    nothing = replace(person.moments, times=np.zeros(0))
    with pytest.raises(InputError, match="no moment"):
        render_clip_report(example_clip(persons=[replace(person, moments=nothing)]))


@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium to look at the page")
@pytest.mark.parametrize("graphics", [SOFTWARE_GL, NO_GL])
def test_the_slider_moves_body_picture_words_and_cursor(tmp_path, graphics):
    path = write_clip_report(tmp_path / "report.html", example_clip())
    (tmp_path / "profile").mkdir()
    with chromium_page(tmp_path / "profile", graphics) as page:
        page.open(path, 390, 800)
        state = (
            "(() => { const p = document.querySelector('#person-0'); return [p.querySelector('output').textContent, "
            "p.querySelector('.backdrop').src.length, p.querySelector('[data-cursor]').getAttribute('x1'), "
            "document.documentElement.dataset.draws] })()"
        )
        before = page.evaluate(state)
        page.evaluate(
            "(() => { const s = document.querySelector('#person-0 [data-time]'); s.value = 4; "
            "s.dispatchEvent(new Event('input')) })()"
        )
        after = page.evaluate(state)
        assert before[0].startswith("0.00 s") and after[0] == "1.56 s, frame 39"
        assert float(after[2]) > float(before[2]) + 100
        assert (int(after[3]) > int(before[3])) if graphics == SOFTWARE_GL else True
        page.click("#person-0 [data-play]")
        page.wait_for("document.querySelector('#person-0 output').textContent !== '1.56 s, frame 39'")
        page.click("#person-0 [data-play]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert [p for p in page.problems if "WebGL" not in p] == []
