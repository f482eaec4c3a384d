"""Small memories with known content."""

import hashlib

import numpy as np

from hmralign.critics.vlm.memory.records import EmbeddingSpace, Episode, NewPrototype, NewRule, RuleUse

SPACE = EmbeddingSpace("pose", "0" * 64, 4)
RULES = (
    NewRule("If a foot floats above the ground, deduct 5 points", ("contact", "feet"), "a person"),
    NewRule("Where the legs cross in the wrong order, deduct 10 points", ("depth_order", "legs"), "a person"),
    NewRule("If a hand enters the torso, deduct 8 points", ("penetration", "hands"), "a person"),
)


def unit_vector(*values):
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def case(hypothesis=0, score=80.0, embedding=None, tags=("legs",), **fields):
    return NewPrototype(hypothesis, fields.pop("reasoning", f"case {hypothesis}"), score, tags, embedding, **fields)


def episode(name="e0", rho=0.6, rules=(), cases=(), mined=(), controls=(), **fields):
    """An episode of eight hypotheses about a photo of its own."""
    uses = tuple(RuleUse(rule) for rule in rules) + tuple(RuleUse(*pair) for pair in controls)
    return Episode(
        id=name, time=fields.pop("time", "2026-01-01T00:00:00Z"), judge="judge",
        images=fields.pop("images", (hashlib.sha256(name.encode()).hexdigest(),)),
        sequence=fields.pop("sequence", ""), scores=tuple(float(i) for i in range(8)),
        errors=tuple(0.1 - 0.01 * i for i in range(8)),
        rho=rho, threshold=fields.pop("threshold", 0.5), rules=uses, prototypes=tuple(cases), mined=tuple(mined),
        **fields,
    )  # fmt: skip


def fill(memory, order=(0, 1, 2)):
    """Three rules and three episodes; `order` is that of rules and episodes that do not build on each other."""
    memory.add_rules([RULES[i] for i in order], "2026-01-01T00:00:00Z")
    ids = [rule.id for rule in RULES]
    episodes = [
        episode("a", 0.9, ids[:2], [case(0, 90.0, unit_vector(1, 0, 0, 0), photo=b"photo a", overlay=b"overlay a")]),
        episode("b", 0.55, ids[1:], [case(3, 20.0, unit_vector(0, 1, 0, 0), photo=b"photo b", overlay=b"overlay b")]),
        episode("c", 0.1, controls=[(ids[0], 0.2), (ids[2], -0.1)], sequence="walk"),
    ]
    for i in order:
        assert memory.commit(episodes[i], SPACE)
    return ids
