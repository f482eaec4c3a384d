"""How wrong the fused body is likely to be, joint by joint: the group's spread, made honest.

Hypotheses of a generative model agree more than they should. For shipped weights a recalibration was fitted on
validation persons of SynthWild (`metrics/uncertainty.py`); it holds as far as people on photos are like those.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

from jaxtyping import Float
from torch import Tensor

from hmralign.evaluation.summary import centred_on, gaussians_of, read_recalibration
from hmralign.metrics.uncertainty import Recalibration
from hmralign.systems.recover.people import RecoveredPerson


@lru_cache(maxsize=4)
def recalibration_for(checkpoint_sha256: str) -> Recalibration | None:
    """The shipped recalibration of these very weights; None for any others."""
    folder = files("hmralign.models") / "weights"
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.endswith("_recalibration.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("checkpoint_sha256") == checkpoint_sha256:
                return read_recalibration(record)
    return None


def expected_error(person: RecoveredPerson, checkpoint_sha256: str) -> Float[Tensor, " 23"] | None:
    """Expected RMS distance (metres) of each joint but the pelvis from the truth, pelvis-relative.

    None for weights without a recalibration, and for a group of one hypothesis.
    """
    recalibration = recalibration_for(checkpoint_sha256)
    if recalibration is None or person.hypotheses.num_hypotheses < 2:
        return None
    predicted = centred_on(gaussians_of(person.hypotheses.joints[None]), person.fused_joints[None])
    return recalibration(predicted).spread[0]
