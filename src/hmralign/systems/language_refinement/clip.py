"""A clip's people refined by what a model says of them, one description for each stretch of frames.

stored tracks -> a frame of every stretch -> its picture -> what is believed -> frames refined -> offsets made smooth

A description stands for its whole stretch (`refinement.description.frames`). Frames are refined one by one; how each
body is turned and moved against the stored one is then smoothed over time, so that the motion keeps its detail and does
not jump where one description follows another. The shape of a person stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from hmralign.body.lbs import posed_joints
from hmralign.body.model import BodyModel
from hmralign.data.images import LoadedImage
from hmralign.data.video.clip import Clip, Frame
from hmralign.models.language.refiner import Refiner
from hmralign.refinement.description.frames import FRAMES_PER_DESCRIPTION, described_frames
from hmralign.refinement.refine import RefineConfig
from hmralign.structures import MASK_SIZE, BodyParams, Camera, InputError, Observation
from hmralign.structures.counted import counted
from hmralign.systems.language_refinement.describing import ShownPerson
from hmralign.systems.language_refinement.latent_words import LatentWords
from hmralign.systems.language_refinement.refined import RefinedPerson, refine_people, require_refinable
from hmralign.systems.language_refinement.starts import InitialPeople, InitialPerson, known_noise
from hmralign.systems.language_refinement.wishes import Wish
from hmralign.systems.video.people import body_params
from hmralign.systems.video.stored import StoredClip, StoredTrack
from hmralign.tracking.clip_tracks import Frames
from hmralign.tracking.person_track import PersonTrack
from hmralign.tracking.smoothing import SmoothingConfig, smooth_places, smooth_rotations

FRAMES_AT_ONCE = 200
OFFSET_SECONDS = 0.25
"""Time constant with which offsets are smoothed; one description stands for two seconds."""
MOST_SHOWN = 24
"""Described frames that the report shows."""


@dataclass(frozen=True)
class Stretch:
    """Frames `first` to `last` (included) of a track, counted from its first; `described` is the one that is shown."""

    track: int
    described: int
    first: int
    last: int


@dataclass(frozen=True)
class ClipPictures:
    """What a model is shown of each stretch, None where the frame cannot be read; and the frames of the clip."""

    shown: tuple[ShownPerson | None, ...]
    photos: tuple[LoadedImage | None, ...]
    """Frames of the first stretches, for the report."""
    frames: Frames


@dataclass(frozen=True)
class RefinedStretch:
    """A stretch, what was wanted in it, and its described frame before and after, before offsets are smoothed.

    `person` is None where there is nothing to refine the described frame by.
    """

    stretch: Stretch
    wish: Wish
    person: RefinedPerson | None
    photo: LoadedImage | None


@dataclass(frozen=True)
class RefinedClip:
    """A clip's tracks after refinement, in their order; those that nobody asked for are as they were."""

    stored: StoredClip
    tracks: tuple[PersonTrack, ...]
    stretches: tuple[RefinedStretch, ...]
    config: RefineConfig
    notes: tuple[str, ...]


def stretches_of(stored: StoredClip, numbers: Sequence[int], every: int = FRAMES_PER_DESCRIPTION) -> list[Stretch]:
    """The stretches of some tracks: the described frame is the seen one that is nearest to the middle.

    Stretches in which the person was never seen are left out.
    """
    found = []
    for number in numbers:
        track = stored.tracks[number].track
        for part in described_frames(len(track), every):
            seen = np.flatnonzero(~track.interpolated[part.first : part.last + 1]) + part.first
            if len(seen):
                nearest = int(seen[np.abs(seen - part.frame).argmin()])
                found.append(Stretch(number, nearest, part.first, part.last))
    return found


