"""Photo-like pictures of dressed persons on the free body, for `detector_noise.py`.

Clothes, hair and face are painted per pixel by the place on the rest body that the pixel shows, so seams stay sharp;
garments also stand off the skin. Directional light with a cast shadow, a background, occluders in front, then blur,
sensor noise and JPEG.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from hmralign.body.lbs import vertices as posed_vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, PARENTS
from hmralign.geometry.cameras import scaled_intrinsics
from hmralign.rendering.shading import interpolate_vertex_colors
from hmralign.rendering.zbuffer import render, vertex_normals
from hmralign.structures import BodyParams

SKIN, SHIRT, TROUSERS, SHOES, HAIR = range(5)
_TORSO = [JOINT_NAMES.index(n) for n in ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")]
_ARMS = [j for j, n in enumerate(JOINT_NAMES[:24]) if any(p in n for p in ("shoulder", "elbow", "wrist"))]
_LEGS = [j for j, n in enumerate(JOINT_NAMES[:24]) if any(p in n for p in ("hip", "knee", "ankle", "foot"))]
_HEAD, _NECK = JOINT_NAMES.index("head"), JOINT_NAMES.index("neck")
_SKIN_TONES = np.array(
    [[0.95, 0.80, 0.70], [0.87, 0.67, 0.53], [0.74, 0.52, 0.37], [0.52, 0.35, 0.25], [0.34, 0.22, 0.16]]
)
_HAIR_TONES = np.array(
    [[0.08, 0.06, 0.05], [0.22, 0.13, 0.08], [0.45, 0.30, 0.17], [0.75, 0.60, 0.35], [0.6, 0.6, 0.6]]
)


@dataclass(frozen=True)
class Scene:
    """A picture and what is true in it.

    `owner` is the joint whose skin each pixel shows (-1: background, -2: occluder), `depth` metres of the body's
    surface (infinite beside it).
    """

    image: np.ndarray  # (H, W, 3) uint8
    owner: np.ndarray  # (H, W)
    depth: np.ndarray  # (H, W)
    occluder: str


@dataclass(frozen=True)
class Outfit:
    """Lengths in metres on the rest body, colours RGB in [0, 1], `puff` the stand-off of each garment in metres."""

    waist: float
    shirt_end: float
    sleeve: float
    collar: float
    hem: float
    shoe_top: float
    hairline: float
    nape: float
    beard: bool
    colors: np.ndarray  # (5, 3)
    puff: np.ndarray  # (5,)
    pattern: tuple[int, float, np.ndarray]


def draw_outfit(rng: np.random.Generator) -> Outfit:
    """Random clothes."""
    skin = _between(_SKIN_TONES, rng)
    hair = _between(_HAIR_TONES, rng) if rng.random() < 0.85 else rng.random(3)
    colors = np.stack([skin, _cloth(rng), _cloth(rng), _cloth(rng) * rng.uniform(0.3, 1.0), hair])
    waist = rng.uniform(0.02, 0.12)
    return Outfit(
        waist=waist,
        shirt_end=9.0 if rng.random() < 0.08 else waist - (rng.uniform(0.0, 0.18) if rng.random() < 0.6 else 0.0),
        sleeve=_one_of(((0.14, 0.2), (0.22, 0.4), (0.6, 0.68)), (0.15, 0.45, 0.4), rng),
        collar=rng.uniform(0.48, 0.56),
        hem=_one_of(((-0.36, -0.15), (-0.7, -0.36), (-0.86, -0.78)), (0.25, 0.15, 0.6), rng),
        shoe_top=-9.0 if rng.random() < 0.12 else rng.uniform(-0.86, -0.72),
        hairline=9.0 if rng.random() < 0.08 else rng.uniform(0.715, 0.745),
        nape=_one_of(((0.6, 0.66), (0.45, 0.58)), (0.65, 0.35), rng),
        beard=bool(rng.random() < 0.15),
        colors=colors,
        puff=np.array([0.0, rng.uniform(0.002, 0.022), rng.uniform(0.002, 0.022), 0.006, rng.uniform(0.004, 0.025)]),
        pattern=(int(rng.integers(0, 6)), rng.uniform(0.02, 0.08), _cloth(rng)),
    )  # fmt: skip


def _one_of(ranges: Sequence[tuple[float, float]], shares: Sequence[float], rng: np.random.Generator) -> float:
    """Uniform in one of several ranges."""
    return rng.choice([rng.uniform(low, high) for low, high in ranges], p=shares)


def _between(tones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    at = rng.uniform(0, len(tones) - 1)
    low = int(at)
    return tones[low] + (at - low) * (tones[low + 1] - tones[low]) + rng.normal(0, 0.02, 3)


def _cloth(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.4:
        return np.full(3, rng.uniform(0.04, 0.95)) + rng.normal(0, 0.03, 3)
    return np.clip(rng.uniform(0.05, 0.95) + rng.normal(0, 0.25, 3), 0.02, 0.98)


def garment_of(rest: np.ndarray, joint: np.ndarray, outfit: Outfit) -> np.ndarray:
    """Which garment covers points (..., 3) of the rest body that move with `joint` (...)."""
    x, y, z = rest[..., 0], rest[..., 1], rest[..., 2]
    kind = np.full(joint.shape, SKIN)
    leg = np.isin(joint, _LEGS)
    kind[(leg | np.isin(joint, _TORSO)) & (y < outfit.waist) & (y > outfit.hem)] = TROUSERS
    torso = np.isin(joint, _TORSO) | (joint == _NECK)
    covered = (torso & (y < outfit.collar)) | (np.isin(joint, _ARMS) & (np.abs(x) < outfit.sleeve)) | leg
    if outfit.shirt_end < 5:
        kind[covered & (y > outfit.shirt_end)] = SHIRT
    kind[leg & (y < outfit.shoe_top)] = SHOES
    if outfit.hairline < 5:
        back = (z < 0.05 + 0.4 * np.maximum(y - 0.70, 0)) & (y > outfit.nape)
        kind[((joint == _HEAD) | (joint == _NECK)) & ((y > outfit.hairline) | back) & (z < 0.12)] = HAIR
    return kind


def paint(rest: np.ndarray, joint: np.ndarray, outfit: Outfit, rng: np.random.Generator) -> np.ndarray:
    """Base colours (n, 3) of points (n, 3) of the rest body."""
    kind = garment_of(rest, joint, outfit)
    color = outfit.colors[kind]
    style, size, second = outfit.pattern
    x, y = rest[:, 0], rest[:, 1]
    waves = np.stack([np.sin(2 * np.pi * y / size), np.sin(2 * np.pi * x / size)])
    printed = {0: waves[0] > 0, 1: waves[1] > 0.6, 2: waves.prod(0) > 0, 3: np.hypot(x, y - 0.35) < size + 0.03}.get(
        style
    )
    if printed is not None:
        color[(kind == SHIRT) & printed] = second
    if style == 0 and size > 0.06:
        side = (kind == TROUSERS) & (np.abs(rest[:, 2]) < 0.02) & (np.abs(x) > 0.12)
        color[side] = second
    color[(kind == SHOES) & (y < -0.885)] = np.full(3, rng.uniform(0.05, 0.95))
    _paint_face(rest, joint, kind, color, outfit)
    worn = kind != SKIN
    color[worn] *= 1 + 0.12 * np.sin(rest[worn] @ rng.normal(0, 60, 3) + rng.uniform(0, 6))[:, None]
    return np.clip(color, 0, 1)


def _paint_face(rest: np.ndarray, joint: np.ndarray, kind: np.ndarray, color: np.ndarray, outfit: Outfit) -> None:
    """Eyes, brows, lips, nostrils and perhaps a beard, in place."""
    front = (joint == _HEAD) & (rest[:, 2] > 0.08) & (kind == SKIN)
    x, y = np.abs(rest[:, 0]), rest[:, 1]
    skin, hair = outfit.colors[SKIN], outfit.colors[HAIR]
    if outfit.beard:
        color[(joint == _HEAD) & (rest[:, 2] > 0.03) & (y < 0.625) & (kind == SKIN)] = 0.7 * hair + 0.3 * skin
    color[front & (x < 0.012) & (x > 0.003) & (np.abs(y - 0.638) < 0.003)] = 0.4 * skin
    color[front & (((x / 0.024) ** 2 + ((y - 0.607) / 0.007) ** 2) < 1)] = skin * np.array([0.85, 0.55, 0.55])
    color[front & (((x - 0.03) / 0.015) ** 2 + ((y - 0.681) / 0.0065) ** 2 < 1)] = 0.9
    color[front & (((x - 0.03) / 0.0065) ** 2 + ((y - 0.681) / 0.0065) ** 2 < 1)] = 0.12
    color[front & (np.abs(x - 0.031) < 0.017) & (np.abs(y - 0.702 + 0.15 * np.abs(x - 0.03)) < 0.0035)] = 0.6 * hair


class Backgrounds:
    """Crops of photos without the people boxed in `people_file`, or gradients with noise where there are no photos.

    A photo that the file does not list is left out: nobody says where its people are, and a second person in a picture
    is read instead of the rendered one.
    """

    def __init__(self, folder: Path | None, people_file: Path | None):
        boxes = json.loads(people_file.read_text())["photos"] if people_file and people_file.is_file() else {}
        self._photos: list[tuple[np.ndarray, np.ndarray]] = []
        for path in sorted(folder.glob("*.jpg")) if folder else []:
            if path.name not in boxes:
                continue
            known = boxes[path.name]
            people = [p["box"] for p in known["people"]] + [
                i["box"] if isinstance(i, dict) else i for i in known["ignore"]
            ]
            picture = np.asarray(Image.open(path).convert("RGB"))
            self._photos.append((picture, np.array(people, float).reshape(-1, 4)))
        if folder and not self._photos:
            raise SystemExit(f"{folder} holds no photo that {people_file} lists")

    def draw(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """A background (height, width, 3) in [0, 1]."""
        for _ in range(60 if self._photos else 0):
            crop = self._free_crop(height / width, rng)
            if crop is not None:
                crop = crop[:, ::-1] if rng.random() < 0.5 else crop
                picture = Image.fromarray(np.ascontiguousarray(crop)).resize((width, height), Image.Resampling.BICUBIC)
                blur = rng.choice([0.0, rng.uniform(0.3, 2.0)])
                return gaussian_filter(np.asarray(picture, np.float32) / 255, (blur, blur, 0))
        return _gradient(height, width, rng)

    def _free_crop(self, aspect: float, rng: np.random.Generator) -> np.ndarray | None:
        picture, people = self._photos[rng.integers(len(self._photos))]
        high, wide = picture.shape[:2]
        h = rng.uniform(0.2, 1.0) * min(high, wide * aspect)
        w = h / aspect
        x0, y0 = rng.uniform(0, wide - w + 1e-6), rng.uniform(0, high - h + 1e-6)
        if h < 90 or w < 90:
            return None
        low = np.maximum(people[:, :2], [x0, y0])
        size = np.clip(np.minimum(people[:, 2:], [x0 + w, y0 + h]) - low, 0, None)
        if size.prod(1).sum() > 0.005 * w * h:
            return None
        return picture[int(y0) : int(y0 + h), int(x0) : int(x0 + w)]


def _gradient(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[None, :, None]
    picture = rng.random(3) + 0.3 * (y * rng.normal(0, 1, 3) + x * rng.normal(0, 1, 3))
    for cells in (3, 9, 27):
        noise = np.asarray(zoom(rng.normal(0, 1, (cells, cells)), (height / cells, width / cells), order=1))
        picture = picture + 0.3 / cells**0.5 * rng.random() * noise[:height, :width, None]
    return np.clip(picture, 0, 1).astype(np.float32)


def make_scene(
    model: BodyModel,
    body: BodyParams,
    up: torch.Tensor,
    K: torch.Tensor,
    size: tuple[int, int],
    limbs: Sequence[np.ndarray],
    backgrounds: Backgrounds,
    rng: np.random.Generator,
) -> Scene:
    """Picture of one body. `up` is the world's up in `cam`; `limbs` are pixel polylines an occluder may cover."""
    outfit = draw_outfit(rng)
    joint = model.weights.argmax(1).numpy()
    worn = torch.tensor(outfit.puff[garment_of(model.v_template.numpy(), joint, outfit)], dtype=torch.float32)
    bare = posed_vertices(model, body)[None]
    dressed = bare + worn[:, None] * vertex_normals(bare, model.faces)
    fine = (size[0] * 2, size[1] * 2)
    out = render(
        dressed, model.faces, scaled_intrinsics(K, (2.0, 2.0)), fine, ("depth", "normals", "face_index", "barycentric")
    )
    assert (
        out.face_index is not None and out.barycentric is not None and out.normals is not None and out.depth is not None
    )
    seen = (out.face_index[0] >= 0).numpy()
    corner = model.faces[out.face_index[0].clamp(min=0).long(), out.barycentric[0].argmax(-1)]
    owner = np.where(seen, joint[corner.numpy()], -1)
    rest = interpolate_vertex_colors(model.v_template[None], model.faces, out.face_index, out.barycentric)[0].numpy()
    base = np.zeros((*fine, 3), np.float32)
    base[seen] = paint(rest[seen], owner[seen], outfit, rng)
    light = _light(up.numpy(), rng)
    layer = (
        np.concatenate([_shade(base, out.normals[0].numpy(), light, up.numpy(), rng), seen[..., None]], -1)
        * seen[..., None]
    )
    layer = layer.reshape(size[0], 2, size[1], 2, 4).mean((1, 3))
    ground = backgrounds.draw(*size, rng)
    ground = ground * (1 - _cast_shadow(dressed, model, K, size, up, torch.tensor(light), rng)[..., None])
    picture = ground * (1 - layer[..., 3:]) + layer[..., :3]
    owner, depth = owner[::2, ::2].copy(), out.depth[0, ::2, ::2].numpy()
    kind, cover = _occluder(size, limbs, rng)
    if kind != "none":
        texture = backgrounds.draw(*size, rng) * rng.uniform(0.4, 1.1)
        texture = texture * 0.5 + 0.5 * rng.random(3) if rng.random() < 0.5 else texture
        soft = gaussian_filter(cover.astype(np.float32), 0.6)[..., None]
        picture = picture * (1 - soft) + texture * soft
        owner[cover] = -2
    return Scene(_camera_effects(picture, rng), owner, depth, kind)


