"""People from files that other tools wrote: COCO, OpenPose and AlphaPose JSON, or plain boxes.

What a file is follows from its structure:

| structure                                                | read as                                                  |
| -------------------------------------------------------- | -------------------------------------------------------- |
| object with `images` and `annotations`                   | COCO annotations (visibility 0, 1 or 2 per keypoint)     |
| object with `people`                                     | OpenPose, one file per image (or a folder of them)       |
| list of objects whose `image_id` is a number             | COCO results (a confidence per keypoint)                 |
| list of objects whose `image_id` is a file name          | AlphaPose                                                |
| object with `boxes`, or a list of four numbers each      | boxes `[x0, y0, x1, y1]`; `{"boxes": {"a.jpg": [...]}}`  |

COCO files speak of more than people: only annotations of the category named "person" (number 1 where the file names
none) are read. A person who cannot be read is left out, and told of by number; the others are read.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import BaseModel, ConfigDict, ValidationError

from hmralign.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS
from hmralign.detection.detection import Detection
from hmralign.detection.keypoint_conventions import (
    COCO_WHOLEBODY_FEET,
    FLAT_CONVENTIONS,
    OPENPOSE_CONVENTIONS,
    OPENPOSE_HAND_KNUCKLES,
    ConventionName,
    KeypointConvention,
)
from hmralign.detection.mediapipe_landmarks import inside_image
from hmralign.storage.json_file import LONGEST_NUMBER, JsonError, JsonLimits, parse_json
from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

logger = logging.getLogger("hmralign.detection")

FileKind = Literal["coco_annotations", "coco_results", "openpose", "alphapose", "boxes"]

MAX_FILE_BYTES = 512 * 2**20
_LIMITS = JsonLimits(max_bytes=MAX_FILE_BYTES, max_values=100_000_000)
TOO_CONFIDENT = 2.0
"""Peaks of heatmaps and of SimCC heads exceed 1 (1.3 is common); they are cut to 1. From this on it is another
convention: a flag of visibility, a per cent, a byte."""
LARGEST_PIXEL = 1e6
"""No photo is that large; numbers beyond it are no coordinates, and some would not survive single precision."""

OCCLUDED_CONFIDENCE = 0.5
"""Confidence of a COCO keypoint that was labelled but not seen (v = 1)."""


Numbers = list[float | None]
"""x, y, confidence, x, y, confidence, ...; null where a joint was not observed."""


class _Loose(BaseModel):
    """Fields we read must have the right type; others are left alone."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=True)


class CocoPerson(_Loose):
    """An entry of COCO's `annotations`, of a COCO results list, or of AlphaPose's list."""

    keypoints: Numbers | None = None
    foot_kpts: Numbers | None = None
    lefthand_kpts: Numbers | None = None
    righthand_kpts: Numbers | None = None
    bbox: list[float] | None = None
    box: list[float] | None = None
    score: float | None = None
    iscrowd: int | bool | None = None


class OpenPosePerson(_Loose):
    """An entry of OpenPose's `people`."""

    pose_keypoints_2d: Numbers
    hand_left_keypoints_2d: Numbers = []
    hand_right_keypoints_2d: Numbers = []


def read_people(
    path: Path | str,
    image_name: str,
    image_size: tuple[int, int],
    *,
    kind: FileKind | None = None,
    convention: ConventionName | None = None,
) -> list[Detection]:
    """The people that a file gives for one image.

    Args:
        path: JSON file; for OpenPose also a folder of `<image>_keypoints.json`.
        image_name: File name of the image, with which people are looked up.
        image_size: (height, width) in pixels.
        kind: What the file is; None recognises it by its structure.
        convention: Keypoint layout; None recognises it by the number of points.

    Returns:
        People in the file's order. Keypoints that are missing or outside the image have confidence 0. A person given
        only by a box has no keypoints (`Detection.has_keypoints`). One warning tells of the people who are wrong and
        left out, and of what is no person.

    Raises:
        InputError: the file is wrong, or every person in it is; names the file, the person (counted from 0) and the
            joint.
    """
    path = Path(path)
    file = path / f"{Path(image_name).stem}_keypoints.json" if path.is_dir() else path
    people = people_in(load_json(file), file, image_name, image_size, kind=kind, convention=convention)
    if not people:
        raise InputError(f"'{file}' gives no person for the image '{image_name}'")
    return people


