"""The page of a refinement: complete without scripts, every string escaped, a slider over the steps that works."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from hmralign.rendering.shading import SKY_BLUE, WARM_GOLD
from hmralign.reports.refinement_report import (
    RefinedPersonPage,
    RefinementReport,
    SaidRow,
    loss_chart,
    render_refinement_report,
    write_refinement_report,
)
from hmralign.structures import InputError
from support.browser import NO_GL, SOFTWARE_GL, chromium_page, find_chromium

CORNERS = np.array([[x, y, z] for x in (-0.3, 0.3) for y in (-0.8, 0.8) for z in (-0.15, 0.15)])
FACES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                  [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])  # fmt: skip


def example_person(steps=4, name="person_0"):
    bodies = np.stack([CORNERS + np.array([0.1 * k, 0, 4]) for k in range(steps)])
    photo = np.full((60, 60, 3), 120, np.uint8)
    said = [SaidRow("left hand on <right> knee", 0.1, 0.9, 0.5)]
    return RefinedPersonPage(
        name, bodies, FACES, np.diag([60.0, 60.0, 1.0]), (-30, -30, 30, 30), photo, np.linspace(8, 2, steps),
        np.linspace(1, 0, steps), [("Initial body", photo), ("Refined body", photo)], said, {"Words": "<b>bold</b>"},
    )  # fmt: skip


def example_report(**changes):
    persons = [example_person(), example_person(name="Person <i>")]
    return replace(
        RefinementReport("Refined <a>.jpg", "2 people & more", persons, {"Weights": "1"}, ["Mind <this>"]), **changes
    )


def data_of(page):
    return json.loads(re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_escapes_everything_and_carries_every_step():
    page = render_refinement_report(example_report())
    for raw in ("<a>.jpg", "<i>", "<b>bold", "<this>", "<right>"):
        assert raw not in page
    data = data_of(page)
    person = data["persons"][0]
    assert len(person["times"]) == len(person["labels"]) == 4 and len(data["faces"]) == 1
    assert len(base64.b64decode(person["vertices"])) == 4 * 8 * 3 * 2
    assert person["labels"][0].startswith("Initial body: keypoints 8.00, words 1.000")
    assert person["labels"][3].startswith("Step 3 of 3: keypoints 2.00, words 0.000")
    assert page.count('type="range"') == 2 and 'max="3"' in page and "style=" not in page.split("</style>")[1]
    assert "10 %" in page and "90 %" in page
    assert person["tints"][0] == pytest.approx(SKY_BLUE) and person["tints"][3] == pytest.approx(WARM_GOLD)
    assert page.count('value="3"') == 2, "what one came for is shown first"


def test_without_words_there_is_neither_a_second_line_nor_a_table():
    person = replace(example_person(), text_loss=None, said=())
    page = render_refinement_report(example_report(persons=[person]))
    assert "words" not in data_of(page)["persons"][0]["labels"][0] and 'class="said"' not in page
    assert loss_chart(person).count("<polyline") == 1 and loss_chart(example_person()).count("<polyline") == 2


def test_the_chart_goes_through_the_losses():
    points = re.findall(r'points="([^"]*)"', loss_chart(example_person()))[0]
    x, y = np.array([p.split(",") for p in points.split()], float).T
    assert (np.diff(x) > 0).all() and (np.diff(y) > 0).all(), "a falling loss falls on the page"


def test_losses_that_are_not_one_for_each_step_are_refused(tmp_path):
    with pytest.raises(InputError, match="as many losses"):
        replace(example_person(), keypoint_loss=np.zeros(3))
    with pytest.raises(InputError, match="no person"):
        write_refinement_report(tmp_path / "r.html", example_report(persons=[]))


@pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed; the page is not opened")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_shows_every_step_in_a_browser(tmp_path, width):
    path = write_refinement_report(tmp_path / "report.html", example_report())
    with chromium_page(tmp_path / "profile", SOFTWARE_GL) as page:
        page.open(path, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.querySelector('#person-0').dataset.selected") == "3", "the refined body is first"
        said = []
        for step in range(4):
            page.evaluate(
                f"(() => {{ const s = document.querySelector('#person-0 [data-time]'); s.value = {step};"
                " s.dispatchEvent(new Event('input')); })()"
            )
            said.append(page.evaluate("document.querySelector('#person-0 output').textContent"))
            assert page.evaluate("document.querySelector('#person-0').dataset.selected") == str(step)
        assert said[0].startswith("Initial body") and said[3].startswith("Step 3 of 3") and len(set(said)) == 4
        assert page.problems == [] and {r.split("#")[0] for r in page.requests} == {path.resolve().as_uri()}


@pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed; the page is not opened")
def test_without_webgl_the_pictures_and_tables_stand(tmp_path):
    path = write_refinement_report(tmp_path / "report.html", example_report())
    with chromium_page(tmp_path / "profile", NO_GL) as page:
        page.open(path)
        assert page.evaluate("document.documentElement.dataset.viewer") == "no-webgl"
        assert page.evaluate("getComputedStyle(document.querySelector('#person-0 table.said')).display") == "table"
