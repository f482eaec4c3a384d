"""Links of README and documents lead somewhere; the site builds without a warning, and so do its links."""

import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_name_files_that_exist(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [link for link in links if link and "://" not in link and not (page.parent / link).exists()]
    assert missing == []


class _Page(HTMLParser):
    """Where a page leads to, and the places in it that others may name."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.links += [named[key] for key in ("href", "src") if named.get(key)]
        self.places |= {named[key] for key in ("id", "name") if named.get(key)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if not all(map(find_spec, ("mkdocs", "mkdocstrings"))):
        pytest.skip("mkdocs and mkdocstrings are not installed (extra [docs])")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder


def test_links_inside_the_site_lead_somewhere(site):
    @cache
    def read(path: Path) -> _Page:
        return _Page(path.read_text())

    broken, followed = [], 0
    for path in site.rglob("*.html"):
        if path.name == "404.html":  # its links are absolute, for it is shown at any address
            continue
        for link in read(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            place = unquote(parts.fragment)
            followed += 1
            if not target.is_file() or (place and target.suffix == ".html" and place not in read(target).places):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert followed > 1000 and not broken, "\n".join(sorted(set(broken))[:40])


def test_the_reference_says_what_the_docstrings_say(site):
    page = (site / "reference/api.html").read_text()
    for name in ("Recoverer.load", "People.save", "Person.fused", "Person.expected_error", "Video"):
        assert f'id="hmralign.api.{name}"' in page
    assert _summary() in re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page)), "the class's docstring is on the page"


def _summary() -> str:
    """The first words of what `Recoverer` says of itself, without marks."""
    from hmralign.api import Recoverer

    return re.split(r"[`.]", " ".join((Recoverer.__doc__ or "").split()))[0].strip()