def people_in(
    content: Any,
    file: Path,
    image_name: str,
    image_size: tuple[int, int],
    *,
    kind: FileKind | None = None,
    convention: ConventionName | None = None,
    tell: Callable[[str], None] = logger.warning,
) -> list[Detection]:
    """The people that the parsed content of `file` gives for one image, maybe none; otherwise as `read_people`.

    `tell` is given the sentence about who is left out.
    """
    source = _Source(file, image_name, image_size, convention)
    people = _READERS[kind or recognise(content, file)](content, source)
    if source.left_out:
        tell(f"{image_name}: left out of '{file}': {'; '.join(source.left_out)}")
    return people


def recognise(content: Any, file: Path) -> FileKind:
    """What a parsed file is, by its structure."""
    if isinstance(content, dict):
        if "annotations" in content and "images" in content:
            return "coco_annotations"
        if "people" in content:
            return "openpose"
        if "boxes" in content:
            return "boxes"
    if isinstance(content, list) and content:
        first = content[0]
        if isinstance(first, dict) and "image_id" in first:
            return "alphapose" if isinstance(first["image_id"], str) else "coco_results"
        if isinstance(first, list):
            return "boxes"
    if isinstance(content, list) and not content:
        raise InputError(f"'{file}' is an empty list: expected at least one person")
    raise InputError(
        f"'{file}' is none of the known keypoint files: expected COCO annotations or results, OpenPose, AlphaPose, or "
        '{"boxes": [[x0, y0, x1, y1], ...]}'
    )


class _BadPerson(InputError):
    """One person is wrong; the file may be right about others."""


class _Source:
    """Where people come from and what they are checked against; makes the opening of every error.

    It counts the confidence of all joints and of those inside the image, and keeps who is left out.
    """

    def __init__(self, file: Path, image_name: str, image_size: tuple[int, int], convention: ConventionName | None):
        self.file, self.image_name, self.image_size, self.convention = file, image_name, image_size, convention
        self.confidence = self.confidence_inside = 0.0
        self.left_out: list[str] = []

    def error(self, text: str, person: int | None = None) -> InputError:
        """An error that names the file and the person."""
        if person is None:
            return InputError(f"'{self.file}': {text}")
        return _BadPerson(f"'{self.file}', person {person}: {text}")

    def each(self, entries: Sequence[Any], read: Callable[[Any, int], Detection | None]) -> list[Detection]:
        """Whom `read` makes of the entries, by number; None for an entry that is passed over.

        Who is wrong is left out. Raises InputError where everybody is, and for keypoints of an image of another size.
        """
        people, wrong = [], []
        for number, entry in enumerate(entries):
            try:
                people.append(read(entry, number))
            except _BadPerson as error:
                wrong.append(error)
        people = [person for person in people if person is not None]
        self._require_this_size()
        if wrong and not people:
            raise InputError(str(wrong[0]))
        self.left_out += [str(error).removeprefix(f"'{self.file}', ") for error in wrong]
        return people

    def _require_this_size(self) -> None:
        if self.confidence_inside < 0.5 * self.confidence:
            height, width = self.image_size
            raise self.error(
                f"most keypoints lie outside the image of {width} x {height} pixels: was the file made for another "
                "size?"
            )


