"""People who were estimated on one body, as bodies of another: what `recover --body` hands out.

The weights know one skeleton, so hypotheses are sampled, refined, scored and ranked on its body. They are carried over
afterwards, one by one. Joints, spread and agreement are then measured anew, on the bodies that are handed out; scores
and ranking stay those of the bodies that were judged.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from hmralign.body.lbs import posed_joints
from hmralign.body.model import BodyModel
from hmralign.body.retarget import retarget
from hmralign.critics.by_rule import agreement
from hmralign.hypotheses.sides import SideMode
from hmralign.hypotheses.spread import joint_spread
from hmralign.structures import BodyParams, Camera, Hypotheses, Observation
from hmralign.systems.recover.people import RecoveredPerson, RecoveredPhoto, measured, noise_for


def retarget_photo(photo: RecoveredPhoto, source: BodyModel, target: BodyModel) -> RecoveredPhoto:
    """The same people as bodies of `target`, both models on the CPU."""
    with measured(photo.seconds, "retarget"), torch.no_grad():
        persons = [_retarget_person(person, photo.camera, source, target) for person in photo.persons]
    return replace(photo, persons=persons)


def _retarget_person(person: RecoveredPerson, camera: Camera, source: BodyModel, target: BodyModel) -> RecoveredPerson:
    group, fused = retarget(source, person.hypotheses.body, target), retarget(source, person.fused, target)
    joints, fused_joints = posed_joints(target, group), posed_joints(target, fused)
    two = Hypotheses(
        BodyParams.stack([group[person.selected], fused])[None],
        torch.stack([joints[person.selected], fused_joints])[None],
    )
    seen = Observation.stack([person.observation])
    best_fit, fused_fit = agreement(target, two, seen, camera, noise_for(person.detection))[0]
    return replace(
        person,
        hypotheses=Hypotheses(group, joints),
        fused=fused,
        fused_joints=fused_joints,
        spread=joint_spread(joints),
        best_agreement=best_fit,
        fused_agreement=fused_fit,
        modes=tuple(_retarget_mode(mode, source, target) for mode in person.modes),
    )


def _retarget_mode(mode: SideMode, source: BodyModel, target: BodyModel) -> SideMode:
    """The mode's answer as a body of `target`; `joints` stay those of the bodies that were estimated."""
    fused = retarget(source, mode.fused, target)
    return replace(mode, fused=fused, fused_joints=posed_joints(target, fused))
