"""What a sentence about a body is about, in words of the closed vocabulary."""

from __future__ import annotations

import re

from hmralign.structures.critique import RULE_TAGS

_WORDS: dict[str, str] = {
    "alignment": r"align\w*|misalign\w*|overlap\w*|offset|shift\w*|drift\w*",
    "arms": r"arms?|elbows?|forearms?|shoulders?|wrists?",
    "balance": r"balance\w*|toppl\w*|lean\w*|unstable|off-balance",
    "contact": r"contacts?|touch\w*|ground|floor|floating|floats?",
    "depth_order": r"depth|in front|behind|nearer|closer|farther|further|forwards?|backwards?",
    "facing": r"facing|faces|orientation|turned|rotated|heading|looks? away",
    "feet": r"foot|feet|toes?|ankles?|heels?",
    "hands": r"hands?|fingers?|palms?",
    "head": r"head|neck|chin|gaze",
    "joint_limits": r"hyperextend\w*|impossible|bent the wrong way|unnatural\w*|joint limits?|twisted",
    "legs": r"legs?|knees?|thighs?|shins?|hips?",
    "left_right": r"swapped|left and right|left-right|mirrored|mixed up",
    "occlusion": r"occlu\w*|hidden|covered|out of sight",
    "penetration": r"penetrat\w*|intersect\w*|pass(es)? through|inside the (body|torso)|sinks? into",
    "scale": r"scale|too (large|small|big|tall|short)|size",
    "silhouette": r"silhouette|outline|contour|edges?",
    "torso": r"torso|trunk|chest|back|spine|belly|pelvis",
    "truncation": r"truncat\w*|cut off|outside the (picture|image|frame)|border",
}
_PATTERNS = {tag: re.compile(rf"(?i)\b(?:{words})\b") for tag, words in _WORDS.items()}


def tags_of(text: str) -> tuple[str, ...]:
    """Tags of the vocabulary that a text speaks of, in the vocabulary's order.

    >>> tags_of("Left foot floats above the ground.")
    ('contact', 'feet')
    """
    return tuple(tag for tag in RULE_TAGS if _PATTERNS[tag].search(text))