def load_json(file: Path) -> Any:
    """The parsed content of a keypoint file, remembered for the next call. Raises InputError for what is none."""
    try:
        status = file.stat()
    except OSError as error:
        raise InputError(f"'{file}' cannot be read: {error.strerror or error}") from error
    if not file.is_file():
        raise InputError(f"'{file}' is not a file: expected a JSON file with keypoints or boxes")
    if status.st_size > MAX_FILE_BYTES:
        raise InputError(f"'{file}' has {status.st_size / 2**20:.0f} MB: expected at most {MAX_FILE_BYTES // 2**20} MB")
    return _parse(os.fspath(file), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _parse(file: str, modified: int, size: int) -> Any:
    """Parse and remember the last file: one COCO file serves many images."""
    try:
        return parse_json(read_limited(Path(file), MAX_FILE_BYTES), _LIMITS, nan=True)
    except JsonError as error:
        raise InputError(f"'{file}' is not JSON: {error}") from error
    except OSError as error:
        raise InputError(f"'{file}' cannot be read: {error.strerror or error}") from error


class _Content:
    """The parsed content of a file, as the key of what is looked up in it: a file is gone through once for all of its
    images. It is the same where it is the same object, which nobody changes."""

    def __init__(self, value: Any, source: _Source) -> None:
        self.value, self.source = value, source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def _by_id(entries: Iterable[Any]) -> dict[tuple[type, Any], list[dict]]:
    """Entries by `image_id` with its type: `true` is not 1."""
    found: dict[tuple[type, Any], list[dict]] = defaultdict(list)
    for entry in entries:
        if isinstance(entry, dict) and type(id_ := entry.get("image_id")) in (int, str):
            found[type(id_), id_].append(entry)
    return found


def _by_name(named: Iterable[tuple[Any, Any]]) -> dict[str, list[Any]]:
    """Values by the last part of their name, read as a path of this system and of Windows."""
    found: dict[str, list[Any]] = defaultdict(list)
    for name, value in named:
        for last in {Path(name).name, file_name_of(name)} if isinstance(name, str) else ():
            found[last].append(value)
    return found


class _CocoIndex(NamedTuple):
    """What a file of COCO annotations says, by image."""

    ids: dict[str, list[Any]]
    """Ids of images by file name."""
    annotations: dict[tuple[type, Any], list[dict]]
    categories: dict[Any, str]


@lru_cache(maxsize=1)
def _coco_index(content: _Content) -> _CocoIndex:
    """Raises InputError for what is no file of annotations."""
    value, source = content.value, content.source
    if not isinstance(value, dict) or not all(isinstance(value.get(k), list) for k in ("images", "annotations")):
        raise source.error("expected an object with the lists 'images' and 'annotations'")
    images = [i for i in value["images"] if isinstance(i, dict)]
    _require_own_ids(images, source)
    ids = _by_name((i.get("file_name"), i.get("id")) for i in images)
    return _CocoIndex(ids, _by_id(value["annotations"]), _category_names(value, source))


def _read_coco_annotations(content: Any, source: _Source) -> list[Detection]:
    index = _coco_index(_Content(content, source))
    ids = index.ids.get(Path(source.image_name).name, [])
    if len(ids) != 1:
        raise source.error(
            f"{'no' if not ids else 'more than one'} entry of 'images' has the file name '{source.image_name}'"
        )
    chosen = index.annotations.get((type(ids[0]), ids[0]), [])
    people = _those_of_persons(chosen, index.categories, source)
    return source.each(people, lambda a, i: _coco_person(a, source, i, flags=True))


def _category_names(content: dict, source: _Source) -> dict[Any, str]:
    """Names of a COCO file's categories by number; empty where it names none. Raises InputError without a person."""
    given = content.get("categories")
    named = [c for c in given if isinstance(c, dict)] if isinstance(given, list) else []
    names = {c.get("id"): c["name"] for c in named if type(c.get("id")) is int and isinstance(c.get("name"), str)}
    if names and not any(_is_person(name) for name in names.values()):
        said = ", ".join(shown(name) for name in list(names.values())[:5])
        raise source.error(f"its categories are {said}: expected one named 'person'")
    return names


def _is_person(category: str) -> bool:
    return category.strip().casefold() == "person"


def _those_of_persons(entries: list[dict], names: dict[Any, str], source: _Source) -> list[dict]:
    """The entries of the category of persons, or of none; the others are counted by category as left out."""
    people, others = [], Counter()
    for entry in entries:
        category = entry.get("category_id")
        known = type(category) is int
        name = names.get(category, f"category {shown(category)}") if known else "category of no number"
        if category is None or (known and (_is_person(name) or (not names and category == 1))):
            people.append(entry)
        else:
            others[name] += 1
    if others:
        said = ", ".join(f"{shown(name)} ({count})" for name, count in others.items())
        if not people:
            raise source.error(f"everything of '{source.image_name}' is of another category than person: {said}")
        source.left_out.append(f"what is no person: {said}")
    return people


def _require_own_ids(images: list[dict], source: _Source) -> None:
    """Raise InputError for an image whose id is no number or text, and for two images of one id."""
    names: dict[Any, Any] = {}
    for image in images:
        id_, name = image.get("id"), image.get("file_name")
        if type(id_) not in (int, str):
            raise source.error(f"the image '{shown(name)}' has the id {shown(repr(id_))}: expected a number")
        if id_ in names and name != names[id_]:
            raise source.error(f"the images '{shown(names[id_])}' and '{shown(name)}' have one id, {shown(id_)}")
        names[id_] = name


def _number_of(image_name: str) -> int | None:
    """The number that an image is named by; None for a name without one.

    >>> _number_of("val_000042.jpg"), _number_of("²"), _number_of("٣.jpg")
    (42, None, None)
    """
    digits = Path(image_name).stem.split("_")[-1]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= LONGEST_NUMBER else None


def _read_coco_results(content: Any, source: _Source) -> list[Detection]:
    chosen = _entries_by_id(_Content(content, source)).get((int, _number_of(source.image_name)), [])
    if not chosen:
        raise source.error(
            f"no entry has the image_id of '{source.image_name}': expected an image named by its number, as in COCO"
        )
    people = _those_of_persons(chosen, {}, source)
    return source.each(people, lambda e, i: _coco_person(e, source, i, flags=False))


def _read_alphapose(content: Any, source: _Source) -> list[Detection]:
    chosen = _entries_by_name(_Content(content, source)).get(Path(source.image_name).name, [])
    if not chosen:
        raise source.error(f"no entry has the image_id '{source.image_name}'")
    people = _those_of_persons(chosen, {}, source)
    return source.each(people, lambda e, i: _coco_person(e, source, i, flags=False))


def _read_openpose(content: Any, source: _Source) -> list[Detection]:
    if not isinstance(content, dict) or not isinstance(content.get("people"), list):
        raise source.error("expected an object with the list 'people'")
    return source.each(content["people"], lambda p, i: _openpose_person(p, source, i))


def _read_boxes(content: Any, source: _Source) -> list[Detection]:
    boxes = content.get("boxes") if isinstance(content, dict) else content
    if isinstance(boxes, dict):
        matching = _boxes_by_name(_Content(boxes, source)).get(Path(source.image_name).name, [])
        if len(matching) != 1:
            raise source.error(f"{'no' if not matching else 'more than one'} entry of 'boxes' is '{source.image_name}'")
        boxes = matching[0]
    if not isinstance(boxes, list):
        raise source.error("expected a list of boxes [x0, y0, x1, y1]")
    return [_box_person(_checked_box(box, source, i), 1.0) for i, box in enumerate(boxes)]


_READERS = {
    "coco_annotations": _read_coco_annotations,
    "coco_results": _read_coco_results,
    "openpose": _read_openpose,
    "alphapose": _read_alphapose,
    "boxes": _read_boxes,
}


@lru_cache(maxsize=1)
def _entries_by_id(content: _Content) -> dict[tuple[type, Any], list[dict]]:
    return _by_id(_entries(content))


@lru_cache(maxsize=1)
def _entries_by_name(content: _Content) -> dict[str, list[dict]]:
    return _by_name((e.get("image_id"), e) for e in _entries(content))


@lru_cache(maxsize=1)
def _boxes_by_name(content: _Content) -> dict[str, list[Any]]:
    return _by_name(content.value.items())


def _entries(content: _Content) -> list[dict]:
    if not isinstance(content.value, list) or not all(isinstance(e, dict) for e in content.value):
        raise content.source.error("expected a list of objects, one per person")
    return content.value


def file_name_of(path: str) -> str:
    """The last part of a path of whatever system.

    >>> file_name_of("C:\\\\photos\\\\a.jpg"), file_name_of("photos/a.jpg")
    ('a.jpg', 'a.jpg')
    """
    return PureWindowsPath(path).name


def _validated(model: type[BaseModel], raw: Any, source: _Source, person: int) -> Any:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(p) for p in first["loc"]) or "entry"
        raise source.error(f"'{field}': {first['msg'].lower()}", person) from error


