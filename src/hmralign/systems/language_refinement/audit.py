"""A vision-language model's descriptions of persons whose bodies are known, audited part by part.

persons with pictures and truth -> questions as in a refinement -> what is believed -> against the true pose
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.dataset import LabelledPersons
from hmralign.evaluation.description_audit import PartAudit, audit_descriptions
from hmralign.geometry.cameras import apply_affine, crop_affine
from hmralign.language.statements import PARTS
from hmralign.models.paper.image_input import require_crops
from hmralign.refinement.description.believed import BeliefOptions, believed
from hmralign.refinement.description.prompts import DescribeOptions
from hmralign.storage.seeds import seeded
from hmralign.structures import Example, InputError, Observation
from hmralign.systems.language_refinement.describing import ShownPerson, describe_people
from hmralign.vlm.asker import Asker


@dataclass(frozen=True)
class DescriptionAudit:
    """What was found, and what was asked."""

    parts: list[PartAudit]
    failures: int
    """Questions without a usable answer."""
    calls: int
    """Made now."""
    facts: dict[str, Any]


def audit_model(
    asker: Asker,
    persons: LabelledPersons,
    count: int,
    options: DescribeOptions,
    belief: BeliefOptions | None = None,
    *,
    seed: int = 0,
) -> DescriptionAudit:
    """Ask about `count` persons of a data set, drawn by the seed, and hold what is believed against their bodies.

    Raises InputError for fewer than two persons, persons without pictures or truth, and as `ask_all`.
    """
    example = _drawn(persons, count, seed)
    assert example.annotation is not None
    belief = replace(belief or BeliefOptions(), trust={part: 1.0 for part in PARTS})
    heard = describe_people(asker, shown_persons(example.observation, persons.name), options)
    found = [believed(person, belief).description for person in heard]
    said = [() if description is None else description.statements for description in found]
    joints, rotmats = example.annotation.joints[:, :NUM_JOINTS], example.annotation.body.rotmats
    parts = audit_descriptions(said, joints, rotmats, seeded(seed, "description audit"))
    facts = {
        "model": asker.backend.model, "persons": count, "data": persons.name, "data_sha256": persons.sha256,
        "asked": options.record, "seed": seed,
    }  # fmt: skip
    failures = sum(len(person.failures) for person in heard)
    return DescriptionAudit(parts, failures, sum(person.calls for person in heard), facts)


def _drawn(persons: LabelledPersons, count: int, seed: int) -> Example:
    example = persons.examples
    there = len(example.observation.box)
    if example.annotation is None:
        raise InputError(f"{persons.name}: has no annotations; expected persons whose bodies are known")
    if not 2 <= count <= there:
        raise InputError(f"{count} persons of {persons.name} are to be described; expected 2 to {there}")
    order = torch.randperm(there, generator=seeded(seed, "described persons"))[:count].sort().values
    return example[order]


def shown_persons(observation: Observation, name: str) -> Sequence[ShownPerson]:
    """Persons by the pixels of their crops. Raises InputError where somebody has none."""
    crops = require_crops(observation)
    return [
        ShownPerson.of(f"{name}#{row}", _picture(crop), in_crop(observation[row], crop.shape[-1]))
        for row, crop in enumerate(crops)
    ]


def in_crop(seen: Observation, side: int) -> Observation:
    """A person (no batch axis) in the pixels of the own crop."""
    A_crop_image, _ = crop_affine(seen.box, side)
    corners = apply_affine(A_crop_image, seen.box.view(2, 2)).flatten()
    return replace(seen, box=corners, keypoints=apply_affine(A_crop_image, seen.keypoints))


def _picture(crop: UInt8[Tensor, "3 side side"]) -> UInt8[np.ndarray, "side side 3"]:
    return crop.permute(1, 2, 0).contiguous().numpy()
