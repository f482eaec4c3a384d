"""The closed vocabulary: what can be said of a pose, and when it holds.

A statement holds where every one of its conditions does: a quantity inside a band. Statements come in families: what
is true of the left elbow and of the right one is one family, said with the same words. Left and right are the person's
own.

The bands are typed from what the words mean, not fitted. How often each statement holds is measured
(`assets/frequencies.json`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from hmralign.language.quantities import SCALE, Quantity, canonical
from hmralign.structures import InputError
from hmralign.structures.errors import shown

Part = Literal["overall", "head", "torso", "left_arm", "right_arm", "left_leg", "right_leg", "view"]
PARTS: tuple[Part, ...] = ("overall", "head", "torso", "left_arm", "right_arm", "left_leg", "right_leg", "view")
"""What a description is divided into. `view` is how the whole person is turned to the camera, which is no pose."""

Frame = Literal["body", "gravity", "camera"]
"""What a statement depends on: the pose alone, which way is up besides, or where the camera is besides."""

INFINITY = math.inf
Number = int | float


@dataclass(frozen=True)
class Condition:
    """A canonical quantity inside [low, high], in its own unit; `scale` is how soft the bounds are."""

    quantity: Quantity
    low: float
    high: float

    @property
    def scale(self) -> float:
        """Softness of the bounds, in the quantity's unit."""
        return SCALE[self.quantity.kind]


@dataclass(frozen=True)
class Statement:
    """One thing that can be said of a pose.

    `family` names its words; `slots` are the words filled into them, and differ between a statement and its mirror
    image. `said` is whether the captioner says it: broad statements ("the elbow is bent") are only read.
    """

    id: str
    family: str
    part: Part
    slots: tuple[tuple[str, str], ...]
    conditions: tuple[Condition, ...]
    said: bool = True

    @property
    def mirror(self) -> str:
        """Id of what it says of the mirrored body."""
        return mirrored_words(self.id) if mirrored_words(self.id) in _index() else self.id

    @property
    def frame(self) -> Frame:
        """What it depends on."""
        if any(c.quantity.camera for c in self.conditions):
            return "camera"
        return "gravity" if any(c.quantity.gravity for c in self.conditions) else "body"

    @property
    def needs_rotations(self) -> bool:
        """Whether joints alone do not tell."""
        return any(c.quantity.kind == "head" for c in self.conditions)


def mirrored_words(text: str) -> str:
    """Left and right exchanged, as they stand in ids.

    >>> mirrored_words("left_hand_on_right_knee")
    'right_hand_on_left_knee'
    """
    other = {"left": "right", "right": "left"}
    return "_".join(other.get(word, word) for word in text.split("_"))


def _within(low: Number, kind: str, *points: str, high: Number = INFINITY) -> Condition:
    quantity, sign = canonical(Quantity(kind, points))
    bounds = (low, high) if sign > 0 else (-high, -low)
    return Condition(quantity, float(bounds[0]), float(bounds[1]))


def _most(high: Number, kind: str, *points: str) -> Condition:
    return _within(-INFINITY, kind, *points, high=high)


def _degrees(low: Number, high: Number, kind: str, *points: str) -> Condition:
    """Angles between bounds; no bound is where there is none: an arm cannot be straighter than straight."""
    least = -INFINITY if kind == "bend" and low <= 0 else math.radians(low)
    return _within(least, kind, *points, high=math.radians(high) if high < 180 else INFINITY)


def _cosines(low: Number, high: Number, axis: str, a: str, b: str) -> Condition:
    return _within(low if low > -1 else -INFINITY, "toward", axis, a, b, high=high if high < 1 else INFINITY)


def _slots(side: str, place: str = "") -> tuple[tuple[str, str], ...]:
    """Words that a family's templates are filled with."""
    words = (("side", side), ("other", mirrored_words(side)))
    return (*words, ("place", place)) if place else words


_BENDS = {"straight": (0, 20), "slightly_bent": (25, 60), "bent_square": (70, 110), "sharply_bent": (115, 180)}
_BENT = (40, 180)
_UPRIGHT_TORSO = _within(0.5, "axes", "torso_up", "up")


def _bends(side: str, joint: str, chain: tuple[str, str, str], part: Part) -> Iterator[Statement]:
    points = tuple(f"{side}_{name}" for name in chain)
    slots = _slots(side)
    for how, band in _BENDS.items():
        family = f"{joint}_{how}"
        yield Statement(f"{side}_{family}", family, part, slots, (_degrees(*band, "bend", *points),))
    yield Statement(
        f"{side}_{joint}_bent", f"{joint}_bent", part, slots, (_degrees(*_BENT, "bend", *points),), said=False
    )