def clip_pictures(clip: Clip, stored: StoredClip, stretches: Sequence[Stretch]) -> ClipPictures:
    """Read the clip once. Raises InputError for another clip than the stored one, and as `Clip.frames`."""
    _require_same_clip(clip, stored)
    wanted: dict[int, list[int]] = {}
    for row, stretch in enumerate(stretches):
        wanted.setdefault(stored.tracks[stretch.track].track.first + stretch.described, []).append(row)
    shown: list[ShownPerson | None] = [None] * len(stretches)
    photos: list[LoadedImage | None] = [None] * len(stretches)
    times, sizes = [], []
    for frame in clip.frames():
        times.append(frame.time)
        sizes.append((1, 1) if frame.rgb is None else (frame.rgb.shape[1], frame.rgb.shape[0]))
        for row in wanted.get(frame.number, ()):
            if frame.rgb is not None:
                shown[row] = _shown(clip, stored, stretches[row], frame)
                photos[row] = _photo(frame) if row < MOST_SHOWN else None
    nothing = np.zeros((len(times), 3, 3)), np.zeros(len(times), bool)
    return ClipPictures(tuple(shown), tuple(photos), Frames(np.array(times), np.array(sizes), *nothing))


def _require_same_clip(clip: Clip, stored: StoredClip) -> None:
    said = stored.record["clip"].get("sha256")
    if said is not None and said != clip.sha256:
        raise InputError(f"'{clip.name}' is not the clip of '{stored.folder}'; expected the one that was recovered")


def _shown(clip: Clip, stored: StoredClip, stretch: Stretch, frame: Frame) -> ShownPerson:
    assert frame.rgb is not None
    track = stored.tracks[stretch.track]
    return ShownPerson.of(
        f"{clip.sha256}#{track.name}#{frame.number}", frame.rgb, _seen(track.track, stretch.described)
    )


def _photo(frame: Frame) -> LoadedImage:
    assert frame.rgb is not None
    return LoadedImage(frame.rgb, frame.name, (frame.rgb.shape[1], frame.rgb.shape[0]))


def _seen(track: PersonTrack, row: int) -> Observation:
    points = torch.from_numpy(track.keypoints[row].astype(np.float32))
    return Observation(
        points[:, :2], points[:, 2], torch.from_numpy(track.box[row].astype(np.float32)),
        torch.from_numpy(track.K[row].astype(np.float32)), torch.tensor(False), torch.zeros(MASK_SIZE, MASK_SIZE),
        torch.tensor(False),
    )  # fmt: skip


def frame_person(stored: StoredClip, number: int, row: int) -> InitialPerson:
    """The person of one frame of a track, as a refinement starts from it."""
    of: StoredTrack = stored.tracks[number]
    width, height = (int(v) for v in of.track.size[row])
    seen = _seen(of.track, row)
    camera = Camera(seen.K, width, height, "estimated")
    initial = body_params(of.track, slice(row, row + 1))[0]
    return InitialPerson(
        f"{of.name} frame {of.track.first + row}", initial, seen, camera, known_noise(stored.detector), stored.detector
    )


