"""Small stores whose hypotheses are known to be good or bad, and a judge that knows it by the pictures."""

import hashlib
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hmralign.overlays.hypothesis_tile import TileStyle
from hmralign.overlays.overlay import person_window
from hmralign.preferences.store import GroupStore, writing
from hmralign.structures import Example, Hypotheses, InputError, PreferenceGroups
from hmralign.systems.group_preference.pictures import draw_group, read_groups
from hmralign.systems.group_preference.settings import ExploreConfig, JudgeConfig, ScoreConfig
from hmralign.vlm.asker import Asker
from hmralign.vlm.asking import Limits
from hmralign.vlm.chat import ImagePart
from hmralign.vlm.journal import Journal
from hmralign.vlm.scripted import Scripted
from support.critic_examples import group_around
from support.group_stores import store_facts
from support.synthetic_persons import BODY, persons, seeded

SIZE, PER_SHARD = 4, 2
ANGLES = [0.02, 0.15, 0.35, 0.7]
STYLE = TileStyle(side=64, strip=0)
JUDGE = JudgeConfig(style=STYLE)
SCORE = ScoreConfig(judge=JUDGE)
EXPLORE = ExploreConfig(judge=JUDGE, round_size=2)
RULES = (
    "If a foot floats above the ground, deduct 10 points.",
    "When an arm covers the face, ignore small errors of the hand.",
    "If the trunk leans against gravity without support, deduct 15 points.",
)


def judged_store(
    folder: Path,
    persons_from: int = 0,
    count: int = 4,
    seed: int = 0,
    behind: int | None = None,
    *,
    photos: bool = False,
) -> Path:
    """Groups of persons `persons_from` on, in shards of two; `behind` is one that cannot be drawn.

    With `photos` each person has a picture of its own colours.
    """
    with writing(folder, store_facts(group_size=SIZE, with_truth=True, shard_size=PER_SHARD)) as store:
        for start in range(persons_from, persons_from + count, PER_SHARD):
            rows = torch.arange(start, min(start + PER_SHARD, persons_from + count))
            example = persons(12)[rows]
            assert example.annotation is not None
            order = torch.randperm(SIZE, generator=seeded(seed + start))
            angles = [ANGLES[i] for i in order.tolist()]
            hypotheses = group_around(BODY, example.annotation.body, angles, seed + start)
            if behind is not None and behind in rows.tolist():
                hypotheses = _behind(hypotheses, behind - start)
            ids = tuple(f"wild/train/{int(i):06d}" for i in rows)
            groups = PreferenceGroups(ids, None, hypotheses, Example(example.observation, example.annotation))
            if photos:
                places = [person_window(box) for box in example.observation.box]
                crops = tuple(photo(int(i)) for i in rows)
                groups = replace(groups, crops=crops, crop_windows=torch.tensor(places, dtype=torch.float32))
            store.append(groups)
    return folder


def photo(number: int) -> bytes:
    """A JPEG file of coarse noise."""
    cells = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(cells).resize((48, 48), Image.Resampling.NEAREST).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _behind(hypotheses: Hypotheses, row: int) -> Hypotheses:
    transl = hypotheses.body.transl.clone()
    transl[row, ..., 2] -= 50
    return Hypotheses(replace(hypotheses.body, transl=transl), hypotheses.joints)


def true_errors(folder: Path) -> dict[str, np.ndarray]:
    """Metres, by id."""
    store = GroupStore.open(folder)
    groups = (g for s in range(store.num_shards) for g in read_groups(store, s, "mpjpe"))
    return {g.id: g.errors for g in groups if g.errors is not None}


class TruthJudge:
    """Scores by the rank of the true error, known by the bytes of a tile; `wrong` ids fail in the way it says."""

    def __init__(self, *folders: Path, style: TileStyle = STYLE, wrong: dict[str, str] | None = None):
        self.scores, self.owner, self.wrong, self.reviews = {}, {}, wrong or {}, 0
        for folder in folders:
            store = GroupStore.open(folder)
            for group in (g for s in range(store.num_shards) for g in read_groups(store, s, "mpjpe")):
                try:
                    pictures = draw_group(group, BODY, style)
                except InputError:
                    continue  # it is not shown to anybody
                assert group.errors is not None
                ranks = group.errors.argsort().argsort()
                for i in range(group.size):
                    name = hashlib.sha256(pictures.tile(i)).hexdigest()
                    self.scores[name], self.owner[name] = int(95 - 20 * ranks[i]), group.id
        self.backend = Scripted(self.answer)

    def answer(self, request) -> str:
        labels = list(request.schema["properties"])
        if labels == ["new_rules"]:
            rule = RULES[self.reviews % len(RULES)]
            self.reviews += 1
            rules = [{"text": rule, "tags": ["feet", "contact"], "free_tags": []}]
            return json.dumps({"new_rules": rules})
        images = [part.sha256 for part in request.parts if isinstance(part, ImagePart)]
        shown = images[-len(labels) :]
        fault = self.wrong.get(self.owner[shown[0]])
        if fault == "constant":
            return json.dumps({label: {"score": 50, "comment": "same"} for label in labels})
        if fault == "garbage":
            return "no JSON"
        return json.dumps(
            {
                label: {"score": self.scores[s], "comment": "left foot floats"}
                for label, s in zip(labels, shown, strict=True)
            }
        )


def asker(backend, journal: Journal, **limits) -> Asker:
    return Asker(backend, journal, Limits(**{"concurrency": 4, "answer_attempts": 2, **limits}))
