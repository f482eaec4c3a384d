"""What the report says about a recovered clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.reports.clip_report import ClipMoments, ClipPerson, ClipReport
from hmralign.reports.report_data import LimbRow
from hmralign.structures.counted import counted
from hmralign.systems.recover.limbs import LIMBS
from hmralign.systems.recover.provenance import Provenance
from hmralign.systems.recover.report import RETARGETED, run_facts
from hmralign.systems.video.drawing import ClipPictures
from hmralign.systems.video.people import RecoveredClip, body_params
from hmralign.systems.video.summary import limb_spread, why_it_ends
from hmralign.tracking.person_track import PersonTrack

CAVEATS = (
    "Bodies stand where the camera sees them: nothing is known of the camera's own motion or of the ground.",
    "The disagreement is that of each frame's hypotheses. Smoothing takes jitter away, not what all frames get wrong "
    "alike, such as depth; so it is not made smaller by the number of frames.",
    "Which of two readings is right, front or back, is decided by what most frames of a track say.",
)


def clip_report(found: RecoveredClip, drawn: ClipPictures, body: BodyModel, provenance: Provenance) -> ClipReport:
    """The page of one clip."""
    frames = found.frames
    people = f"{counted(len(found.tracks), 'track')}"
    caveats = [*(_sentence(note) for note in found.notes), *CAVEATS]
    return ClipReport(
        title=f"Bodies in {Path(found.clip.name).name}",
        summary=f"{counted(len(frames), 'frame')}, {frames.time[-1]:.1f} s, {people}",
        persons=[_person(found, number, drawn, body) for number in range(len(found.tracks))],
        strip=drawn.strip,
        files=[("overlay.mp4: everybody over every frame; bodies that were filled in are grey", "overlay.mp4")],
        facts={**_clip_facts(found), **run_facts(provenance)},
        caveats=[RETARGETED, *caveats] if provenance.retargeted else caveats,
    )


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _clip_facts(found: RecoveredClip) -> dict[str, str]:
    frames = found.frames
    rate = f"{found.fps:.4g} a second{', varying' if found.varying else ''}"
    return {
        "Frames": f"{len(frames)}, {rate}",
        "Size": f"{frames.size[0][0]} x {frames.size[0][1]} pixels",
        "Cuts": str(int(frames.cut.sum())),
        "Time": ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in found.seconds.items()),
    }


def _person(found: RecoveredClip, number: int, drawn: ClipPictures, body: BodyModel) -> ClipPerson:
    track, at = found.tracks[number], drawn.moments[number]
    small = light_body(body)
    with torch.no_grad():
        meshes = torch.cat([vertices(small, body_params(track, slice(i, i + 1))) for i in at.tolist()])
    pictures = drawn.pictures[number]
    shown = [pictures[i] for i in at.tolist()] if all(i in pictures for i in at.tolist()) else []
    moments = ClipMoments(
        vertices=meshes.numpy(),
        faces=small.faces.numpy(),
        spread=track.spread[at][:, : small.weights.shape[1]] @ small.weights.numpy().T,
        times=track.time[at],
        frames=track.frames[at],
        K=track.K[0],
        window=drawn.windows[number],
        pictures=shown,
    )
    return ClipPerson(
        name=f"Track {number}",
        moments=moments,
        times=track.time,
        spread=track.spread.mean(1),
        interpolated=track.interpolated,
        exchanged=track.exchanged,
        facts=_track_facts(found, track),
        limbs=[LimbRow(name, spread, _seen(track, name)) for name, spread in limb_spread(track).items()],
    )


def light_body(body: BodyModel) -> BodyModel:
    """The smaller mesh of the free body where the body has its skeleton: pages stay small."""
    small = load_free_body("3k5")
    return small if body.name.startswith("free_body") and body.skeleton_hash == small.skeleton_hash else body


def _seen(track: PersonTrack, limb: str) -> float:
    return float(track.keypoints[~track.interpolated][:, list(LIMBS[limb][1]), 2].mean())


def _track_facts(found: RecoveredClip, track: PersonTrack) -> dict[str, str]:
    x, y, z = np.median(track.joints[:, 0], axis=0)
    return {
        "From, to": f"{track.time[0]:.2f} s to {track.time[-1]:.2f} s (frames {track.first} to {track.frames[-1]})",
        "Ends with": why_it_ends(found, track),
        "Filled in": f"{int(track.interpolated.sum())} of {counted(len(track), 'frame')}",
        "Sides exchanged": f"{int(track.exchanged.sum())} of {counted(len(track), 'frame')}",
        "Mean disagreement": f"{100 * float(track.spread.mean()):.1f} cm per joint",
        "Pelvis from the camera": f"{x:+.2f} m right, {-y:+.2f} m up, {z:.2f} m ahead (median)",
    }