def _coco_person(entry: dict, source: _Source, index: int, *, flags: bool) -> Detection | None:
    """The person of an entry, None for a crowd."""
    person: CocoPerson = _validated(CocoPerson, entry, source, index)
    if flags and person.iscrowd:
        source.left_out.append(f"person {index}: is a crowd")
        return None
    box = None
    given = person.bbox or person.box
    if given and not _is_empty(given):
        box = _checked_box(_corners(given), source, index)
    if not person.keypoints or (flags and not any(person.keypoints[2::3])):
        if box is None:
            raise source.error("has neither keypoints nor a box", index)
        return _box_person(box, person.score if person.score is not None else 1.0)
    flat = list(person.keypoints)
    if person.foot_kpts:
        flat += person.foot_kpts
    layout = _layout(flat, FLAT_CONVENTIONS, source, index)
    if person.foot_kpts and layout is not COCO_WHOLEBODY_FEET:
        raise source.error(f"'foot_kpts' beside {counted(len(person.keypoints) // 3, 'keypoint')}: expected 17", index)
    rows = _rows(flat, layout.place, source, index, flags)
    for side, hand in (("left", person.lefthand_kpts), ("right", person.righthand_kpts)):
        rows.update(_hand_rows(hand or [], side, source, index, flags))
    return _keypoint_person(rows, box, person.score, source, index)


