"""The simulated judge behind the real pipeline: it answers the very requests that a model would get.

No vision-language model. The judge of `judge_simulator.py` is told by the bytes of a tile which body of which group it
shows, and by those of a remembered case what was wrong there; of the rules it reads the words in the prompt. What is
wrong with a body are the errors of its parts against the truth of SynthWild, which a real judge would have to see:

| aspect of the simulator | mean error of |
| --- | --- |
| legs in the wrong order, feet that float | knees, feet |
| trunk turned, arms through it | spine; elbows, wrists and hands |
| head beside the person's, shoulders too wide | neck and head; collars and shoulders |
| toppling, shins bent the wrong way | pelvis and hips, ankles |

Their weighted sum, weights by the number of joints, is the error that counts. A scene is of one of three kinds, by how
many of the person's legs the keypoints show.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, NUM_JOINTS
from hmralign.critics.vlm.memory.episodes import EpisodeOptions, JudgedGroup, truth_score
from hmralign.overlays.hypothesis_tile import TileStyle
from hmralign.preferences.store import GroupStore
from hmralign.structures import MemoryContext, Prototype, Rule
from hmralign.structures.critique import RULE_TAGS
from hmralign.systems.group_preference.pictures import StoredGroup, draw_group, read_groups
from hmralign.vlm.chat import ChatReply, ChatRequest, ImagePart, TextPart
from hmralign.vlm.scripted import Scripted
from judge_simulator import (
    ASPECTS,
    DISTRACTORS,
    ERROR_OF_DEFECT,
    ERROR_OF_NOTHING,
    Group,
    Miner,
    SimulatedJudge,
    generator_of,
)

WHAT = "a program whose errors are written down (benchmarks/vlm/judge_simulator.py)"
PARTS = (
    ("knee",), ("foot",), ("spine1", "spine2", "spine3"), ("elbow", "wrist", "hand"), ("neck", "head"),
    ("collar", "shoulder"), ("pelvis", "hip"), ("ankle",),
)  # fmt: skip
"""Joints of each aspect."""
QUALITY_DIGITS = 4
"""As a review tells the true quality."""


@dataclass(frozen=True)
class Shown:
    """A tile: whose, and which hypothesis."""

    group: Group
    hypothesis: int


class SimulatedBackend:
    """A `ChatBackend` that knows the truth of some stores and errs as the simulated judge does."""

    def __init__(
        self, stores: list[Path], body: BodyModel, style: TileStyle, judge: SimulatedJudge, miner: Miner, seed: int = 0
    ) -> None:
        """Draw every tile once. `style` must have no strip: a letter would change the bytes."""
        assert style.strip == 0
        self.judge, self.miner = judge, miner
        self.tiles: dict[str, Shown] = {}
        self.reviewed: dict[tuple[float, ...], Group] = {}
        for store in map(GroupStore.open, stores):
            for shard in range(store.num_shards):
                self._learn_shard(store, shard, body, style, seed)
        self.scripted = Scripted(self.answer, model=f"simulated-judge-{seed}")

    @property
    def model(self) -> str:
        """No model: a name for the journal."""
        return self.scripted.model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer once."""
        return await self.scripted.complete(request)

    def answer(self, request: ChatRequest) -> str:
        """Scores, or new rules."""
        assert request.schema is not None
        labels = list(request.schema["properties"])
        return self._review(request) if labels == ["new_rules"] else self._judge(request, labels)

    def _learn_shard(self, store: GroupStore, shard: int, body: BodyModel, style: TileStyle, seed: int) -> None:
        read = store.read(shard, truth=True)
        assert read.example.annotation is not None
        found, true = (
            j[..., :NUM_JOINTS, :] for j in (read.hypotheses.joints, read.example.annotation.joints[:, None])
        )
        errors = ((found - found[..., :1, :]) - (true - true[..., :1, :])).norm(dim=-1).double().numpy()
        for stored, each in zip(read_groups(store, shard, "mpjpe"), errors, strict=True):
            group = group_of(stored, each, seed)
            pictures = draw_group(stored, body, style)
            for hypothesis in range(stored.size):
                name = hashlib.sha256(pictures.tile(hypothesis)).hexdigest()
                self.tiles.setdefault(name, Shown(group, hypothesis))  # bodies that look alike cannot be told apart
            self.reviewed[tuple(_told(truth_score(float(e), EpisodeOptions().half_error)) for e in group.errors)] = (
                group
            )

    def _judge(self, request: ChatRequest, labels: list[str]) -> str:
        images = [part.sha256 for part in request.parts if isinstance(part, ImagePart)]
        shown = [self.tiles[name] for name in images[-len(labels) :]]
        context = self.context(request, images[: -len(labels) - 1])
        numbers = [s.hypothesis for s in shown]
        group = part_of(shown[0].group, numbers)
        findings = self.judge(group, context, order=range(len(numbers))).findings
        said = {f.hypothesis: {"score": int(f.score), "comment": f.comment} for f in findings}
        return json.dumps({label: said[n] for n, label in enumerate(labels)})

    def context(self, request: ChatRequest, cases: list[str]) -> MemoryContext:
        """What the prompt shows of a memory; `cases` are hashes of pictures, a person's and a tile's in turns."""
        texts = [part.text for part in request.parts if isinstance(part, TextPart)]
        rules = next((t for t in texts if t.startswith("Rules that proved useful")), "")
        scores = [float(m.group(1)) for t in texts if (m := re.match(r"Example \d+\. Deserved score: (\d+)\.", t))]
        told = [self.tiles[name] for name in cases[1::2]]
        prototypes = tuple(
            Prototype(name, "", score, (), case.group.photo, case.group.tiles[case.hypothesis])
            for name, case, score in zip(cases[1::2], told, scores, strict=True)
        )
        return MemoryContext(tuple(Rule(t, t, ()) for t in re.findall(r"^- (.+)$", rules, re.MULTILINE)), prototypes)

    def _review(self, request: ChatRequest) -> str:
        text = next(part.text for part in request.parts if isinstance(part, TextPart))
        scores, truth = (
            [float(n) for n in re.findall(rf'"{name}": (-?[\d.e+-]+)', text)]
            for name in ("judge_score", "true_quality")
        )
        group, known = self.reviewed[tuple(truth)], RULE_TAGS
        judged = JudgedGroup(group.id, (group.id,), np.array(scores), group.errors, ("",) * len(scores))
        rules = [
            {"text": words, "tags": [t for t in tags if t in known], "free_tags": [t for t in tags if t not in known]}
            for words, tags in self.miner(group, judged)
        ]
        return json.dumps({"new_rules": rules})


