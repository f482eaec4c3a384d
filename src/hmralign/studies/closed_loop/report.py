"""One page about a closed loop: what was done, the table, the curves, and bodies before and after."""

from __future__ import annotations

import base64
import hashlib
import html
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.free_body import load_free_body, shown_body
from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.fitting.detector_noise import noise_of
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.overlays.contact_sheet import Tile, contact_sheet
from hmralign.overlays.keypoints import draw_keypoints
from hmralign.overlays.overlay import draw_overlays, draw_side_views
from hmralign.policies.catalogue import open_policy
from hmralign.preferences.sheet import person_ground
from hmralign.rendering.shading import SKY_BLUE
from hmralign.storage.whole_file import write_whole
from hmralign.structures import BodyParams, Observation
from hmralign.structures.counted import counted
from hmralign.studies.closed_loop.run import ClosedLoop, metrics, predict_config
from hmralign.systems.evaluate.predict import evaluation_draws

SIDE = 220
_TRUTH_COLOR = (0.60, 0.80, 0.58)
_LABELS = {
    "single": "one sample", "selected": "selected", "fused": "fused", "min_of_10": "best of 10 (oracle)",
    "fused_pa": "fused, PA", "fused_depth": "fused, depth part", "spread": "spread",
}  # fmt: skip
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1c2026;"
    "background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}img{max-width:100%;height:auto}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.3rem .7rem;border-bottom:1px solid #d6dade;text-align:right}th:first-child,td:first-child"
    "{text-align:left}small{color:#5a626d;display:block}.better{color:#1b7a3d}.worse{color:#b3372c}"
)


def write_report(loop: ClosedLoop, index: str | None = None) -> Path:
    """Write `report.html` into the loop's folder, pictures inside; `index` is the link to the page that leads here."""
    up = "" if index is None else f'<nav><a href="{html.escape(index)}">Back to the overview</a></nav>'
    found = metrics(loop)
    curves = "".join(
        f"<h3>{html.escape(name)}</h3>{_png((loop.folder / name.replace(' ', '_') / 'curves.png').read_bytes())}"
        for name in list(loop.models)[1:]
    )
    tables = "".join(
        f"<h2>{title}</h2><div class=wide>{_table(found, kind)}</div>"
        for kind, title in (
            ("samples", "Samples as they are"),
            ("refined", "With test-time refinement, as <code>recover</code> does"),
        )
    )
    said = "".join(f"<p>{paragraph}</p>" for paragraph in _words(loop, found))
    policy = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'sha256-{policy}'\"><title>hmralign: the closed loop</title><style>{_STYLE}</style></head><body>"
        f"{up}<h1>The closed loop</h1>{said}{tables}"
        f"<h2>Before and after</h2><p>{_PICTURES}</p>{_png(_picture_bytes(loop))}"
        f"<h2>Curves</h2>{curves}</body></html>\n"
    )
    return write_whole(loop.folder / "report.html", page)


_PICTURES = (
    "The persons on whom the error of the fused body changed most for the better, least, and most for the worse by "
    "DPO, in this order: keypoints, truth (green), base, aligned; each over the picture and from the side."
)


def _words(loop: ClosedLoop, found: dict[str, Any]) -> list[str]:
    config, seconds = loop.config, found["seconds"]
    stopped = [f"{name} was stopped by its guard ({why})" for name, why in loop.stopped.items() if why]
    return [
        f"<b>{html.escape(config.checkpoint)}</b>, trained on moderate poses seen by level cameras, meets "
        f"{counted(found['groups'], 'person')} of a wilder world with keypoints and no 3D labels. For each it "
        f"proposes {counted(found['group_size'], 'body')}; the critic <b>{found['critic']}</b> scores them; "
        "two methods learn "
        f"from the scores. All three models are then measured on {counted(found['persons'], 'other person')}, "
        "whose poses come "
        "from clips that none of this has seen.",
        f"Groups and scores took {seconds['groups']:.0f} s, best-of-N {seconds['best-of-N']:.0f} s, DPO "
        f"{seconds['DPO']:.0f} s, measuring {seconds['measuring']:.0f} s."
        + (f" {'; '.join(map(html.escape, stopped))}." if stopped else ""),
        "Errors are MPJPE in millimetres on the free body (not comparable with published figures) with 95 % bootstrap "
        "intervals; below each, the paired difference to the base, coloured where its interval excludes 0. The best "
        "of 10 needs the truth and is no answer. A smaller spread alone makes single samples better: look at fused.",
    ]