def _towards_camera(side: str, limb: str, a: str, b: str, least: float, part: Part) -> Iterator[Statement]:
    ends = (f"{side}_{a}", f"{side}_{b}")
    slots = _slots(side)
    for way, low, high in (("towards", least, INFINITY), ("away_from", -INFINITY, -least)):
        family = f"{limb}_{way}_camera"
        condition = _within(low, "along", "camera", *ends, high=high)
        yield Statement(f"{side}_{family}", family, part, slots, (condition,))


_TOUCHED = {
    "head_centre": ("head", 0.18), "neck": ("neck", 0.13), "chest": ("chest", 0.15), "belly": ("belly", 0.16),
    "back": ("back", 0.17),
}  # fmt: skip
"""Middle points that a hand may be on: the word for it, and how near the hand's joint is then, metres."""
_TOUCHED_SIDED = {
    "shoulder": ("shoulder", 0.14), "hip": ("hip", 0.18), "thigh": ("thigh", 0.13), "knee": ("knee", 0.14),
    "shin": ("shin", 0.14), "ankle": ("foot", 0.16),
}  # fmt: skip
_TOUCHED_OTHER = {"upper_arm": ("upper_arm", 0.13), "elbow": ("elbow", 0.13), "forearm": ("forearm", 0.12)}
"""Those of the other arm."""


