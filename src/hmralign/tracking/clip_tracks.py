"""From answered frames to motions: who is who, which hypotheses belong together, one shape, smooth curves.

Chunks are read one after the other, three times: for who is who (small arrays), for the links, and for the measurements
along the links. Of a track only its answers are kept, never its groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import KeypointNoise
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import Observation
from hmralign.structures.counted import counted
from hmralign.tracking.association import Sighting, Tracker
from hmralign.tracking.chunks import SMALL_ARRAYS, ChunkFolder
from hmralign.tracking.frame_groups import reading_of
from hmralign.tracking.gaps import fill_places, fill_rotations, fill_variance
from hmralign.tracking.linking import NOTHING, Linker, motion_features
from hmralign.tracking.measurement import measure
from hmralign.tracking.person_track import PersonTrack
from hmralign.tracking.placing import place_by_keypoints
from hmralign.tracking.readings import exchanged_sides
from hmralign.tracking.shape import one_shape
from hmralign.tracking.smoothing import smooth_places, smooth_rotations
from hmralign.tracking.video_config import VideoConfig

FRAMES_AT_ONCE = 256
"""Frames of a track that are placed in one batch."""


@dataclass
class _Sightings:
    """The sightings of one track in order, filled along the passes."""

    at: list[tuple[int, int]] = field(default_factory=list)
    """Chunk and place in it."""
    frame: list[int] = field(default_factory=list)
    small: list[dict[str, np.ndarray]] = field(default_factory=list)
    """The small arrays of each sighting."""
    linker: Linker | None = None
    path: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    betas: np.ndarray = field(default_factory=lambda: np.zeros(0))
    reading: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    measured: dict[str, np.ndarray] = field(default_factory=dict)
    """The fields of `Measurement` of all sightings."""
    disbelieved: list[tuple[int, dict[str, np.ndarray]]] = field(default_factory=list)
    """Frames whose sighting contradicted its neighbours, and what was seen: no body is taken of them."""

    def keep_linked(self, path: np.ndarray) -> None:
        """Set apart the sightings of which the path takes nothing."""
        linked = np.flatnonzero(path != NOTHING)
        self.path = path[linked]
        self.disbelieved = [(self.frame[i], self.small[i]) for i in np.flatnonzero(path == NOTHING)]
        self.at, self.frame = [self.at[i] for i in linked], [self.frame[i] for i in linked]
        self.small = [self.small[i] for i in linked]


@dataclass(frozen=True)
class Frames:
    """All frames of a clip: times, cameras, and where it is cut."""

    time: np.ndarray
    size: np.ndarray
    K: np.ndarray
    cut: np.ndarray

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class ClipTracks:
    """Everybody's motion, in the order of first sight.

    `notes` say what was left out, `sightings` how many people were seen in each frame.
    """

    frames: Frames
    tracks: list[PersonTrack]
    notes: list[str]
    detector: str
    sightings: np.ndarray


def clip_tracks(chunks: ChunkFolder, count: int, hypotheses: int, body: BodyModel, config: VideoConfig) -> ClipTracks:
    """The motions of all people in `count` chunks with groups of that many hypotheses for each reading.

    `body` is the one on which they were estimated, on the CPU.
    """
    frames, tracks, left_out, detector, sightings = _who_is_who(chunks, count, config)
    least = min(config.least_sightings, len(frames))
    kept = {
        number: track
        for number, track in tracks.items()
        if len(track.at) >= max(least, config.least_share * (track.frame[-1] - track.frame[0] + 1))
    }
    _link(chunks, count, kept, frames, body, config)
    noise = noise_of(detector[1] or detector[0].split("-")[0])
    _measure(chunks, count, kept, hypotheses, body, config)
    found = [_smoothed(track, frames, body, noise, config) for track in kept.values()]
    notes = _notes(frames, len(tracks) - len(kept), least, left_out)
    if disbelieved := sum(len(track.disbelieved) for track in kept.values()):
        those = "them are" if disbelieved > 1 else "it is"
        notes.append(f"{counted(disbelieved, 'sighting')} that contradicted the frames around {those} filled in")
    return ClipTracks(frames, found, notes, detector[0], sightings)


def _notes(frames: Frames, short: int, least: int, left_out: np.ndarray) -> list[str]:
    said = []
    if short:
        said.append(
            f"tracks with fewer than {least} sightings, or seen in less than half their frames, are left out: {short}"
        )
    if left_out[0]:
        said.append(f"{left_out[0]} sightings with fewer than 3 keypoints are left out")
    if left_out[1]:
        said.append(f"in {left_out[1]} frames only the 100 most certain people are taken")
    if frames.cut.any():
        moments = ", ".join(f"{t:.2f} s" for t in frames.time[frames.cut][:10])
        more = "" if frames.cut.sum() <= 10 else " and more"
        count = int(frames.cut.sum())
        said.append(f"{counted(count, 'cut')}, at {moments}{more}: every track ends there")
    return said


def _who_is_who(
    chunks: ChunkFolder, count: int, config: VideoConfig
) -> tuple[Frames, dict[int, _Sightings], np.ndarray, tuple[str, str], np.ndarray]:
    tracker, tracks = Tracker(config.association), defaultdict(_Sightings)
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    left_out, detector, first, sightings = np.zeros(2, np.int64), ("none", ""), 0, []
    for number in range(count):
        arrays = chunks.read(number, SMALL_ARRAYS)
        left_out += arrays["left_out"]
        if len(arrays["frame"]):
            detector = (str(arrays["detector"][0]), str(arrays["detector"][1]))
        for name in ("time", "size", "K", "cut"):
            parts[name].append(arrays[name])
        for index, time in enumerate(arrays["time"]):
            if arrays["cut"][index]:
                tracker.end_all()
            rows = np.nonzero(arrays["frame"] == index)[0]
            sightings.append(len(rows))
            seen = [Sighting(*(arrays[name][row] for name in ("box", "keypoints", "confidence"))) for row in rows]
            for row, track in zip(rows, tracker.assign(float(time), seen), strict=True):
                entry = tracks[track]
                entry.at.append((number, int(row)))
                entry.frame.append(first + index)
                kept = ("box", "keypoints", "confidence", "score", "betas", "misfit", "probability", "other")
                entry.small.append({name: arrays[name][row].copy() for name in kept})
        first += len(arrays["time"])
    frames = Frames(**{name: np.concatenate(part) for name, part in parts.items()})
    return frames, dict(tracks), left_out, detector, np.array(sightings)


def _groups(
    chunks: ChunkFolder, count: int, tracks: dict[int, _Sightings]
) -> Iterator[tuple[_Sightings, int, np.ndarray]]:
    """Every sighting of the tracks in order of time: its track, its index there, its group (reading, hyp, 24, 3) of
    two readings, or three."""
    owner = {at: (track, index) for track in tracks.values() for index, at in enumerate(track.at)}
    for number in range(count):
        group = chunks.read(number, ("group",))["group"]
        for row in range(len(group)):
            if (number, row) in owner:
                track, index = owner[number, row]
                present = int(np.isfinite(track.small[index]["misfit"]).sum())
                yield track, index, group[row, :present].astype(np.float32)


def _posed(body: BodyModel, group: np.ndarray, betas: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (hyp, 24, 3, 3) and joints (hyp, 29, 3) of a group of rotation vectors."""
    rotmats = rotvec_to_rotmat(torch.from_numpy(group))
    _, joints = forward_kinematics(rest_joints(body, betas), rotmats, body.parents)
    return rotmats, joints


