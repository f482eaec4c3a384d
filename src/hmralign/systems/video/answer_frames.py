"""The first pass over a clip: every frame's people are found and estimated, chunk by chunk, and committed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.data.video.clip import Clip, Frame
from hmralign.detection.detection import Detection
from hmralign.detection.observe import MIN_KEYPOINTS, observe
from hmralign.detection.person_crop import with_crops
from hmralign.fitting.detector_noise import noise_of
from hmralign.hypotheses.sides import SidesConfig, reading_probabilities, seen_by_other_network
from hmralign.models.side_gate import shipped_side_gate
from hmralign.policies.policy import BodyProposer, crop_side
from hmralign.structures import Camera, Observation
from hmralign.systems.recover.people import RecoverConfig, noise_for
from hmralign.tracking.chunks import Chunk, ChunkFolder
from hmralign.tracking.cuts import CutDetector
from hmralign.tracking.frame_groups import FrameGroups, GroupConfig, OtherNetwork, frame_groups
from hmralign.tracking.video_config import VideoConfig

logger = logging.getLogger("hmralign.recover")

MAX_PEOPLE = 100
"""People of one frame at most; of more, the most certain are taken, and it is said."""


@dataclass(frozen=True)
class FrameAnswers:
    """How a frame's people are found and estimated."""

    policy: BodyProposer
    find: Callable[[Frame], list[Detection]]
    """The people of a frame with pixels, in pixels of that frame."""
    camera: Callable[[int, int], Camera]
    """From width and height of a frame."""
    recover: RecoverConfig
    video: VideoConfig
    on_frame: Callable[[Frame], None]
    """Is told of every frame, answered now or before."""


def answer_frames(clip: Clip, answers: FrameAnswers, chunks: ChunkFolder) -> dict:
    """Answer the frames that are not answered yet; returns the record of all (`ChunkFolder.finished`).

    Frames of committed chunks are decoded again, which is quick, and not answered again.
    """
    record = chunks.finished()
    if record is not None:
        return record
    cuts, frames, number = CutDetector(answers.video.cuts), 0, 0
    stream = _prepared(clip.frames(), cuts, answers)
    while block := list(islice(stream, answers.video.chunk_frames)):
        if not chunks.has(number):
            start = time.perf_counter()
            chunks.commit(number, _answered(block, answers))
            rate = len(block) / max(time.perf_counter() - start, 1e-9)
            logger.info("%s: frames %d to %d, %.1f done a second", clip.name, frames, frames + len(block) - 1, rate)
        frames += len(block)
        number += 1
    record = {"frames": frames, "chunks": number, "notes": clip.notes}
    chunks.finish(record)
    return record


@dataclass(frozen=True)
class _Prepared:
    """A frame with what the frames before it decide: whether a cut is there, and its camera."""

    frame: Frame
    cut: bool
    camera: Camera


def _prepared(stream: Iterator[Frame], cuts: CutDetector, answers: FrameAnswers) -> Iterator[_Prepared]:
    size = (1, 1)
    for frame in stream:
        answers.on_frame(frame)
        if frame.rgb is not None:
            size = frame.rgb.shape[1], frame.rgb.shape[0]
        # A frame that cannot be read is taken to have the size of the one before.
        yield _Prepared(frame, frame.rgb is not None and cuts.is_cut(frame.rgb), answers.camera(*size))