def _table(found: dict[str, Any], kind: str) -> str:
    names = list(found["results"])
    columns = list(found["results"]["base"][kind]["mm"])
    head = "".join(f"<th>{_LABELS[c]}</th>" for c in columns)
    rows = []
    for name in names:
        row = found["results"][name][kind]
        cells = "".join(_cell(row, c, name == "base") for c in columns)
        rows.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(row: dict[str, Any], column: str, is_base: bool) -> str:
    mean, low, high = row["mm"][column]
    if is_base:
        return f"<td>{mean:.1f}<small>{low:.1f} to {high:.1f}</small></td>"
    change, least, most = row["minus base"][column]
    kind = ""
    if column != "spread" and not least <= 0 <= most:
        kind = ' class="better"' if change < 0 else ' class="worse"'
    return f"<td>{mean:.1f}<small{kind}>{change:+.1f} ({least:+.1f} to {most:+.1f})</small></td>"


def _png(content: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(content).decode("ascii")}">'


def chosen_persons(change: Float[np.ndarray, " persons"], each: int = 2) -> list[int]:
    """Persons with the largest fall, the smallest change and the largest rise of their error."""
    order = np.argsort(change, kind="stable")
    middle = np.argsort(np.abs(change), kind="stable")
    picks = [*order[:each], *middle[:each], *order[::-1][:each]]
    return list(dict.fromkeys(int(i) for i in picks))


def _picture_bytes(loop: ClosedLoop) -> bytes:
    body = load_free_body("3k5")
    name = list(loop.models)[-1]
    change = loop.errors[name]["refined"]["fused"] - loop.errors["base"]["refined"]["fused"]
    persons = chosen_persons(change)
    index = torch.tensor(persons)
    seen = loop.test.observation[index]
    assert loop.test.annotation is not None
    shown = shown_body(body)
    truth = vertices(shown, loop.test.annotation.body[index])
    base, aligned = (vertices(shown, _fused(loop, body, loop.models[m], seen, persons)) for m in ("base", name))
    tiles = []
    for row, person in enumerate(persons):
        meshes = [truth[row], base[row], aligned[row]]
        words = f"fused error {round(1000 * float(change[person])):+d} mm"
        tiles.append(_tile(shown, seen[row], meshes, f"person {person}", words))
    file = BytesIO()
    contact_sheet(tiles, columns=1, title="keypoints | truth | base | DPO").save(file, "PNG")
    return file.getvalue()


def _fused(loop: ClosedLoop, body: BodyModel, path: str, seen: Observation, numbers: list[int]) -> BodyParams:
    config = predict_config(loop.config, True)
    policy = open_policy(path, body).policy
    draws = evaluation_draws(config.seed, numbers)
    return estimate_bodies(policy, seen, config.sampler, config.refinement, noise_of(config.detector), draws).fused


def _tile(body: BodyModel, seen: Observation, meshes: list[Tensor], label: str, note: str) -> Tile:
    ground = person_ground(None, None, seen, SIDE)
    pictures: list[Any] = [draw_keypoints(ground.picture, seen.keypoints, seen.confidence, ground.window)]
    for number, mesh in enumerate(meshes):
        color = _TRUTH_COLOR if number == 0 else SKY_BLUE
        over = draw_overlays(ground.picture, mesh[None], body.faces, ground.camera, color=color)[0]
        pictures.append(draw_keypoints(over, seen.keypoints, seen.confidence, ground.window))
        pictures.append(draw_side_views(mesh[None], body.faces, (SIDE, SIDE), color=color)[0])
    return Tile(tuple(pictures), label, note)