def _hand_contacts(side: str, other: str, part: Part) -> Iterator[Statement]:
    hand = f"{side}_hand"
    sided = [(s, p, w, near) for s in (side, other) for p, (w, near) in _TOUCHED_SIDED.items()]
    sided += [(other, p, w, near) for p, (w, near) in _TOUCHED_OTHER.items()]
    for point, (word, near) in _TOUCHED.items():
        slots = _slots(side)
        yield Statement(
            f"{side}_hand_on_{word}", f"hand_on_{word}", part, slots, (_most(near, "distance", hand, point),)
        )
    for where, point, word, near in sided:
        name = f"{where}_{word}"
        slots = _slots(side, name.replace("_", " "))
        conditions = [_most(near, "distance", hand, f"{where}_{point}")]
        if name == f"{side}_hip":  # an arm that hangs passes the hip without being put on it
            conditions.append(_degrees(40, 180, "bend", f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"))
        family = f"hand_on_{'own' if where == side else 'other'}_{word}"
        yield Statement(f"{side}_hand_on_{name}", family, part, slots, tuple(conditions))


def _arm(side: str, other: str) -> Iterator[Statement]:
    part: Part = "left_arm" if side == "left" else "right_arm"
    shoulder, elbow, wrist, hand = (f"{side}_{name}" for name in ("shoulder", "elbow", "wrist", "hand"))
    stretched = _degrees(0, 60, "bend", shoulder, elbow, wrist)
    trunk_height = _within(-0.15, "along", "torso_up", "pelvis", hand, high=0.5)
    table: dict[str, tuple[Condition, ...]] = {
        "upper_arm_at_side": (_cosines(-1, -0.9, "torso_up", shoulder, elbow),),
        "upper_arm_level": (_cosines(-0.2, 0.2, "up", shoulder, elbow),),
        "forearm_level": (_cosines(-0.2, 0.2, "up", elbow, wrist),),
        "forearm_upright": (_cosines(0.9, 1, "up", elbow, wrist),),
        "forearm_hanging": (_cosines(-1, -0.93, "up", elbow, wrist),),
        "arm_forward": (_cosines(0.8, 1, "chest_front", shoulder, wrist), stretched),
        "arm_sideways": (_cosines(0.75, 1, f"chest_{side}", shoulder, wrist), stretched),
        "arm_backward": (_cosines(-1, -0.45, "chest_front", shoulder, wrist), stretched),
        "arm_up": (_cosines(0.8, 1, "up", shoulder, wrist), stretched),
        "arm_down": (_cosines(-1, -0.9, "up", shoulder, wrist), stretched),
        "hand_above_head": (_within(0.2, "along", "up", "head", hand),),
        "hand_shoulder_height": (_within(-0.1, "along", "up", shoulder, hand, high=0.1),),
        "hand_hip_height": (_within(-0.08, "along", "up", "pelvis", hand, high=0.08),),
        "hand_below_hips": (_most(-0.1, "along", "up", "pelvis", hand),),
        "hand_on_ground": (_most(0.08, "lift", hand),),
        "elbow_above_shoulder": (_within(0.06, "along", "up", shoulder, elbow),),
        "hand_across": (_most(-0.06, "along", f"chest_{side}", "spine3", hand),),
        "hand_in_front": (_within(0.12, "along", "chest_front", "spine2", hand),
                          _within(-0.22, "along", "chest_left", "spine2", hand, high=0.22), trunk_height),
        "hand_behind_back": (_most(-0.1, "along", "chest_front", "spine2", hand),
                             _within(-0.22, "along", "chest_left", "spine2", hand, high=0.22), trunk_height),
        "elbow_drawn_back": (_most(-0.17, "along", "chest_front", "spine3", elbow),),
        "hand_nearer_than_torso": (_within(0.2, "along", "camera", "spine2", hand),),
        "hand_farther_than_torso": (_most(-0.2, "along", "camera", "spine2", hand),),
    }  # fmt: skip
    yield from _bends(side, "elbow", ("shoulder", "elbow", "wrist"), part)
    yield from _family_of_side(table, side, part)
    yield from _towards_camera(side, "upper_arm", "shoulder", "elbow", 0.12, part)
    yield from _towards_camera(side, "forearm", "elbow", "wrist", 0.1, part)
    yield from _hand_contacts(side, other, part)
    against_other = {
        "hand_higher_than_other": (_within(0.25, "along", "up", f"{other}_hand", hand),),
        "hand_nearer_than_other": (_within(0.15, "along", "camera", f"{other}_hand", hand),),
        "hand_in_front_of_other": (_within(0.25, "along", "chest_front", f"{other}_hand", hand),),
    }
    yield from _family_of_side(against_other, side, part)
    broad = {
        "hand_raised": (_within(0.05, "along", "up", shoulder, hand),),
        "hand_behind": (_most(-0.12, "along", "chest_front", "spine2", hand),),
        "arm_lowered": (_cosines(-1, -0.6, "up", shoulder, wrist),),
    }
    yield from _family_of_side(broad, side, part, said=False)
    for where in (side, other):
        slots = _slots(side, f"{where} knee")
        family = f"elbow_on_{'own' if where == side else 'other'}_knee"
        near = (_most(0.15, "distance", elbow, f"{where}_knee"),)
        yield Statement(f"{side}_elbow_on_{where}_knee", family, part, slots, near)


def _leg(side: str, other: str) -> Iterator[Statement]:
    part: Part = "left_leg" if side == "left" else "right_leg"
    hip, knee, ankle, foot = (f"{side}_{name}" for name in ("hip", "knee", "ankle", "foot"))
    stretched = _degrees(0, 65, "bend", hip, knee, ankle)
    table: dict[str, tuple[Condition, ...]] = {
        "knee_hip_height": (_within(-0.15, "along", "up", hip, knee),),
        "thigh_level": (_cosines(-0.2, 0.2, "up", hip, knee),),
        "thigh_upright": (_cosines(-1, -0.96, "up", hip, knee),),
        "shin_level": (_cosines(-0.2, 0.2, "up", knee, ankle),),
        "shin_upright": (_cosines(-1, -0.96, "up", knee, ankle),),
        "leg_forward": (_cosines(0.5, 1, "hip_front", hip, ankle), stretched),
        "leg_backward": (_cosines(-1, -0.4, "hip_front", hip, ankle), stretched),
        "leg_sideways": (_cosines(0.4, 1, f"hip_{side}", hip, ankle), stretched),
        "foot_lifted": (_within(0.15, "lift", foot),),
        "foot_hip_height": (_within(-0.05, "along", "up", "pelvis", foot),),
        "knee_on_ground": (_most(0.12, "lift", knee),),
    }
    yield from _bends(side, "knee", ("hip", "knee", "ankle"), part)
    yield from _family_of_side(table, side, part)
    yield from _towards_camera(side, "thigh", "hip", "knee", 0.15, part)
    yield from _towards_camera(side, "shin", "knee", "ankle", 0.15, part)
    against_other = {
        "foot_in_front_of_other": (_within(0.25, "along", "hip_front", f"{other}_ankle", ankle),),
        "foot_nearer_than_other": (_within(0.2, "along", "camera", f"{other}_ankle", ankle),),
        "knee_nearer_than_other": (_within(0.15, "along", "camera", f"{other}_knee", knee),),
        "knee_higher_than_other": (_within(0.15, "along", "up", f"{other}_knee", knee),),
        "foot_on_other_knee": (_most(0.19, "distance", ankle, f"{other}_knee"),),
    }
    yield from _family_of_side(against_other, side, part)
    broad = {
        "foot_on_ground": (_most(0.1, "lift", foot),),
        "knee_in_front_of_other": (_within(0.12, "along", "hip_front", f"{other}_knee", knee),),
    }
    yield from _family_of_side(broad, side, part, said=False)


def _torso_side(side: str, other: str) -> Iterator[Statement]:
    table: dict[str, tuple[Condition, ...]] = {
        "torso_leaning_side": (_most(-0.2, "axes", f"chest_{side}", "up"), _UPRIGHT_TORSO),
        "shoulders_turned": (_within(0.3, "axes", "chest_front", f"hip_{side}"),),
        "shoulder_nearer_than_other": (_within(0.15, "along", "camera", f"{other}_shoulder", f"{side}_shoulder"),),
    }
    yield from _family_of_side(table, side, "torso")
    head = {
        "head_turned": (_degrees(25, 180, "head", f"{side}_turn"),),
        "head_tilted": (_degrees(14, 180, "head", f"{side}_tilt"),),
    }
    yield from _family_of_side(head, side, "head")
    overall: dict[str, tuple[Condition, ...]] = {
        "lying_on_side": (*_LYING, _most(-0.6, "axes", f"chest_{side}", "up")),
        "kneeling_on_one_knee": (_most(0.12, "lift", f"{side}_knee"), _within(0.2, "lift", f"{other}_knee"),
                                 _most(0.12, "lift", f"{other}_foot"), _within(0.3, "axes", "torso_up", "up")),
        "leg_crossed_over_other": (*_CROSSED_LEGS,
                                   _within(0.03, "along", "hip_front", f"{other}_ankle", f"{side}_ankle")),
    }  # fmt: skip
    yield from _family_of_side(overall, side, "overall")
    yield from _family_of_side({"side_to_camera": (_within(0.8, "axes", f"chest_{side}", "camera"),)}, side, "view")


_CROSSED_LEGS = (_most(-0.04, "along", "hip_left", "right_ankle", "left_ankle"),)
_LYING = (_within(-0.5, "axes", "torso_up", "up", high=0.5), _most(0.36, "lift", "pelvis"), _most(0.5, "lift", "neck"))


def _middle() -> Iterator[Statement]:
    torso: dict[str, tuple[Condition, ...]] = {
        "torso_upright": (_within(0.96, "axes", "torso_up", "up"),),
        "torso_leaning_forward": (_within(-0.8, "axes", "chest_front", "up", high=-0.25), _UPRIGHT_TORSO),
        "torso_leaning_back": (_within(0.2, "axes", "chest_front", "up", high=0.9),
                               _within(0.3, "axes", "torso_up", "up")),
        "torso_bent_over": (_most(0.45, "axes", "torso_up", "up"), _most(-0.6, "axes", "chest_front", "up"),
                            _within(0.45, "along", "up", "ankles", "pelvis")),
        "torso_towards_camera": (_within(0.15, "along", "camera", "pelvis", "neck"),),
        "torso_away_from_camera": (_most(-0.15, "along", "camera", "pelvis", "neck"),),
    }  # fmt: skip
    head = {"head_down": (_degrees(22, 180, "head", "nod"),), "head_up": (_most(math.radians(-15), "head", "nod"),)}
    view = {"facing_camera": (_within(0.85, "axes", "chest_front", "camera"),),
            "back_to_camera": (_most(-0.85, "axes", "chest_front", "camera"),)}  # fmt: skip
    yield from _family(torso, "torso")
    yield from _family(head, "head")
    yield from _family({**_postures(), **_pairs()}, "overall")
    yield from _family(view, "view")


def _of_both(condition: Callable[[str], Condition]) -> tuple[Condition, Condition]:
    return condition("left"), condition("right")


def _knees_bent(least: Number) -> tuple[Condition, Condition]:
    return _of_both(lambda s: _degrees(least, 180, "bend", f"{s}_hip", f"{s}_knee", f"{s}_ankle"))


def _postures() -> dict[str, tuple[Condition, ...]]:
    level_thighs = _of_both(lambda s: _cosines(-0.5, 0.6, "up", f"{s}_hip", f"{s}_knee"))
    knees_down = _of_both(lambda s: _most(0.15, "lift", f"{s}_knee"))
    knees_up = _of_both(lambda s: _within(0.2, "lift", f"{s}_knee"))
    hands_down = _of_both(lambda s: _most(0.15, "lift", f"{s}_hand"))
    feet_down = _of_both(lambda s: _most(0.15, "lift", f"{s}_foot"))
    return {
        "standing": (_within(0.65, "along", "up", "ankles", "pelvis"), _UPRIGHT_TORSO),
        "sitting": (*level_thighs, _UPRIGHT_TORSO, _within(-0.2, "along", "up", "ankles", "pelvis", high=0.62),
                    _within(0.2, "beside", "spine3", "ankles")),
        "sitting_on_ground": (_most(0.22, "lift", "pelvis"), _UPRIGHT_TORSO),
        "crouching": (*_knees_bent(85), *knees_up, *feet_down, _within(0.2, "lift", "pelvis", high=0.6),
                      _most(0.22, "beside", "spine3", "ankles")),
        "kneeling": (*_knees_bent(50), *knees_down, _within(0.3, "axes", "torso_up", "up"),
                     _within(0.15, "lift", "pelvis")),
        "on_all_fours": (*knees_down, *hands_down, _within(0.2, "lift", "pelvis")),
        "lying": _LYING,
        "lying_on_back": (*_LYING, _within(0.6, "axes", "chest_front", "up")),
        "lying_face_down": (*_LYING, _most(-0.6, "axes", "chest_front", "up")),
        "upside_down": (_most(-0.5, "axes", "torso_up", "up"),),
    }  # fmt: skip


def _pairs() -> dict[str, tuple[Condition, ...]]:
    in_front = [_within(0.05, "along", "chest_front", "spine3", f"{s}_wrist") for s in ("left", "right")]
    return {
        "hands_together": (_most(0.14, "distance", "left_hand", "right_hand"),),
        "hands_far_apart": (_within(1.1, "distance", "left_hand", "right_hand"),),
        "arms_crossed": (_most(-0.06, "along", "chest_left", "right_wrist", "left_wrist"),
                         _most(0.25, "distance", "left_forearm", "right_forearm"), *in_front),
        "legs_crossed": _CROSSED_LEGS,
        "feet_together": (_most(0.17, "distance", "left_ankle", "right_ankle"),),
        "feet_wide_apart": (_within(0.65, "distance", "left_ankle", "right_ankle"),),
        "knees_together": (_most(0.17, "distance", "left_knee", "right_knee"),),
        "knees_apart": (_within(0.5, "distance", "left_knee", "right_knee"),),
        "feet_on_ground": tuple(_most(0.1, "lift", f"{s}_foot") for s in ("left", "right")),
    }  # fmt: skip


def _family_of_side(
    table: dict[str, tuple[Condition, ...]], side: str, part: Part, said: bool = True
) -> Iterator[Statement]:
    slots = _slots(side)
    for family, conditions in table.items():
        yield Statement(f"{side}_{family}", family, part, slots, conditions, said)


def _family(table: dict[str, tuple[Condition, ...]], part: Part) -> Iterator[Statement]:
    for family, conditions in table.items():
        yield Statement(family, family, part, (), conditions)


def _all() -> Iterator[Statement]:
    yield from _middle()
    for side, other in (("left", "right"), ("right", "left")):
        yield from _torso_side(side, other)
        yield from _arm(side, other)
        yield from _leg(side, other)


STATEMENTS: tuple[Statement, ...] = tuple(_all())
"""The vocabulary, in a fixed order."""

FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(s.family for s in STATEMENTS))
READ_ONLY = frozenset({"knee_in_front_of_other"})
"""Families that captions draw nothing for: they came later, and the same seed gives the same captions as before."""
DRAWN_FAMILIES: tuple[str, ...] = tuple(family for family in FAMILIES if family not in READ_ONLY)
"""Families that captions draw words for."""
"""Names of families, in the order of their first statements."""


@lru_cache(maxsize=1)
def _index() -> dict[str, int]:
    return {statement.id: row for row, statement in enumerate(STATEMENTS)}


def row_of(statement: str) -> int:
    """Place of a statement in the vocabulary. Raises InputError for an id that there is not."""
    if statement not in _index():
        raise InputError(f"there is no statement '{shown(statement)}' on a pose (see `hmralign.language.statements`)")
    return _index()[statement]