def _is_empty(box: list[float]) -> bool:
    """Whether a box, x, y, width, height, is COCO's word for none."""
    return len(box) == 4 and (box[2] == 0 or box[3] == 0)


def _openpose_person(entry: Any, source: _Source, index: int) -> Detection:
    person: OpenPosePerson = _validated(OpenPosePerson, entry, source, index)
    layout = _layout(person.pose_keypoints_2d, OPENPOSE_CONVENTIONS, source, index)
    rows = _rows(person.pose_keypoints_2d, layout.place, source, index, False)
    for side, hand in (("left", person.hand_left_keypoints_2d), ("right", person.hand_right_keypoints_2d)):
        rows.update(_hand_rows(hand, side, source, index, False))
    return _keypoint_person(rows, None, None, source, index)


def _layout(flat: Numbers, known: tuple[KeypointConvention, ...], source: _Source, person: int) -> KeypointConvention:
    """The convention of a flat list x, y, c, x, y, c, ..."""
    expected = [c for c in known if source.convention in (None, c.name)]
    layout = next((c for c in expected if 3 * c.count == len(flat)), None)
    if layout is not None:
        return layout
    if not expected:
        raise source.error(f"convention '{source.convention}' does not occur in this kind of file", person)
    counts = ", ".join(f"{c.count} ({c.name})" for c in expected)
    raise source.error(
        f"has {counted(len(flat), 'keypoint number')}: expected three (x, y, confidence) for each of {counts} points",
        person,
    )


def _hand_rows(hand: Numbers, side: str, source: _Source, person: int, flags: bool) -> dict[str, tuple]:
    if not hand:
        return {}
    if len(hand) != 63:
        raise source.error(
            f"{side} hand has {counted(len(hand), 'number')}: expected three for each of 21 points", person
        )
    place = {f"{side}_{finger}_knuckle": at for finger, at in OPENPOSE_HAND_KNUCKLES.items()}
    return _rows(hand, place, source, person, flags)


def _rows(
    flat: Numbers, place: dict[str, int], source: _Source, person: int, flags: bool
) -> dict[str, tuple[float, float, float]]:
    """x, y, confidence per keypoint name, each checked."""
    rows = {}
    for name, at in place.items():
        x, y, c = flat[3 * at : 3 * at + 3]
        if c is None or c == 0:  # not observed: where it is, is not said
            rows[name] = (0.0, 0.0, 0.0)
            continue
        if x is None or y is None or not np.isfinite([x, y, c]).all():
            raise source.error(f"joint '{name}' is ({x}, {y}, {c}): expected finite numbers", person)
        if max(abs(x), abs(y)) > LARGEST_PIXEL:
            raise source.error(f"joint '{name}' is at ({x:g}, {y:g}): expected pixels of a photo", person)
        # COCO-WholeBody's feet and hands carry a confidence of 0 or above 0 instead of a visibility.
        if flags and name in KEYPOINT_NAMES[:17]:
            if c not in (0, 1, 2):
                raise source.error(f"joint '{name}' has visibility {c:g}: expected 0, 1 or 2", person)
            c = (0.0, OCCLUDED_CONFIDENCE, 1.0)[int(c)]
        elif flags and c == 2:
            c = 1.0
        if not 0 <= c < TOO_CONFIDENT:
            raise source.error(f"joint '{name}' has confidence {c:g}: expected 0 to 1, or little more", person)
        rows[name] = (float(x), float(y), min(float(c), 1.0))
    return rows