def _light(up: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Direction towards the light, unit: from above, and rather from behind the camera than from the front."""
    direction = rng.normal(0, 1, 3) + up * rng.uniform(0.5, 2.0) + np.array([0, 0, -0.7])
    return (direction / np.linalg.norm(direction)).astype(np.float32)


def _shade(
    base: np.ndarray, normals: np.ndarray, light: np.ndarray, up: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    ambient, direct, sky = rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.8), rng.uniform(0.05, 0.25)
    tint = 1 + rng.normal(0, 0.05, 3)
    amount = ambient + sky * (0.5 + 0.5 * normals @ up)
    return np.clip(base * (amount[..., None] + direct * np.clip(normals @ light, 0, None)[..., None] * tint), 0, 1)


def _cast_shadow(dressed, model: BodyModel, K, size, up, light, rng: np.random.Generator) -> np.ndarray:
    """Darkness (H, W) of the shadow on the floor under the body."""
    heights = dressed[0] @ up
    fall = float(light @ up)
    if fall < 0.35 or rng.random() < 0.3:
        return np.zeros(size, np.float32)
    flat = dressed - ((heights - heights.min()) / fall)[None, :, None] * light
    dark = render(flat, model.faces, K, size, ("silhouette",)).silhouette
    assert dark is not None
    return gaussian_filter(dark[0].numpy().astype(np.float32), rng.uniform(1, 6)) * rng.uniform(0.15, 0.6)


def _occluder(size: tuple[int, int], limbs: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """Kind and mask of what stands in front, in three of ten pictures."""
    cover = np.zeros(size, bool)
    if rng.random() > 0.3:
        return "none", cover
    kind = str(rng.choice(["box", "ellipse", "lower half", "side"], p=[0.35, 0.25, 0.3, 0.1]))
    every = np.concatenate(limbs)
    low, high = every.min(0), every.max(0)
    extent = float((high - low).max())
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    if kind == "lower half":
        level = high[1] - rng.uniform(0.08, 0.6) * (high[1] - low[1])
        return kind, y > level + rng.normal(0, 0.08) * (x - (low[0] + high[0]) / 2)
    if kind == "side":
        edge = low[0] + rng.uniform(0.05, 0.35) * (high[0] - low[0])
        right = rng.random() < 0.5
        slope = rng.normal(0, 0.08) * (y - size[0] / 2)
        return kind, (x > low[0] + high[0] - edge + slope) if right else (x < edge + slope)
    limb = limbs[int(rng.integers(len(limbs)))]
    middle = limb[int(rng.integers(len(limb)))] + rng.normal(0, 0.03 * extent, 2)
    a, b = rng.uniform(0.05, 0.2, 2) * extent
    turn = rng.uniform(0, math.pi)
    u = (x - middle[0]) * math.cos(turn) + (y - middle[1]) * math.sin(turn)
    v = -(x - middle[0]) * math.sin(turn) + (y - middle[1]) * math.cos(turn)
    inside = (np.abs(u) < a) & (np.abs(v) < b) if kind == "box" else (u / a) ** 2 + (v / b) ** 2 < 1
    return kind, inside


def _camera_effects(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contrast, blur, sensor noise, JPEG."""
    picture = np.clip(picture, 1e-4, 1) ** rng.uniform(0.75, 1.3) * rng.uniform(0.75, 1.15)
    if rng.random() < 0.05:
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, axis=-1)
    sigma = rng.uniform(0, 1.2)
    picture = gaussian_filter(picture, (sigma, sigma, 0))
    if rng.random() < 0.08:
        picture = gaussian_filter(picture, (0, rng.uniform(1, 3), 0))
    picture = picture + rng.normal(0, rng.uniform(0.002, 0.035), picture.shape)
    memory = io.BytesIO()
    Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8)).save(
        memory, "JPEG", quality=int(rng.integers(40, 96))
    )
    return np.asarray(Image.open(memory).convert("RGB"))


def truly_visible(scene: Scene, pixels: np.ndarray, depth: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """Whether keypoints inside the body (27 pixels, their depth in metres, the joint of their bone) can be seen.

    Hidden: outside the picture, behind an occluder, behind skin of a joint that is no neighbour of the keypoint's bone,
    or more than 16 cm behind the surface.
    """
    height, width = scene.owner.shape
    column, row = np.round(pixels).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
    owner = scene.owner[row, column]
    near = np.array([o < 0 or _bones_apart(o, b) <= 2 for o, b in zip(owner, bones, strict=True)])
    return inside & (owner != -2) & near & ~(scene.depth[row, column] < depth - 0.16)


def _bones_apart(a: int, b: int) -> int:
    """Number of bones between two joints."""

    def way_up(joint: int) -> list[int]:
        way = [joint]
        while way[-1] != 0:
            way.append(PARENTS[way[-1]])
        return way

    first, second = way_up(a), way_up(b)
    shared = len(set(first) & set(second))
    return len(first) + len(second) - 2 * shared
