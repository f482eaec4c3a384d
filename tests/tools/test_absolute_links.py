"""README for a package index: every link is absolute, and each names a file that the repository has."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from absolute_links import absolute_links

ROOT = Path(__file__).parents[2]
BASE = "https://example.com/o/n/raw/v1"


def test_every_link_of_readme_is_absolute_and_exists():
    text = absolute_links((ROOT / "README.md").read_text(), f"{BASE}/")
    links = re.findall(r"\]\(([^)]*)\)", text)
    own = [link.removeprefix(f"{BASE}/") for link in links if link.startswith(BASE)]
    assert all(link.startswith("https://") for link in links) and "docs/images/skier.jpg" in own
    assert [link for link in own if not (ROOT / link.split("#")[0]).is_file()] == []


def test_other_links_stay_and_twice_is_as_once():
    text = "[a](https://x.org/b) [c](#d) ![e](f/g.jpg) `(h)`"
    once = absolute_links(text, BASE)
    assert once == f"[a](https://x.org/b) [c](#d) ![e]({BASE}/f/g.jpg) `(h)`"
    assert absolute_links(once, "https://other.org") == once
    with pytest.raises(ValueError, match="no address"):
        absolute_links(text, "example.com")
