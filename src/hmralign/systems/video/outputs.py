"""The files of a recovered clip, written beside their place and renamed when complete.

<clip>/
  report.html            everything on one offline page with a slider
  overlay.mp4            everybody over every frame
  video.json             what the folder holds; written last
  track_0/
    motion.npz/.bvh/.glb AMASS' layout, skeleton, skinned body: for animation tools, at even steps (`export`)
    frames.npz           every frame as it was answered: bodies, joints, doubt, flags
    summary.json         numbers, and what was filled in
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmralign.export.track_animation import write_track_animation
from hmralign.reports.clip_report import write_clip_report
from hmralign.storage.json_file import read_json
from hmralign.storage.whole_file import write_json
from hmralign.storage.whole_folder import finished_folder
from hmralign.structures import InputError
from hmralign.systems.recover.people import measured
from hmralign.systems.recover.provenance import Provenance
from hmralign.systems.video.drawing import ClipPictures, draw_clip
from hmralign.systems.video.people import RecoveredClip
from hmralign.systems.video.report import clip_report
from hmralign.systems.video.summary import clip_summary, track_folder, track_summary
from hmralign.tracking.person_track import PersonTrack

FORMAT_VERSION = 1
CLIP_RECORD = "video.json"

ABOUT = (
    "One person of a clip by hmralign, frame by frame; axis 0 is the frame, frame says its number in the clip.",
    "Lengths are metres, angles radians, time seconds from the clip's first frame; frame cam: x right, y down, z "
    "forward; K projects into upright frames of size (width, height).",
    "rotmats (T, 24, 3, 3) are parent-relative, the root first; the body turns about its pelvis, then transl is added; "
    "betas, one shape for all frames, belong to body_name, not to SMPL.",
    "interpolated: not seen in this frame, filled in; exchanged: left and right the other way round than the detector "
    "said.",
    "spread (T, 29): disagreement of the frame's hypotheses about the smoothed joints, pelvis-relative.",
    "keypoints (T, 27, 3): x, y, confidence as they were used; zeros in interpolated frames.",
)


def write_clip(
    folder: Path,
    found: RecoveredClip,
    body: BodyModel,
    provenance: Provenance,
    fingerprint: str,
    *,
    pictures: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write all outputs of a clip, whole or not at all; returns the folder. Without `pictures` neither film nor page.

    Raises InputError when the folder exists and may not be replaced, or cannot be written.
    """
    require_replaceable_clip(folder, overwrite)
    with finished_folder(folder) as draft:
        drawn: ClipPictures | None = None
        if pictures and found.tracks:
            with measured(found.seconds, "draw"):
                drawn = draw_clip(found, body, draft / "overlay.mp4")
        for number, track in enumerate(found.tracks):
            into = draft / track_folder(number)
            into.mkdir()
            write_track_animation(into, track, body, found.fps, track_folder(number))
            write_npz(into / "frames.npz", track_arrays(track, body, provenance))
            write_json(into / "summary.json", track_summary(found, number, provenance))
        if drawn is not None:
            with measured(found.seconds, "report"):
                write_clip_report(draft / "report.html", clip_report(found, drawn, body, provenance))
        write_json(draft / CLIP_RECORD, clip_summary(found, provenance, fingerprint))
    return folder


def track_arrays(track: PersonTrack, body: BodyModel, provenance: Provenance) -> dict[str, np.ndarray]:
    """The arrays of `frames.npz`; `about` explains them."""
    return {
        "format_version": np.array(FORMAT_VERSION),
        "about": np.array(ABOUT),
        "frame": track.frames,
        "time": track.time,
        "rotmats": track.rotmats,
        "betas": track.betas,
        "transl": track.transl,
        "joints": track.joints,
        "spread": track.spread,
        "interpolated": track.interpolated,
        "exchanged": track.exchanged,
        "keypoints": track.keypoints,
        "box": track.box,
        "score": track.score,
        "K": track.K,
        "size": track.size,
        "joint_names": np.array(JOINT_NAMES),
        "keypoint_names": np.array(KEYPOINT_NAMES),
        "body_name": np.array(body.name),
        "skeleton_hash": np.array(body.skeleton_hash),
        "mesh_hash": np.array(body.mesh_hash),
        "retargeted": np.array(provenance.retargeted),
        "estimated_on": np.array(provenance.estimated_on.name),
    }


def read_clip_record(folder: Path) -> dict[str, Any] | None:
    """`video.json` of a finished folder, or None where there is none that can be read."""
    try:
        record = read_json(folder / CLIP_RECORD, "the record of a clip")
    except InputError:
        return None
    return record if isinstance(record, dict) else None


def require_replaceable_clip(folder: Path, overwrite: bool) -> None:
    """Raise InputError unless the folder is absent or empty, or `overwrite` is set and it is an earlier clip's."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or folder.is_symlink() or not (folder / CLIP_RECORD).is_file():
        raise InputError(f"'{folder}' exists and is no earlier clip of hmralign; expected a new folder")
    if not overwrite:
        raise InputError(f"'{folder}' holds a clip of other settings; expected a new folder, or overwrite=True")
