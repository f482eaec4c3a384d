"""Pictures of groups that misled a critic: what was observed, its favourite, the best of the group, and the truth.

A row per group, two rows per kind: the group where mistakes of the kind cost most, and one drawn at random from the
groups where the kind is the largest part of the regret. Red segments are those that the row is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hmralign.body.free_body import shown_body
from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.evaluation.mistakes.kinds import KINDS, SMALL
from hmralign.evaluation.mistakes.segments import SEGMENTS
from hmralign.geometry.cameras import project
from hmralign.overlays.contact_sheet import Tile, contact_sheet
from hmralign.overlays.keypoints import draw_keypoints
from hmralign.overlays.overlay import Picture, Window, draw_overlays, draw_side_views, person_window
from hmralign.preferences.sheet import paper
from hmralign.preferences.store import GroupStore
from hmralign.rendering.shading import SKY_BLUE, WARM_GOLD
from hmralign.rendering.views import top_view, window_camera
from hmralign.structures import BodyParams, Camera, InputError, Observation
from hmralign.studies.critic_failures.judged import JudgedGroups
from hmralign.studies.critic_failures.misled import favourites, regret_of_each, terms_of

SIDE = 168
"""Side of each square picture, pixels."""
LEAST_COST = 0.01
"""Metres that a kind must cost for a group to be shown for it."""
WRONG_COLOR = (0.88, 0.42, 0.38)
TRUTH_COLOR = (0.60, 0.80, 0.58)
_WIDEST = 2.2
"""What lies beyond so many box sizes is cut off: a body that fell out of the picture would make the rest tiny."""


@dataclass(frozen=True)
class Case:
    """A group that is shown, for what, and which of its hypotheses are."""

    group: int
    kind: int
    chosen: str
    favourite: int
    best: int
    segments: tuple[int, ...]
    """Where the favourite makes the mistake that the best does not make."""
    cost: float
    """Metres that it makes up of the regret."""


def cases(judged: JudgedGroups, critic: str, seed: int) -> list[Case]:
    """Two groups for each kind, fewer where there are none. Groups with equal first choices have no favourite."""
    scores = judged.scores[critic]
    rows, single = np.arange(len(scores)), favourites(scores).max(1) == 1
    favourite, best = scores.argmax(1), judged.errors.argmin(1)
    terms = regret_of_each(judged)[rows, favourite]
    kinds = terms_of(judged.kinds[rows, favourite], judged.kinds[rows, best])
    found = []
    for kind in (k for k in range(len(KINDS)) if k != SMALL):
        cost = np.where(single, terms[:, kind], -np.inf)
        worst = int(cost.argmax())
        others = np.flatnonzero((cost >= LEAST_COST) & (terms.argmax(1) == kind) & (rows != worst))
        shown = [("most misled", worst)] if cost[worst] >= LEAST_COST else []
        if len(others):
            draw = np.random.default_rng([seed, kind])
            shown.append(("drawn at random", int(draw.choice(others))))
        for chosen, group in shown:
            segments = tuple(int(s) for s in np.flatnonzero(kinds[group] == kind))
            names = int(favourite[group]), int(best[group])
            found.append(Case(group, kind, chosen, *names, segments, float(cost[group])))
    return found


def failures_sheet(
    store: GroupStore,
    judged: JudgedGroups,
    name: str,
    body: BodyModel,
    shown: Sequence[Case],
    side: int = SIDE,
) -> Image.Image:
    """One row per case; `name` is the critic whose favourites they are. Raises InputError for no case."""
    if not shown:
        raise InputError(f"nothing misled the critic '{name}'; expected at least one case to draw")
    body = shown_body(body)
    owners = vertex_segments(body)
    tiles = [_row(store, judged, name, body, owners, case, side) for case in shown]
    title = (
        f"{name}: its favourite (blue; red: the mistakes that the row is about), the best of the group (gold), the "
        "truth (green); each in the picture, from the side, from above (camera below)"
    )
    return contact_sheet(tiles, columns=1, title=title)


def vertex_segments(body: BodyModel) -> Int[Tensor, " vert"]:
    """Segment that each vertex belongs to: of the joint that carries most of it."""
    owner = torch.zeros(len(JOINT_NAMES), dtype=torch.int64)
    for number, segment in enumerate(SEGMENTS[1:], start=1):
        owner[segment.turned_by] = number
        if segment.name.endswith(("hand", "foot")):
            owner[segment.end] = number  # palm beyond the wrist, toes beyond the ankle
    return owner[body.weights.argmax(1)]


def _row(
    store: GroupStore,
    judged: JudgedGroups,
    name: str,
    body: BodyModel,
    owners: Int[Tensor, " vert"],
    case: Case,
    side: int,
) -> Tile:
    entry = store.entries[case.group]
    groups = store.read(entry.shard, truth=True)
    example = groups.example[entry.row : entry.row + 1]
    assert example.annotation is not None
    three = BodyParams.stack(
        [groups.hypotheses.body[entry.row][h] for h in (case.favourite, case.best)] + [example.annotation.body[0]]
    )
    wrong = torch.isin(owners, torch.tensor(case.segments))
    pictures = _pictures(example.observation[0], vertices(body, three), body, wrong, side)
    numbers = _numbers(judged, name, case)
    where = ", ".join(SEGMENTS[s].name for s in case.segments)
    label = f"{KINDS[case.kind].upper()} ({case.chosen}): {where}"
    return Tile(pictures, label, f"{judged.ids[case.group]}   {numbers}")


def _numbers(judged: JudgedGroups, name: str, case: Case) -> str:
    scores, errors = judged.scores[name][case.group], 1000 * judged.errors[case.group]
    said = [
        f"{w} {_score(scores[h])}, {errors[h]:.0f} mm" for w, h in (("favourite", case.favourite), ("best", case.best))
    ]
    if name in judged.of_truth:
        said.append(f"truth {_score(judged.of_truth[name][case.group])}")
    return f"score and error: {'; '.join(said)}; this costs {1000 * case.cost:.0f} mm"


def _score(value: float) -> str:
    return f"{value + 0.0:.3f}".replace("-0.000", "0.000")


def _pictures(
    seen: Observation, meshes: Float[Tensor, "3 vert 3"], body: BodyModel, wrong: Bool[Tensor, " vert"], side: int
) -> tuple[Picture, ...]:
    """Evidence, then picture, side and top of favourite, best and truth."""
    colors = torch.tensor([SKY_BLUE, WARM_GOLD, TRUTH_COLOR])[:, None].repeat(1, meshes.shape[1], 1)
    colors[0, wrong] = torch.tensor(WRONG_COLOR)
    window = _window(seen, meshes)
    ground = paper(seen, window, side)
    camera = Camera(window_camera(seen.K, window, (side, side)), side, side, "given")
    over = draw_overlays(ground, meshes, body.faces, camera, vertex_colors=colors)
    turned = draw_side_views(meshes, body.faces, (side, side), vertex_colors=colors)
    above = draw_side_views(top_view(meshes), body.faces, (side, side), degrees=0.0, vertex_colors=colors)
    evidence, *drawn = (draw_keypoints(p, seen.keypoints, seen.confidence, window) for p in (ground, *over))
    found = [_headed(evidence, "observed")]
    for number, words in enumerate(("favourite", "best of group", "truth")):
        found += [_headed(drawn[number], words), _headed(turned[number], "side"), _headed(above[number], "above")]
    return tuple(found)


def _window(seen: Observation, meshes: Float[Tensor, "3 vert 3"]) -> Window:
    """Around the box and the three bodies, as far as they are not far away from it."""
    points = project(meshes, seen.K.expand(len(meshes), 3, 3)).flatten(0, 1)
    reach = (_WIDEST - 1) / 2 * float((seen.box[2:] - seen.box[:2]).max())
    low = torch.maximum(torch.minimum(points.amin(0), seen.box[:2]), seen.box[:2] - reach)
    high = torch.minimum(torch.maximum(points.amax(0), seen.box[2:]), seen.box[2:] + reach)
    return person_window(torch.cat([low, high]), margin=0.04)


def _headed(picture: Picture, words: str) -> Picture:
    """A word in the corner, and a line that parts it from the picture before."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    pen.text((4, 2), words, font=ImageFont.load_default(12), fill=(60, 66, 76), stroke_width=2, stroke_fill="white")
    pen.line((0, 0, 0, image.height), fill=(214, 218, 224) if words in ("side", "above") else (110, 118, 130))
    return np.array(image)
