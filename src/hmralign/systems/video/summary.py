"""The numbers of one track and of one clip as plain values, for `summary.json` and `video.json`."""

from __future__ import annotations

from typing import Any

import numpy as np

from hmralign.body.skeleton import JOINT_NAMES
from hmralign.systems.recover.limbs import LIMBS
from hmralign.systems.recover.provenance import Provenance
from hmralign.systems.video.people import RecoveredClip
from hmralign.tracking.person_track import PersonTrack

FORMAT_VERSION = 1


def track_folder(number: int) -> str:
    """Name of the folder of one track."""
    return f"track_{number}"


def stretches(flags: np.ndarray, first: int) -> list[list[int]]:
    """First and last frame of each stretch of flagged frames; `first` is the number of the first frame.

    >>> stretches(np.array([False, True, True, False]), 10)
    [[11, 12]]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [[int(a) + first, int(b) - 1 + first] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def why_it_ends(found: RecoveredClip, track: PersonTrack) -> str:
    """What a track's last frame has behind it."""
    after = track.first + len(track)
    if after >= len(found.frames):
        return "the clip ends"
    if found.frames.cut[after]:
        return "a cut"
    return "not seen any more for longer than 0.3 s, or until a cut or the end"


def track_summary(found: RecoveredClip, number: int, provenance: Provenance) -> dict[str, Any]:
    """What `summary.json` of a track holds."""
    track = found.tracks[number]
    return {
        "format_version": FORMAT_VERSION,
        "track": number,
        **track_row(found, number),
        "interpolated_frames": stretches(track.interpolated, track.first),
        "exchanged_frames": stretches(track.exchanged, track.first),
        "spread_m": {n: round(float(s), 4) for n, s in zip(JOINT_NAMES, _rms(track.spread), strict=True)},
        "spread_by_limb_m": limb_spread(track),
        "camera": {"K": track.K[0].tolist(), "size": track.size[0].tolist()},
        "betas": [round(float(b), 4) for b in track.betas],
        "retargeted": provenance.retargeted,
        "made_by": provenance.record(),
    }


def track_row(found: RecoveredClip, number: int) -> dict[str, Any]:
    """What `video.json` says of a track."""
    track = found.tracks[number]
    return {
        "folder": track_folder(number),
        "first_frame": track.first,
        "last_frame": track.first + len(track) - 1,
        "from_s": round(float(track.time[0]), 4),
        "to_s": round(float(track.time[-1]), 4),
        "ends_with": why_it_ends(found, track),
        "frames": len(track),
        "interpolated": int(track.interpolated.sum()),
        "exchanged": int(track.exchanged.sum()),
        "mean_spread_m": round(float(track.spread.mean()), 4),
    }


def clip_summary(found: RecoveredClip, provenance: Provenance, fingerprint: str) -> dict[str, Any]:
    """What `video.json` holds; it is the last file written, and says that the folder is complete."""
    frames = found.frames
    return {
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "clip": {
            "name": found.clip.name,
            "sha256": found.clip.sha256,
            "frames": len(frames),
            "seconds": round(float(frames.time[-1]), 4),
            "fps": round(found.fps, 4),
            "varying_rate": found.varying,
            "size": frames.size[0].tolist(),
            "cuts": np.flatnonzero(frames.cut).tolist(),
            "frames_without_people": stretches(found.sightings == 0, 0),
        },
        "detector": found.detector,
        "notes": found.notes,
        "tracks": [track_row(found, number) for number in range(len(found.tracks))],
        "retargeted": provenance.retargeted,
        "seconds": {stage: round(s, 4) for stage, s in found.seconds.items()},
        "made_by": provenance.record(),
    }


def limb_spread(track: PersonTrack) -> dict[str, float]:
    """Mean spread of each limb, metres."""
    mean = _rms(track.spread)
    return {name: round(float(mean[list(joints)].mean()), 4) for name, (joints, _) in LIMBS.items()}


def _rms(spread: np.ndarray) -> np.ndarray:
    return np.sqrt((spread.astype(np.float64) ** 2).mean(0))