def _link(
    chunks: ChunkFolder, count: int, tracks: dict[int, _Sightings], frames: Frames, body: BodyModel, config: VideoConfig
) -> None:
    mean_shape = torch.zeros(body.num_betas)
    for track, index, group in _groups(chunks, count, tracks):
        track.linker = track.linker or Linker(config.links)
        readings = reading_of(group.shape[1], len(group))
        features = motion_features(*_posed(body, group.reshape(-1, *group.shape[2:]), mean_shape))
        misfit, likely = (track.small[index][name].astype(np.float64)[readings] for name in ("misfit", "probability"))
        track.linker.show(float(frames.time[track.frame[index]]), features, readings, misfit, likely)
    for track in tracks.values():
        assert track.linker is not None
        track.keep_linked(track.linker.path())
        track.linker = None


def _measure(
    chunks: ChunkFolder,
    count: int,
    tracks: dict[int, _Sightings],
    hypotheses: int,
    body: BodyModel,
    config: VideoConfig,
) -> None:
    for track in tracks.values():
        track.reading = track.path // hypotheses
        betas = np.stack([small["betas"][r] for small, r in zip(track.small, track.reading, strict=True)])
        seen = np.array([float(small["confidence"].sum()) for small in track.small])
        track.betas = one_shape(betas, seen)
    for track, index, group in _groups(chunks, count, tracks):
        reading, chosen = divmod(int(track.path[index]), hypotheses)
        rotmats, joints = _posed(body, group[reading], torch.from_numpy(track.betas))
        features = torch.from_numpy(motion_features(rotmats, joints))
        squared = (features - features[chosen]).square().sum(1)
        for name, value in vars(measure(rotmats, joints, squared, config.near_path)).items():
            if index == 0:
                track.measured[name] = np.empty((len(track.at), *value.shape), np.float32)
            track.measured[name][index] = value.numpy()


