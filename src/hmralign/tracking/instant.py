"""One instant of a clip as its neighbours see it: groups of a few frames linked and smoothed, the middle one read off.

What `clip_tracks` does with a whole clip, for many persons with a few frames each and one reading of their keypoints:
the cheapest sequence through the hypotheses (`linking`), the mean near it (`measurement`), the smooth curve
(`smoothing`).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.structures import PersonGroup
from hmralign.tracking.linking import NOTHING, Linker, motion_features
from hmralign.tracking.measurement import measure
from hmralign.tracking.shape import one_shape
from hmralign.tracking.smoothing import smooth_rotations
from hmralign.tracking.video_config import VideoConfig


def smoothed_instants(
    body: BodyModel,
    rotmats: Float[Tensor, "person frame hyp 24 3 3"],
    betas: Float[Tensor, "person frame hyp betas"],
    seconds: tuple[float, ...],
    middle: int,
    config: VideoConfig | None = None,
) -> PersonGroup:
    """The middle body of each person, as a group of one.

    Rotations are those of the camera, which stands still. Frames of which the sequence takes nothing are left out, the
    middle one too: the curve is then read off at its time. Raises InputError for times that do not grow.
    """
    config = config or VideoConfig()
    of_frames = betas.mean(2).numpy()  # (person, frame, betas)
    shapes = torch.from_numpy(np.stack([one_shape(s, np.ones(len(s))) for s in of_frames])).to(betas)
    bodies = [_instant(body, r, b, seconds, middle, config) for r, b in zip(rotmats, shapes, strict=True)]
    return PersonGroup(torch.stack(bodies)[:, None], shapes[:, None])


def _instant(
    body: BodyModel,
    rotmats: Float[Tensor, "frame hyp 24 3 3"],
    betas: Float[Tensor, " betas"],
    seconds: tuple[float, ...],
    middle: int,
    config: VideoConfig,
) -> Float[Tensor, "24 3 3"]:
    _, joints = forward_kinematics(rest_joints(body, betas), rotmats, body.parents)  # (frame, hyp, 29, 3)
    features = [motion_features(r, j) for r, j in zip(rotmats, joints, strict=True)]
    linker, one = Linker(config.links), np.zeros(rotmats.shape[1])
    for time, shown in zip(seconds, features, strict=True):
        linker.show(time, shown, one.astype(np.int64), one)
    path = linker.path()
    mean, variance, times = [], [], []
    for frame in np.flatnonzero((path != NOTHING) | (np.arange(len(path)) == middle)):
        chosen, linked = int(path[frame]), path[frame] != NOTHING
        squared = ((features[frame] - features[frame][chosen]) ** 2).sum(1) if linked else one
        found = measure(rotmats[frame], joints[frame], torch.from_numpy(squared).to(rotmats), config.near_path)
        mean.append(found.rotmats)
        # A middle frame that contradicts its neighbours keeps its time and hardly any say.
        variance.append(found.variance * (1.0 if linked else 1e4))
        times.append(seconds[frame])
    curve = smooth_rotations(
        np.array(times),
        torch.stack(mean).double().numpy(),
        torch.stack(variance).double().numpy(),
        config.smoothing.rotation_seconds,
        config.smoothing,
    )
    return torch.from_numpy(curve.values[times.index(seconds[middle])]).to(rotmats)
