"""How wrong the fused body is likely to be, joint by joint: the group's spread, made honest.

Hypotheses of a generative model agree more than they should. For shipped weights a recalibration was fitted on
validation persons of SynthWild (`metrics/uncertainty.py`); it holds as far as people on photos are like those.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jaxtyping import Float
from torch import Tensor

from hmralign.evaluation.summary import (
    CALIBRATED_JOINTS,
    centred_on,
    fitted_with_another,
    gaussians_of,
    read_recalibration,
)
from hmralign.hypotheses.sides import SideMode, squared_distance_of_modes
from hmralign.metrics.uncertainty import Recalibration
from hmralign.storage.json_file import parse_json
from hmralign.systems.recover.people import RecoverConfig, RecoveredPerson
from hmralign.systems.recover.provenance import Provenance

MIN_HYPOTHESES = 20
"""Smaller groups do not say their covariance well enough."""


@lru_cache(maxsize=4)
def _shipped_record(checkpoint_sha256: str) -> dict[str, Any] | None:
    folder = files("hmralign.models") / "weights"
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.endswith("_recalibration.json"):
            record = parse_json(path.read_bytes())
            if record.get("checkpoint_sha256") == checkpoint_sha256:
                return record
    return None


def recalibration_for(checkpoint_sha256: str, config: RecoverConfig) -> Recalibration | None:
    """The shipped recalibration of these very weights with these settings of refinement; None for any others."""
    record = _shipped_record(checkpoint_sha256)
    if record is None or config.weighed_by is not None:
        return None
    if fitted_with_another(record, checkpoint_sha256, asdict(config.refinement)):
        return None
    return read_recalibration(record)


def expected_error(person: RecoveredPerson, provenance: Provenance) -> dict[str, float] | None:
    """Expected RMS distance (metres) of each joint but the pelvis from the truth, pelvis-relative, by name.

    None for weights and settings without a recalibration, for fewer than 20 hypotheses, for people known only by a box
    and for retargeted bodies: on none of them was it fitted.
    """
    recalibration = recalibration_for(provenance.checkpoint_hash, provenance.config)
    few = person.hypotheses.num_hypotheses < MIN_HYPOTHESES
    if recalibration is None or few or person.box_only or provenance.retargeted:
        return None
    spread = error_of_modes(person.modes, recalibration)
    return dict(zip(CALIBRATED_JOINTS, spread.tolist(), strict=True))


def error_of_modes(modes: tuple[SideMode, ...], recalibration: Recalibration) -> Float[Tensor, " joint"]:
    """Expected RMS distance (metres) of each joint of the followed answer from the truth, which is one of the modes.

    Of one mode it is the recalibrated spread of its group. Of two, the mean square over both: the answer is as wrong
    as its mode says, or as the other mode says and, on top of that, as far away as the answers of the two are.
    """
    within = [recalibration(centred_on(gaussians_of(m.joints[None]), m.fused_joints[None])).spread[0] for m in modes]
    if len(modes) == 1:
        return within[0]
    other = modes[1].probability or 0.0
    apart = squared_distance_of_modes(modes)[: len(CALIBRATED_JOINTS)]
    return ((1 - other) * within[0].square() + other * (within[1].square() + apart)).sqrt()
