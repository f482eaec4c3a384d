"""A followed person as the files that animation tools read, at even steps.

motion.npz   AMASS' layout (`amass`), z up
motion.bvh   a skeleton and its motion (`bvh`), y up
motion.glb   the skinned body as an animation (`skinned_glb`), y up
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hmralign.body.model import BodyModel
from hmralign.export.amass import write_amass
from hmralign.export.bvh import write_bvh
from hmralign.export.motion import Motion
from hmralign.export.skinned_glb import SkinnedPerson, write_skinned_glb
from hmralign.tracking.person_track import PersonTrack
from hmralign.tracking.resampling import at_times, even_times


def track_motion(track: PersonTrack, fps: float) -> Motion:
    """The track's smoothed motion at a constant rate, in `cam`."""
    moments = even_times(track.time, fps)
    rotmats, transl = at_times(track.time, track.rotmats.astype(np.float64), track.transl.astype(np.float64), moments)
    return Motion(torch.from_numpy(rotmats), torch.from_numpy(transl), torch.from_numpy(track.betas).double(), fps)


def write_track_animation(folder: Path, track: PersonTrack, body: BodyModel, fps: float, name: str) -> list[Path]:
    """Write the motion of a track into a folder in every form; returns the files. The GLB begins when the person does.

    Raises InputError where the body has another number of shape coefficients than the track.
    """
    motion = track_motion(track, fps)
    person = SkinnedPerson(motion, name, start_s=float(track.time[0]))
    return [
        write_amass(folder / "motion.npz", body, motion),
        write_bvh(folder / "motion.bvh", body, motion),
        write_skinned_glb(folder / "motion.glb", body, [person]),
    ]
