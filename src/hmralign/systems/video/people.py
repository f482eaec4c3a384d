"""A clip in, smooth tracks of its people out: answer the frames, follow, link, smooth."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hmralign.body.lbs import posed_joints
from hmralign.body.model import BodyModel
from hmralign.body.retarget import retarget
from hmralign.data.video.clip import Clip, rate_of
from hmralign.structures import BodyParams
from hmralign.systems.recover.people import measured
from hmralign.systems.video.answer_frames import FrameAnswers, answer_frames
from hmralign.tracking.chunks import ChunkFolder
from hmralign.tracking.clip_tracks import FRAMES_AT_ONCE, ClipTracks, Frames, clip_tracks
from hmralign.tracking.person_track import PersonTrack


@dataclass(frozen=True)
class RecoveredClip:
    """A clip's people. `fps` is the usual rate of the frames; `varying` says that their distances differ.

    `notes` are sentences about everything that was met, left out or filled in. `sightings` counts the people of each
    frame before they were followed.
    """

    clip: Clip
    frames: Frames
    tracks: list[PersonTrack]
    fps: float
    varying: bool
    notes: list[str]
    detector: str
    sightings: Any
    seconds: dict[str, float]


def recover_clip(
    clip: Clip, answers: FrameAnswers, work: Path | None, plan: dict[str, Any], later: Callable[[], list[str]]
) -> RecoveredClip:
    """Recover everybody in a clip; `work` keeps answered frames, so that an interrupted run goes on.

    `plan` says what the frames are answered from and how. `later` gives notes once all frames were met. Raises
    InputError for a clip without a frame, and where another process works in the folder.
    """
    seconds: dict[str, float] = {}
    body = answers.policy.body.to("cpu")
    with _work_folder(work) as folder, ChunkFolder.held(folder, plan) as chunks:
        with measured(seconds, "answer frames"):
            record = answer_frames(clip, answers, chunks)
        with measured(seconds, "follow and smooth"), torch.no_grad():
            hypotheses = answers.recover.sampler.num_hypotheses
            found = clip_tracks(chunks, record["chunks"], hypotheses, body, answers.video)
    fps, varying = rate_of(found.frames.time)
    notes = [*record["notes"], *found.notes, *later(), *_notes(found, fps, varying)]
    return RecoveredClip(
        clip, found.frames, found.tracks, fps, varying, notes, found.detector, found.sightings, seconds
    )


@contextmanager
def _work_folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="hmralign-video-") as folder:
        yield Path(folder)


def _notes(found: ClipTracks, fps: float, varying: bool) -> list[str]:
    said = []
    if varying:
        said.append(
            f"the frame rate varies (usually {fps:.4g} frames a second): the frames' own time stamps are used, and "
            "motion.npz is at even steps"
        )
    if len(found.frames) == 1:
        said.append("there is one frame, so nothing is smoothed")
    filled = sum(int(track.interpolated.sum()) for track in found.tracks)
    if filled:
        bodies = "1 body is" if filled == 1 else f"{filled} bodies are"
        said.append(f"{bodies} filled in between frames, where a person was not seen for at most 0.3 s")
    turned = sum(int(track.exchanged.sum()) for track in found.tracks)
    if turned:
        bodies = "1 body" if turned == 1 else f"{turned} bodies"
        said.append(
            f"in {bodies} left and right are the other way round than the detector says, as the frames around show"
        )
    if not found.tracks:
        said.append("nobody was found in any frame")
    return said


def body_params(track: PersonTrack, frames: slice = slice(None)) -> BodyParams:
    """The bodies of a track, axis (frame,), `cam`."""
    rotmats = torch.from_numpy(track.rotmats[frames])
    betas = torch.from_numpy(track.betas).expand(len(rotmats), -1)
    return BodyParams(rotmats[:, 0], rotmats[:, 1:], betas, torch.from_numpy(track.transl[frames]))


def retarget_clip(found: RecoveredClip, source: BodyModel, target: BodyModel) -> RecoveredClip:
    """The same tracks as bodies of `target`, both models on the CPU."""
    return replace(found, tracks=[_retargeted(track, source, target) for track in found.tracks])


@torch.no_grad()
def _retargeted(track: PersonTrack, source: BodyModel, target: BodyModel) -> PersonTrack:
    parts = []
    for start in range(0, len(track), FRAMES_AT_ONCE):
        parts.append(retarget(source, body_params(track, slice(start, start + FRAMES_AT_ONCE)), target))
    moved = BodyParams.cat(parts)
    return replace(
        track,
        rotmats=moved.rotmats.numpy(),
        betas=moved.betas[0].numpy(),
        transl=moved.transl.numpy(),
        joints=posed_joints(target, moved).numpy(),
    )
