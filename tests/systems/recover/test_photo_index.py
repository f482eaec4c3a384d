"""The page of all photos leads to each photo and each of its people, and each photo's page leads back."""

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from hmralign.systems.recover.outputs import page_link
from hmralign.systems.recover.photo_index import write_index


def _finished(folder: Path, people: int) -> Path:
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "overlay.png")
    (folder / "report.html").write_text("".join(f'<section id="person-{i}"></section>' for i in range(people)))
    (folder / "photo.json").write_text(json.dumps({"people": [{}] * people}))
    return folder


def _targets(page: Path) -> list[tuple[Path, str]]:
    """File and fragment of every link of a page."""
    links = [urlsplit(link) for link in re.findall(r'href="([^"]*)"', page.read_text())]
    return [((page.parent / unquote(link.path)).resolve(), link.fragment) for link in links]


@pytest.mark.parametrize("people", [1, 3, 20])
def test_every_link_leads_somewhere(tmp_path, people):
    folder = _finished(tmp_path / "out" / "my photo #1", people)
    page = write_index(tmp_path / "out", [("my photo #1.jpg", folder)])
    targets = _targets(page)
    assert all(file == (folder / "report.html").resolve() for file, _ in targets)
    fragments = [fragment for _, fragment in targets if fragment]
    assert fragments == ([f"person-{i}" for i in range(people)] if people == 3 else [])
    assert all(f'id="{fragment}"' in (folder / "report.html").read_text() for fragment in fragments)


def test_the_way_back_is_relative(tmp_path):
    assert page_link(tmp_path / "out" / "a b", tmp_path / "out" / "report.html") == "../report.html"