def _smoothed(
    track: _Sightings, frames: Frames, body: BodyModel, noise: KeypointNoise, config: VideoConfig
) -> PersonTrack:
    first, last = track.frame[0], track.frame[-1]
    span, seen = slice(first, last + 1), np.array(track.frame) - first
    time = frames.time[span]
    rotmats, variance = (track.measured[name].astype(np.float64) for name in ("rotmats", "variance"))
    filled = fill_rotations(time, seen, rotmats, variance)
    smoothing = config.smoothing
    smooth = smooth_rotations(time, filled.rotmats, filled.variance, smoothing.rotation_seconds, smoothing)
    rotations = torch.from_numpy(smooth.values).float()
    betas = torch.from_numpy(track.betas)
    observed = _observation(track, frames.K[span][seen])
    there = _placed(body, rotations[seen], betas, observed, noise)
    transl = _smooth_places(time, seen, there, config)
    joints = _joints(body, rotations, betas) + transl[:, None]
    return PersonTrack(
        first=first,
        time=time,
        rotmats=rotations.numpy(),
        betas=track.betas,
        transl=transl.astype(np.float32),
        joints=joints.astype(np.float32),
        spread=_spread(track, joints, time, seen).astype(np.float32),
        interpolated=filled.interpolated,
        exchanged=_at(seen, track.reading > 0, len(time)),
        keypoints=_all_keypoints(track, observed, seen, len(time)),
        box=fill_places(time, seen, np.stack([s["box"] for s in track.small])).astype(np.float32),
        score=_at(seen, np.array([s["score"] for s in track.small], np.float32), len(time)),
        K=frames.K[span],
        size=frames.size[span],
    )


def _observation(track: _Sightings, K: np.ndarray) -> Observation:
    """What was seen of a track, sides as they were linked."""
    count = len(track.small)
    plain = Observation(
        keypoints=torch.from_numpy(np.stack([s["keypoints"] for s in track.small])),
        confidence=torch.from_numpy(np.stack([s["confidence"] for s in track.small])),
        box=torch.from_numpy(np.stack([s["box"] for s in track.small])),
        K=torch.from_numpy(K),
        knows_camera=torch.ones(count, dtype=torch.bool),
        mask=torch.zeros(count, 1, 1),
        has_mask=torch.zeros(count, dtype=torch.bool),
    )
    seen = torch.from_numpy(np.stack([s["other"] for s in track.small]))
    other = replace(plain, keypoints=seen[..., :2].contiguous(), confidence=seen[..., 2].contiguous())
    linked = exchanged_sides(plain).where(torch.from_numpy(track.reading == 1), plain)
    return other.where(torch.from_numpy(track.reading == 2), linked)


def _placed(body: BodyModel, rotmats: Tensor, betas: Tensor, observed: Observation, noise: KeypointNoise) -> np.ndarray:
    """Places of the smoothed bodies by the keypoints of their frames, some frames at a time."""
    parts = []
    for start in range(0, len(rotmats), FRAMES_AT_ONCE):
        part = slice(start, start + FRAMES_AT_ONCE)
        bodies = rotmats[part, None]
        shape = betas.expand(len(bodies), 1, -1)
        parts.append(place_by_keypoints(body, bodies, shape, observed[part], noise).transl[:, 0])
    return torch.cat(parts).double().numpy()


def _smooth_places(time: np.ndarray, seen: np.ndarray, there: np.ndarray, config: VideoConfig) -> np.ndarray:
    """Smooth places of all frames. Depth is the least certain part of a place, so it is smoothed as ray and depth."""
    depth = np.maximum(there[:, 2:], 1e-3)
    apart = np.concatenate([there[:, :2] / depth, np.log(depth)], axis=1)
    filled = fill_places(time, seen, apart)[:, None]
    variance = fill_variance(time, seen, np.ones((len(seen), 1)))
    smooth = smooth_places(time, filled, variance, config.smoothing.place_seconds, config.smoothing).values[:, 0]
    return np.concatenate([smooth[:, :2], np.ones((len(time), 1))], axis=1) * np.exp(smooth[:, 2:])


def _joints(body: BodyModel, rotmats: Tensor, betas: Tensor) -> np.ndarray:
    _, joints = forward_kinematics(rest_joints(body, betas), rotmats, body.parents)
    return joints.double().numpy()


def _spread(track: _Sightings, joints: np.ndarray, time: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Root mean square distance of the groups' joints from the smoothed ones, pelvis-relative."""
    relative = (joints - joints[:, :1])[seen]
    mean, own = track.measured["joint_mean"], track.measured["joint_variance"]
    return np.sqrt(fill_variance(time, seen, own + ((mean - relative) ** 2).sum(-1)))


def _all_keypoints(track: _Sightings, linked: Observation, seen: np.ndarray, count: int) -> np.ndarray:
    """Keypoints with confidence of every frame; those of disbelieved sightings as they were read."""
    keypoints = _at(seen, torch.cat([linked.keypoints, linked.confidence[..., None]], -1).numpy(), count)
    for frame, small in track.disbelieved:
        keypoints[frame - track.frame[0]] = np.concatenate([small["keypoints"], small["confidence"][:, None]], -1)
    return keypoints


def _at(seen: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Values of the seen frames among zeros."""
    found = np.zeros((count, *values.shape[1:]), values.dtype)
    found[seen] = values
    return found
