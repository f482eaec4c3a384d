"""The page in a real browser: it draws, it turns, it is silent, and it survives without WebGL."""

import io

import numpy as np
import pytest
from PIL import Image

from hmralign.reports.person_report import write_report
from support.browser import NO_GL, SOFTWARE_GL, chromium_page, find_chromium
from support.report_example import example_report

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium to look at the page")


@pytest.fixture(scope="module")
def page_and_path(tmp_path_factory):
    path = write_report(tmp_path_factory.mktemp("report") / "report.html", example_report())
    with chromium_page(tmp_path_factory.mktemp("profile"), SOFTWARE_GL) as page:
        yield page, path


def _stage(page, number: int = 0) -> np.ndarray:
    picture = page.screenshot(f"#person-{number} .stage")
    return np.array(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def _bluish_or_golden(picture: np.ndarray) -> float:
    """Share of pixels in a body's colour; the example's photo is green, the empty stage grey."""
    red, blue = picture[..., 0], picture[..., 2]
    return float((((blue - red) > 30) | ((red - blue) > 30)).mean())


def test_it_draws_the_selected_body_from_every_side(page_and_path):
    page, path = page_and_path
    page.problems.clear()
    page.requests.clear()
    page.open(path)
    views = {}
    for name in ("photo", "front", "side", "top"):
        page.click(f'#person-0 [data-view="{name}"]')
        views[name] = _stage(page)
        assert _bluish_or_golden(views[name]) > 0.01, name
    assert np.abs(views["front"] - views["side"]).mean() > 1
    fused = _stage(page)
    page.click('#person-0 [data-body="1"]')
    assert page.evaluate("document.querySelector('#person-0 [data-body=\"1\"]').getAttribute('aria-pressed')") == "true"
    assert np.abs(_stage(page) - fused).mean() > 0.5
    assert page.problems == []
    assert page.requests == [path.resolve().as_uri()]


def test_the_mesh_lies_on_the_photo_as_in_the_overlay(page_and_path):
    page, path = page_and_path
    page.open(path)
    page.click('#person-0 [data-body="1"]')
    report = example_report()
    person = report.photos[0].persons[0]
    side = page.evaluate("document.querySelector('#person-0 .stage').clientWidth")
    overlay = np.array(Image.fromarray(person.best_overlay).resize((side, side))).astype(int)
    ours = (overlay[..., 2] - overlay[..., 0]) > 30
    theirs = _stage(page)
    theirs = (theirs[..., 2] - theirs[..., 0]) > 30
    intersection, union = (ours & theirs).sum(), (ours | theirs).sum()
    assert intersection / union > 0.9


def test_uncertainty_and_all_change_the_picture(page_and_path):
    page, path = page_and_path
    page.open(path)
    page.click('#person-0 [data-view="front"]')
    plain = _stage(page)
    page.click('#person-0 [data-toggle="spread"]')
    colored = _stage(page)
    assert np.abs(colored - plain).mean() > 0.5
    assert page.evaluate("getComputedStyle(document.querySelector('#person-0 .colorbar')).display") == "grid"
    page.click('#person-0 [data-toggle="all"]')
    assert np.abs(_stage(page) - colored).mean() > 0.1


def test_tabs_show_one_person_and_keep_names_as_text(page_and_path):
    page, path = page_and_path
    page.open(path)
    visible = "[...document.querySelectorAll('.person')].map(p => !p.hidden)"
    assert page.evaluate(visible) == [True, False, False]
    page.click("#tab-1")
    assert page.evaluate(visible) == [False, True, False]
    assert _bluish_or_golden(_stage(page, 1)) > 0.01
    assert page.evaluate("document.querySelectorAll('canvas').length") == 1
    assert page.evaluate("document.querySelectorAll('[src=x]').length") == 0
    assert page.problems == []


def test_arrow_keys_turn_the_body(page_and_path):
    page, path = page_and_path
    page.open(path)
    page.click('#person-0 [data-view="front"]')
    before = _stage(page)
    page.evaluate(
        "document.querySelector('canvas')"
        ".dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))"
    )
    page.evaluate("new Promise(done => requestAnimationFrame(done))")
    assert np.abs(_stage(page) - before).mean() > 0.1


def test_a_narrow_screen_needs_no_sideways_scrolling(page_and_path):
    page, path = page_and_path
    page.open(path, width=360, height=700, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert _bluish_or_golden(_stage(page)) > 0.01


WORDS_IN_PIECES = """
(() => {
  const broken = [], range = document.createRange();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest('script, style') || !node.parentElement.checkVisibility()) continue;
    for (const word of node.textContent.matchAll(/[^\\s-]{2,24}/g)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const tops = new Set([...range.getClientRects()].map((r) => Math.round(r.top)));
      if (tops.size > 1) broken.push(word[0]);
    }
  }
  return broken;
})()
"""


@pytest.mark.parametrize("width", [390, 1280])
def test_no_word_is_broken_and_wide_tables_scroll(page_and_path, width):
    page, path = page_and_path
    page.open(path, width=width)
    plain = [word for word in page.evaluate(WORDS_IN_PIECES) if word.isalpha()]
    assert plain == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.closest('.scroll') && "
        "getComputedStyle(t.closest('.scroll')).overflowX === 'auto')"
    )
    assert wide
    # A word that is too long makes its table wider than its place, and the table scrolls.
    page.evaluate(
        "document.querySelector('#person-0 table th').textContent = 'Lopadotemachoselachogaleokranio'.repeat(3)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = "document.querySelector('#person-0 .scroll')"
    assert page.evaluate(f"{box}.scrollWidth > {box}.clientWidth")
    page.open(path, width=width)
    page.evaluate("document.querySelectorAll('th, td').forEach(c => c.style.overflowWrap = 'anywhere')")
    if width == 390:
        assert page.evaluate(WORDS_IN_PIECES), "cells that break words would not be seen"


def test_a_link_to_a_person_opens_that_person(page_and_path):
    page, path = page_and_path
    page.open(path)
    page.evaluate("window.location.hash = '#person-2'")
    page.wait_for("!document.querySelector('#person-2').hidden")
    assert page.evaluate("[...document.querySelectorAll('.person')].map(p => !p.hidden)") == [False, False, True]
    page.evaluate("window.location.hash = '#nobody'")
    assert page.evaluate("document.querySelector('#person-2').hidden") is False


def test_without_webgl_the_pictures_remain(tmp_path, page_and_path):
    with chromium_page(tmp_path / "profile", NO_GL) as page:
        page.open(page_and_path[1])
        assert page.evaluate("document.documentElement.dataset.viewer") == "no-webgl"
        shown = "getComputedStyle(document.querySelector('#person-0 .{}')).display"
        assert page.evaluate(shown.format("fallback")) == "block"
        assert page.evaluate(shown.format("toolbar")) == "none"
        assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        page.click("#tab-2")
        assert page.evaluate("[...document.querySelectorAll('.person')].map(p => !p.hidden)") == [False, False, True]