def _keypoint_person(
    rows: dict[str, tuple[float, float, float]],
    box: Float64[np.ndarray, " 4"] | None,
    score: float | None,
    source: _Source,
    index: int,
) -> Detection:
    keypoints = np.zeros((NUM_KEYPOINTS, 2), np.float32)
    confidence = np.zeros(NUM_KEYPOINTS, np.float32)
    for name, (x, y, c) in rows.items():
        at = KEYPOINT_NAMES.index(name)
        keypoints[at], confidence[at] = (x, y), c
    _check_places(keypoints, confidence, source, index)
    source.confidence += float(confidence.sum())
    confidence[~inside_image(keypoints, source.image_size)] = 0.0
    source.confidence_inside += float(confidence.sum())
    seen = confidence > 0
    if box is None:
        if seen.sum() < 3:
            raise source.error(f"has {int(seen.sum())} keypoints in the image and no box: expected at least 3", index)
        box = _box_of_keypoints(keypoints[seen], source.image_size)
    if score is None:
        score = float(confidence[seen].mean()) if seen.any() else 0.0
    elif not np.isfinite(score) or score < 0:
        raise source.error(f"score is {score}: expected a number of at least 0", index)
    return Detection(keypoints, confidence, box.astype(np.float32), min(score, 1.0), detector="file")


def _check_places(
    keypoints: Float32[np.ndarray, "kp 2"], confidence: Float32[np.ndarray, " kp"], source: _Source, person: int
) -> None:
    """Refuse coordinates that cannot be pixels."""
    seen = keypoints[confidence > 0]
    if len(seen) and np.abs(seen).max() <= 1.5 and min(source.image_size) > 16:
        raise source.error("all coordinates lie between -1.5 and 1.5: expected pixels, not normalised values", person)


def _corners(box: list[float]) -> list[float]:
    """COCO's (x, y, width, height), where (0, 0) is the corner of the image, as corners in our pixels."""
    return [box[0] - 0.5, box[1] - 0.5, box[0] + box[2] - 0.5, box[1] + box[3] - 0.5] if len(box) == 4 else box


def _checked_box(box: Any, source: _Source, person: int) -> Float64[np.ndarray, " 4"]:
    if not isinstance(box, list) or len(box) != 4 or not all(type(v) in (int, float) for v in box):
        raise source.error(f"box is {shown(box)}: expected four numbers", person)
    array = np.array(box, np.float64)
    height, width = source.image_size
    if not (np.abs(array) <= LARGEST_PIXEL).all() or array[2] - array[0] < 2 or array[3] - array[1] < 2:
        raise source.error(f"box is {shown(box)}: expected finite corners with x0 + 2 <= x1 and y0 + 2 <= y1", person)
    if array[0] >= width or array[1] >= height or array[2] <= 0 or array[3] <= 0:
        raise source.error(f"box {box} lies outside the image of {width} x {height} pixels", person)
    return array


def _box_of_keypoints(points: Float32[np.ndarray, "n 2"], image_size: tuple[int, int]) -> Float64[np.ndarray, " 4"]:
    """Box around joints, grown by what lies beyond them (top of the head, feet, width of limbs), cut to the image."""
    height, width = image_size
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    margin = 0.08 * max(float((high - low).max()), 8.0)
    low, high = low - margin, high + margin
    return np.concatenate([np.maximum(low, -0.5), np.minimum(high, [width - 0.5, height - 0.5])])


def _box_person(box: Float64[np.ndarray, " 4"], score: float) -> Detection:
    return Detection.of_box(box, min(max(float(score), 0.0), 1.0), "file")