def refine_clip(
    stored: StoredClip,
    stretches: Sequence[Stretch],
    wishes: Sequence[Wish],
    pictures: ClipPictures,
    body: BodyModel,
    config: RefineConfig | None = None,
    *,
    refiner: Refiner | None = None,
    latent: LatentWords | None = None,
    seed: int = 0,
    on_frames: Callable[[int], None] = lambda _: None,
) -> RefinedClip:
    """Refine the frames of all stretches, one wish for each stretch; a text of `latent` belongs to each stretch too.

    Frames with nothing to refine them by, neither keypoints nor words, follow their neighbours. Raises InputError where
    that is so of all frames.
    """
    config = config or RefineConfig()
    after: dict[tuple[int, int], RefinedPerson] = {}
    left: list[str] = []
    frames = list(_frames_of(stretches))
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        some = frames[start : start + FRAMES_AT_ONCE]
        there = [(row, frame, frame_person(stored, stretches[row].track, frame)) for row, frame in some]
        ready = [(row, frame, p) for row, frame, p in there if _refinable(p, wishes[row], body, config, left)]
        if ready:
            people = InitialPeople(tuple(p for *_, p in ready), str(stored.folder))
            words = None if latent is None else latent.of([row for row, *_ in ready])
            found = refine_people(
                people, [wishes[row] for row, *_ in ready], body, config, refiner=refiner, latent=words, seed=seed
            )
            keys = ((stretches[row].track, frame) for row, frame, _ in ready)
            after |= {key: person for key, person in zip(keys, found.persons, strict=True)}
        on_frames(len(some))
    if not after:
        raise InputError(f"'{stored.folder}': {left[0] if left else 'nobody is seen in it'}")
    tracks = tuple(
        _moved(of.track, {row: p.body for (n, row), p in after.items() if n == number}, body)
        for number, of in enumerate(stored.tracks)
    )
    refined = tuple(
        RefinedStretch(stretch, wish, after.get((stretch.track, stretch.described)), photo)
        for stretch, wish, photo in zip(stretches, wishes, pictures.photos, strict=True)
    )
    return RefinedClip(stored, tracks, refined, config, _notes(refined, pictures, left))


def _frames_of(stretches: Sequence[Stretch]) -> Iterator[tuple[int, int]]:
    """Number of the stretch, and of the frame in its track."""
    return ((row, frame) for row, part in enumerate(stretches) for frame in range(part.first, part.last + 1))


def _refinable(person: InitialPerson, wish: Wish, body: BodyModel, config: RefineConfig, left: list[str]) -> bool:
    try:
        require_refinable(person, wish, body, config)
    except InputError as error:
        left.append(str(error))
        return False
    return True


@torch.no_grad()
def _moved(track: PersonTrack, bodies: dict[int, BodyParams], body: BodyModel) -> PersonTrack:
    """The track with its bodies turned and moved as the refined ones are, smoothly over time."""
    if not bodies:
        return track
    rotmats, transl = track.rotmats.astype(np.float64), track.transl.astype(np.float64)
    turned, moved = np.tile(np.eye(3), (len(track), 24, 1, 1)), np.zeros((len(track), 3))
    for row, one in bodies.items():
        turned[row] = rotmats[row].swapaxes(-1, -2) @ one.rotmats.double().numpy()
        moved[row] = one.transl.double().numpy() - transl[row]
    # Frames without an offset of their own hardly count, and take that of their neighbours.
    variance = np.full(len(track), 1e4)
    variance[list(bodies)] = 1.0
    # One pass: a step from one description to the next is no outlier.
    once = SmoothingConfig(passes=1)
    turns = smooth_rotations(track.time, turned, np.tile(variance[:, None], (1, 24)), OFFSET_SECONDS, once)
    places = smooth_places(track.time, moved[:, None], variance[:, None], OFFSET_SECONDS, once)
    after = replace(
        track,
        rotmats=(rotmats @ turns.values).astype(np.float32),
        transl=(transl + places.values[:, 0]).astype(np.float32),
    )
    joints = [
        posed_joints(body, body_params(after, slice(start, start + FRAMES_AT_ONCE)))
        for start in range(0, len(after), FRAMES_AT_ONCE)
    ]
    return replace(after, joints=torch.cat(joints).numpy())


def _notes(stretches: Sequence[RefinedStretch], pictures: ClipPictures, left: Sequence[str]) -> tuple[str, ...]:
    unread = sum(shown is None for shown in pictures.shown)
    believed = sum(s.wish.description is not None for s in stretches)
    notes = [f"Of {counted(len(stretches), 'described frame')} something is believed in {believed}."]
    if unread:
        notes.append(f"{counted(unread, 'frame')} that should be described cannot be read.")
    if left:
        notes.append(
            f"{counted(len(left), 'frame')} had nothing to be refined by and follow their neighbours: {left[0]}."
        )
    return (*notes, *(note for s in stretches if s.person is not None for note in s.person.notes))
