"""Descriptions against true poses: what is true is believed, what might be said of anybody is not."""

import json
from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.evaluation.description_audit import (
    LEAST_STATEMENTS,
    PartAudit,
    audit_descriptions,
    read_trust,
    write_audit,
)
from hmralign.language.caption import caption
from hmralign.language.planted import exchanged
from hmralign.structures import InputError
from support.synthetic_persons import BODY, persons, seeded


@pytest.fixture(scope="module")
def bodies():
    truth = persons(60).annotation.body
    return posed_joints(BODY, truth)[:, :24], truth.rotmats


@pytest.fixture(scope="module")
def captions(bodies):
    return caption(*bodies[:1], seeded(0), bodies[1])


def audited(descriptions, bodies):
    return {a.part: a for a in audit_descriptions([d.statements for d in descriptions], *bodies, seeded(1))}


def test_captions_of_the_true_pose_are_believed(captions, bodies):
    found = audited(captions, bodies)
    assert {"torso", "left_arm", "right_arm", "left_leg", "right_leg"} <= set(found)
    for part, audit in found.items():
        assert audit.precision == 1.0 and audit.by_chance < 0.8 and audit.kappa == 1.0, part
        assert audit.trust > 0.9


def test_captions_of_other_persons_are_not(captions, bodies):
    found = audited(exchanged(captions, seeded(2)), bodies)
    for part in ("left_arm", "right_arm", "left_leg", "right_leg", "torso"):
        assert abs(found[part].kappa) < 0.2 and found[part].trust < 0.1, found[part]


def test_kappa_falls_with_the_share_of_wrong_captions(captions, bodies):
    others = exchanged(captions, seeded(2))
    half = [a if n % 2 else b for n, (a, b) in enumerate(zip(captions, others, strict=True))]
    found = audited(half, bodies)
    assert 0.3 < found["left_arm"].kappa < 0.7


def test_what_is_denied_counts_the_other_way_round(captions, bodies):
    denied = [[(name, not holds) for name, holds in d.statements] for d in captions]
    found = {a.part: a for a in audit_descriptions(denied, *bodies, seeded(1))}
    assert found["left_arm"].precision == 0.0 and found["left_arm"].trust == 0.0


def test_parts_of_which_nothing_is_said_are_left_out(bodies):
    said = [[("sitting", True)]] * len(bodies[0])
    assert [a.part for a in audit_descriptions(said, *bodies, seeded(0))] == ["overall"]
    with pytest.raises(InputError, match="one each of at least 2"):
        audit_descriptions([[]], bodies[0][:1], bodies[1][:1], seeded(0))


def test_an_audit_is_read_as_trust(tmp_path):
    well = PartAudit("left_arm", LEAST_STATEMENTS, 0.9, 0.4, 0.83, 0.7)
    few = replace(well, part="head", statements=LEAST_STATEMENTS - 1)
    bad = replace(well, part="torso", kappa_low=-0.2)
    path = write_audit(tmp_path / "audit.json", [well, few, bad], {"model": "m"})
    assert read_trust(path) == {"left_arm": 0.7, "torso": 0.0}
    content = json.loads(path.read_text())
    for change, words in (({"format_version": 9}, "format"), ({"parts": [{"part": "tail"}]}, "entry that is none")):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(InputError, match=words):
            read_trust(path)
    with pytest.raises(InputError):
        read_trust(tmp_path / "none.json")


def test_the_interval_is_drawn_from_the_generator(captions, bodies):
    said = [d.statements for d in exchanged(captions, seeded(2))]
    first, again, other = (audit_descriptions(said, *bodies, seeded(s)) for s in (1, 1, 2))
    assert first == again and any(a.kappa_low != b.kappa_low for a, b in zip(first, other, strict=True))
    assert torch.tensor([a.kappa_low <= a.kappa + 1e-6 for a in first]).all()