def group_of(stored: StoredGroup, errors: np.ndarray, seed: int) -> Group:
    """A group of the simulator from the errors of its joints (hyp, joint), metres."""
    columns = [errors[:, [j for j, name in enumerate(JOINT_NAMES[:NUM_JOINTS]) if _in_part(name, p)]] for p in PARTS]
    assert sum(c.shape[1] for c in columns) == NUM_JOINTS and len(PARTS) == len(ASPECTS)
    defects = np.stack([(c.mean(1) - ERROR_OF_NOTHING) / ERROR_OF_DEFECT for c in columns], axis=1)
    distractions = generator_of(seed, f"distractions {stored.id}").normal(size=(len(errors), len(DISTRACTORS)))
    assert stored.errors is not None
    return Group(stored.id, legs_seen(stored), defects, distractions, stored.errors, np.zeros(0), seed)


def part_of(group: Group, numbers: list[int]) -> Group:
    """The hypotheses of one call in the order shown, as a group of its own: another call, another noise."""
    name = f"{group.id} {numbers}"
    rows = group.defects[numbers], group.distractions[numbers], group.errors[numbers]
    return Group(name, group.kind, *rows, group.embedding, group.world)


def legs_seen(stored: StoredGroup) -> int:
    """0 to 2: legs of which knee and ankle were observed."""
    seen: dict[str, bool] = dict(zip(KEYPOINT_NAMES, (stored.observation.confidence > 0).tolist(), strict=True))
    return sum(seen[f"{side}_knee"] and seen[f"{side}_ankle"] for side in ("left", "right"))


def _in_part(joint: str, part: tuple[str, ...]) -> bool:
    return joint.removeprefix("left_").removeprefix("right_") in part


def _told(quality: float) -> float:
    return float(f"{quality:.{QUALITY_DIGITS}g}")