def _answered(block: list[_Prepared], answers: FrameAnswers) -> Chunk:
    found: list[tuple[int, Detection]] = []
    left_out = np.zeros(2, np.int64)
    for index, prepared in enumerate(block):
        if prepared.frame.rgb is not None:
            people = answers.find(prepared.frame)
            placed = [p for p in people if int((p.confidence > 0).sum()) >= MIN_KEYPOINTS]
            left_out += [len(people) - len(placed), len(placed) > MAX_PEOPLE]
            found += [(index, person) for person in sorted(placed, key=lambda p: -p.score)[:MAX_PEOPLE]]
    side = crop_side(answers.policy)
    observations = [_seen(person, block[index], side) for index, person in found]
    seen = [_seen_otherwise(person, block[index], answers.recover.sides, side) for index, person in found]
    groups, detector = (
        FrameGroups.empty(answers.recover.sampler.num_hypotheses, answers.policy.body.num_betas),
        ("", ""),
    )
    if found:
        people = [person for _, person in found]
        detector = (people[0].detector, people[0].noise_file or "")
        chosen = GroupConfig(answers.recover.sampler, answers.recover.refinement, answers.recover.seed)
        noise, other = noise_for(people[0]), _other_network(people, seen)
        groups = frame_groups(answers.policy, Observation.stack(observations), noise, chosen, other)
    probability = _probabilities([p for _, p in found], observations, seen, answers.recover.sides)
    cameras = [prepared.camera for prepared in block]
    return Chunk(
        time=np.array([prepared.frame.time for prepared in block]),
        size=np.array([[camera.width, camera.height] for camera in cameras]),
        cut=np.array([prepared.cut for prepared in block]),
        K=torch.stack([camera.K for camera in cameras]).numpy(),
        frame=np.array([index for index, _ in found], np.int64),
        box=_stacked([o.box.numpy() for o in observations], (4,)),
        keypoints=_stacked([o.keypoints.numpy() for o in observations], (NUM_KEYPOINTS, 2)),
        confidence=_stacked([o.confidence.numpy() for o in observations], (NUM_KEYPOINTS,)),
        score=np.array([person.score for _, person in found], np.float32),
        group=groups.group,
        betas=groups.betas,
        misfit=groups.misfit,
        probability=probability[:, : groups.misfit.shape[1]],
        other=_stacked([_points(o) for o in seen], (NUM_KEYPOINTS, 3)),
        left_out=left_out,
        detector=np.array(detector),
    )


def _seen(person: Detection, prepared: _Prepared, side: int | None) -> Observation:
    assert prepared.frame.rgb is not None
    return with_crops(observe(person, prepared.camera), prepared.frame.rgb, side)


def _seen_otherwise(person: Detection, prepared: _Prepared, sides: SidesConfig, side: int | None) -> Observation | None:
    other = None if sides.mode == "as-read" else seen_by_other_network(person, prepared.camera)
    assert prepared.frame.rgb is not None
    return other and with_crops(other, prepared.frame.rgb, side)  # its box, and so its crop, is another one


def _other_network(people: list[Detection], seen: list[Observation | None]) -> OtherNetwork | None:
    """The other network's readings of people; one network gives them all."""
    at = [index for index, observation in enumerate(seen) if observation is not None]
    if not at:
        return None
    alternative = people[at[0]].alternative
    assert alternative is not None
    noise = noise_of(alternative.detector.split("-")[0])
    return OtherNetwork(np.array(at), Observation.stack([o for o in seen if o is not None]), noise)


def _probabilities(
    people: list[Detection], observations: list[Observation], seen: list[Observation | None], sides: SidesConfig
) -> np.ndarray:
    """What frames say of each reading of their people, (person, 3); NaN where nothing."""
    gate, found = shipped_side_gate(), np.full((len(people), 3), np.nan, np.float32)
    for row, (person, observation, other) in enumerate(zip(people, observations, seen, strict=True)):
        usable = person if other is not None else replace(person, alternative=None)
        found[row, 1:] = reading_probabilities(usable, observation, gate, sides)
    return found


def _points(seen: Observation | None) -> np.ndarray:
    """x, y, confidence of a reading; zeros of none."""
    if seen is None:
        return np.zeros((NUM_KEYPOINTS, 3), np.float32)
    return torch.cat([seen.keypoints, seen.confidence[:, None]], -1).numpy()


def _stacked(arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(arrays) if arrays else np.zeros((0, *shape), np.float32)
