"""One page that leads to the reports of several photos."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from hmralign.storage.whole_file import write_whole
from hmralign.systems.recover.outputs import read_record

MAX_PICTURES = 300
"""Photos shown with a picture; of more, the others are lines, so that the page stays loadable."""

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:74rem;padding:0 1rem;color:#1c2026;"
    "background:#fff}h1{font-size:1.4rem}ul.photos{display:grid;gap:1rem;padding:0;list-style:none;"
    "grid-template-columns:repeat(auto-fill,minmax(15rem,1fr))}a{color:inherit;text-decoration:none;display:block;"
    "border:1px solid #d6dade;border-radius:8px;padding:.6rem;height:100%;box-sizing:border-box}"
    "a:hover,a:focus{border-color:#2c6fbb}img{display:block;width:100%;height:14rem;object-fit:contain}"
    "b{display:block;margin-top:.5rem;overflow-wrap:anywhere}"
    "small{color:#5a626d}"
    "@media(prefers-color-scheme:dark){body{background:#15181c;color:#e6e8eb}a{border-color:#3a4048}small{color:#9aa3ad}}"
)


def write_index(
    out: Path,
    photos: Sequence[tuple[str, Path]],
    failures: Sequence[tuple[str, str]] = (),
    title: str = "Recovered photos",
    notes: Sequence[str] = (),
    pages: Sequence[tuple[str, Path]] = (),
) -> Path:
    """Write `report.html` in `out` with links to the reports of (name, folder), whole or not at all.

    `pages` are further pages, (words, file), linked above the photos.
    """
    cards = "".join(_card(out, name, folder, number < MAX_PICTURES) for number, (name, folder) in enumerate(photos))
    failed = "".join(f"<li>{html.escape(name)}: {html.escape(error)}</li>" for name, error in failures)
    said = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    said += "".join(f'<p><a href="{_link(out, page)}">{html.escape(words)}</a></p>' for words, page in pages)
    policy = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'sha256-{policy}'\">"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{said}"
        f'<ul class="photos">{cards}</ul>'
        + (f"<h2>Failed</h2><ul>{failed}</ul>" if failed else "")
        + "</body></html>\n"
    )
    return write_whole(out / "report.html", page)


def _link(out: Path, page: Path) -> str:
    return quote(os.fsencode(os.path.relpath(page, out).replace(os.sep, "/")))


def _card(out: Path, name: str, folder: Path, pictured: bool) -> str:
    link = _link(out, folder / "report.html")
    people = len((read_record(folder) or {}).get("people", []))
    picture = f'<img alt="" src="{_thumbnail(folder / "overlay.png")}">' if pictured else ""
    words = f"{people} {'person' if people == 1 else 'people'}"
    return f'<li><a href="{link}">{picture}<b>{html.escape(name)}</b><small>{words}</small></a></li>'


def _thumbnail(path: Path) -> str:
    with Image.open(path, formats=["PNG"]) as picture:
        small = picture.convert("RGB")
    small.thumbnail((360, 360), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
