"""From measured chunks to the noise asset and the report of `detector_noise.py`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import kurtosis, rankdata

import noise_report
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS
from hmralign.data.synthetic.observation_noise import ARMS, LEGS, LIMBS, Failures

BINS = (0.0, 0.3, 0.6, 0.8, 0.95, 1.0)
"""Edges of the confidence bins (lower edge excluded)."""
WRONG = 0.15
"""Median error of the visible keypoints, as a share of the body's height, above which a detection is a failure."""
_MIRROR = np.array(MIRROR_KEYPOINTS)
_GROUPS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "nose", "eye", "ear", "heel", "big_toe", "knuckle")
_JOINTS = np.array([i for i, n in enumerate(KEYPOINT_NAMES) if n.endswith(_GROUPS[:6])])
_NO_SMALL_TOE = np.array(["small_toe" not in n for n in KEYPOINT_NAMES])
_PRIOR_SD = 0.03
"""Metres; offsets that the views do not determine shrink to zero."""


@dataclass(frozen=True)
class Measurements:
    """Chunks joined: truth, what was found, both in pixels."""

    points: np.ndarray  # (n, 27, 3) metres, cam
    pixels: np.ndarray  # (n, 27, 2) the body's own keypoints
    bone_rotmats: np.ndarray  # (n, 27, 3, 3)
    K: np.ndarray  # (n, 3, 3)
    yaw: np.ndarray  # (n,)
    visible: np.ndarray  # (n, 27)
    occluder: np.ndarray  # (n,)
    truncated: np.ndarray  # (n,)
    found: np.ndarray  # (n,)
    count: np.ndarray  # (n,)
    keypoints: np.ndarray  # (n, 27, 2)
    confidence: np.ndarray  # (n, 27)
    searched: np.ndarray  # (n,) whether somebody missed by the short path was looked for

    def __getitem__(self, index: np.ndarray) -> Measurements:
        return Measurements(*(getattr(self, k)[index] for k in self.__dataclass_fields__))

    @property
    def height(self) -> np.ndarray:
        return _height(self.pixels)

    @property
    def seen(self) -> np.ndarray:
        """Keypoints that can be seen and were reported (n, 27)."""
        return self.visible & (self.confidence > 0)


@dataclass(frozen=True)
class OutputFiles:
    """Where the noise, its figures, and a report for readers (None: not written) go."""

    asset: Path
    figures: Path
    report: Path | None


def shipped_files(root: Path, detector: str = "mediapipe") -> OutputFiles:
    """Those of a detector whose noise is shipped: "mediapipe", or "mediapipe_heavy" with heavy weights."""
    asset = root / "src" / "hmralign" / "data" / "synthetic" / "assets" / f"{detector}_noise.npz"
    results = root / "docs" / "results" / f"detector_noise{detector.removeprefix('mediapipe')}"
    return OutputFiles(asset, results.with_suffix(".json"), results.with_suffix(".md"))


def _height(pixels: np.ndarray) -> np.ndarray:
    """The scale of `observation_noise.body_height`."""
    return (pixels.max(1) - pixels.min(1)).max(1)


def read_chunks(work: Path) -> tuple[Measurements, dict[str, Measurements], dict]:
    """All persons as the detector has them; those read both ways, by path; where they come from.

    The short path has the word where it found somebody, the full path elsewhere.
    """
    files = [p for p in sorted(work.glob("chunk_?????.npz")) if _missed_file(p).is_file()]
    if not files:
        raise SystemExit(f"{work}: no chunks; run without --only-analyse first")
    chunks = [dict(np.load(p, allow_pickle=False)) | {"searched": np.zeros(0, bool)} for p in files]
    notes = sorted({str(n) for c in chunks for n in c["notes"]})
    both = [c | {"searched": np.ones(len(c["found"]), bool)} for c in chunks if c["found"].shape[1] == 2]
    paths = {name: _join(both, k) for k, name in enumerate(("short", "full"))} if both else {}
    about = {"work": work.name, "chunks": len(chunks), "chunks_both_ways": len(both), "made_with": notes}
    for chunk, path in zip(chunks, files, strict=True):
        again = np.load(_missed_file(path), allow_pickle=False)
        for name in _BY_PATH:
            chunk[name][again["rows"], 0] = again[name]
        chunk["searched"] = np.full(len(chunk["found"]), "searched" not in again or bool(again["searched"]))
    return _join(chunks, 0), paths, about


def _missed_file(path: Path) -> Path:
    return path.with_name(path.name.replace("chunk", "missed"))


_BY_PATH = ("found", "count", "keypoints", "confidence")


def _join(chunks: list[dict], path: int) -> Measurements:
    names = Measurements.__dataclass_fields__
    return Measurements(
        **{k: np.concatenate([c[k][:, path] if k in _BY_PATH else c[k] for c in chunks]) for k in names}
    )


def undo_swaps(m: Measurements) -> tuple[Measurements, dict[str, np.ndarray]]:
    """Sides put right where they were exchanged, and which were: `Failures` adds exchanges back at their own rate."""
    keypoints, confidence = m.keypoints.copy(), m.confidence.copy()
    parts = {"all": np.arange(27), "legs": np.array(LEGS), "arms": np.array(ARMS)}
    swapped: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        judged = part[np.isin(part, _JOINTS)]
        straight = np.linalg.norm(keypoints[:, judged] - m.pixels[:, judged], axis=-1) / m.height[:, None]
        crossed = np.linalg.norm(keypoints[:, _MIRROR[judged]] - m.pixels[:, judged], axis=-1) / m.height[:, None]
        use = (confidence[:, judged] > 0) & (confidence[:, _MIRROR[judged]] > 0)
        total = np.maximum(use.sum(1), 1)
        before, after = (straight * use).sum(1) / total, (crossed * use).sum(1) / total
        swapped[name] = m.found & (use.sum(1) >= len(judged) / 2) & (before > 0.04) & (after < 0.5 * before)
        rows = np.nonzero(swapped[name])[0][:, None]
        keypoints[rows, part], confidence[rows, part] = keypoints[rows, _MIRROR[part]], confidence[rows, _MIRROR[part]]
    return replace(m, keypoints=keypoints, confidence=confidence), swapped


def median_error(m: Measurements) -> np.ndarray:
    """Median error of the visible keypoints (n,), shares of height; infinite without any."""
    error = np.linalg.norm(m.keypoints - m.pixels, axis=-1) / m.height[:, None]
    return np.array([np.median(e[s]) if s.any() else np.inf for e, s in zip(error, m.seen, strict=True)])


def fit_offsets(m: Measurements) -> tuple[np.ndarray, np.ndarray]:
    """Where the detector has each keypoint, (27, 3) metres in the axes of its bone, and the standard errors.

    A displacement o moves the picture by f/z J R o. Iterated weighted least squares (Cauchy), left and right fitted as
    one by reflection, under a weak prior about zero.
    """
    z, f = m.points[..., 2], m.K[:, None, 0, 0]
    metric = (m.keypoints - m.pixels) * (z / f)[..., None]
    ray = m.points[..., :2] / z[..., None]
    jacobian = np.concatenate([np.broadcast_to(np.eye(2), (*z.shape, 2, 2)), -ray[..., None]], axis=-1)
    rows = jacobian @ m.bone_rotmats  # (n, 27, 2, 3)
    use = m.seen & (m.confidence > 0.5)
    flip = np.array([-1.0, 1.0, 1.0])
    offsets, errors = np.zeros((27, 3)), np.zeros((27, 3))
    for k in range(27):
        other = _MIRROR[k]
        if other < k:
            offsets[k], errors[k] = offsets[other] * flip, errors[other]
            continue
        a = np.concatenate([rows[use[:, k], k], rows[use[:, other], other] * flip]).reshape(-1, 3)
        b = np.concatenate([metric[use[:, k], k], metric[use[:, other], other]]).reshape(-1)
        offsets[k], errors[k] = _robust_solution(a, b)
        if other == k:
            offsets[k, 0] = 0.0
    return offsets, errors


def _robust_solution(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prior = np.eye(3) / _PRIOR_SD**2
    if len(b) < 60:
        return np.zeros(3), np.full(3, _PRIOR_SD)
    solution = np.zeros(3)
    for _ in range(30):
        rest = b - a @ solution
        scale = 1.4826 * np.median(np.abs(rest))
        weight = 1 / (1 + (rest / (2 * scale)) ** 2) / scale**2
        information = (a * weight[:, None]).T @ a + prior
        solution = np.linalg.solve(information, (a * weight[:, None]).T @ b)
    return solution, np.sqrt(np.diag(np.linalg.inv(information)))


def offset_pixels(m: Measurements, offsets: np.ndarray) -> np.ndarray:
    """Keypoints (n, 27, 2) with the offsets, projected."""
    points = m.points + (m.bone_rotmats @ offsets[..., None])[..., 0]
    return points[..., :2] / points[..., 2:] * m.K[:, None, [0, 1], [0, 1]] + m.K[:, None, :2, 2]


def sigma_by_confidence(residuals: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Robust standard deviations (27, bins) per axis, never rising with confidence, and how many residuals (27, bins).

    Left and right are one; bins with few residuals lean on keypoint and bin averages.
    """
    which = np.digitize(confidence, BINS[1:-1], right=True)
    sizes = np.abs(residuals)
    count = np.array([[((which[:, k] == b) & (confidence[:, k] > 0)).sum() for b in range(5)] for k in range(27)])
    count = count + np.where(_MIRROR[:, None] == np.arange(27)[:, None], 0, count[_MIRROR])
    raw = np.full((27, 5), np.nan)
    for k in range(27):
        pair = sorted({k, int(_MIRROR[k])})
        for b in range(5):
            chosen = (which[:, pair] == b) & (confidence[:, pair] > 0)
            if chosen.sum() >= 3:
                raw[k, b] = 1.4826 * np.median(sizes[:, pair][chosen])
    toe, small = KEYPOINT_NAMES.index("left_big_toe"), [i for i in range(27) if not _NO_SMALL_TOE[i]]
    raw[small] = raw[toe]  # never reported: as the big toe
    # A detector may lack keypoints (COCO has no feet) or never be so sure: those follow the average of the others.
    known, reached = ~np.isnan(raw).all(1), ~np.isnan(raw).all(0)
    level = np.zeros(27)
    level[known] = np.nanmean(np.log(raw[known]), axis=1)
    level[~known] = level[known].mean()
    step = np.full(5, np.nan)
    step[reached] = np.nanmean((np.log(raw) - level[:, None])[:, reached], axis=0)
    step = np.interp(np.arange(5), np.nonzero(reached)[0], step[reached])
    weight = count / (count + 15.0)
    log = np.where(np.isnan(raw), 0, weight * np.log(np.where(np.isnan(raw), 1, raw)))
    log = log + (1 - np.where(np.isnan(raw), 0, weight)) * (level[:, None] + step)
    return np.exp(
        [isotonic_regression(r, weights=c + 3.0, increasing=False).x for r, c in zip(log, count, strict=True)]
    ), count


def analyse(work: Path, model: BodyModel, files: OutputFiles) -> None:
    """Write the asset and the report."""
    raw, paths, about = read_chunks(work)
    m, swapped = undo_swaps(raw)
    wrong = m.found & (median_error(m) > WRONG)
    kept = m.found & ~wrong & ((m.confidence > 0).sum(1) >= 6)
    accepted = m[kept]
    if len(accepted.found) < 100:
        raise SystemExit(f"{work}: {len(accepted.found)} usable detections; expected at least 100")
    offsets, offset_errors = fit_offsets(accepted)
    truth = offset_pixels(accepted, offsets)
    height = _height(truth)
    observed = accepted.confidence > 0
    residuals = np.where(observed[..., None], (accepted.keypoints - truth) / height[:, None, None], 0.0)
    centre = (truth.max(1, keepdims=True) + truth.min(1, keepdims=True)) / 2
    layouts = ((truth - centre) / height[:, None, None]).reshape(len(truth), -1)
    sigma, sigma_count = sigma_by_confidence(residuals, accepted.confidence)
    about |= {"body": model.name, "skeleton_sha256": model.skeleton_hash, "mesh_sha256": model.mesh_hash}
    about |= {"pictures": len(m.found), "searched": int(m.searched.sum()), "vectors": int(kept.sum())}
    np.savez_compressed(
        files.asset,
        format_version=np.array(1),
        residuals=residuals.astype(np.float16),
        confidence=accepted.confidence.astype(np.float16),
        layouts=layouts.astype(np.float16),
        offsets=offsets.astype(np.float32),
        sigma_bins=sigma.astype(np.float32),
        bin_edges=np.array(BINS, np.float32),
        provenance=np.array(json.dumps(about)),
    )
    report = {
        "provenance": about,
        "detection": detection_rates(m[m.searched], wrong[m.searched]),
        "swaps": swap_rates(m, swapped),
        "recommended_failures": recommended_failures(m, swapped),
        "vectors_with_parts_cut_off_or_covered": _share(accepted.truncated | (accepted.occluder != "none")),
        "limb_far_off_share": limb_far_off(accepted, residuals),
        "short_and_full_path": compare_paths(paths),
        "errors_percent_of_height": error_tables(accepted, residuals),
        "shape_of_noise": shape_of_noise(accepted, residuals),
        "visibility_auc": visibility_auc(accepted),
        "by_visibility": by_visibility(accepted, residuals),
        "offsets_mm": by_name(1000 * offsets, 1),
        "offset_standard_errors_mm": by_name(1000 * offset_errors, 1),
        "sigma_percent_by_bin": by_name(100 * sigma, 2),
        "sigma_count": by_name(sigma_count, 0),
        "sigma_percent_mean_by_bin": np.round(100 * sigma[_NO_SMALL_TOE].mean(0), 2).tolist(),
        "sigma_percent_mean_weighted": round(float(100 * (sigma * sigma_count).sum() / sigma_count.sum()), 2),
    }
    files.figures.parent.mkdir(parents=True, exist_ok=True)
    files.figures.write_text(json.dumps(report, indent=1) + "\n")
    if files.report is not None:
        files.report.write_text(noise_report.markdown(report))
    print(f"{int(kept.sum())} vectors, {files.asset.stat().st_size / 1e6:.2f} MB: {files.asset}")


def by_name(rows: np.ndarray, digits: int) -> dict[str, list]:
    """Rows (27, n) under the names of the keypoints."""
    return {name: np.round(row, digits).tolist() for name, row in zip(KEYPOINT_NAMES, rows, strict=True)}


def detection_rates(m: Measurements, wrong: np.ndarray) -> dict:
    """Shares found, and found but wrong, by kind of picture and by view."""
    side = np.abs(m.yaw)
    views = {
        "front": side < np.pi / 4,
        "side": (side >= np.pi / 4) & (side <= 3 * np.pi / 4),
        "back": side > 3 * np.pi / 4,
    }
    whole, clear = ~m.truncated, m.occluder == "none"
    kinds = {"whole": whole, "whole, nothing in front": whole & clear, "whole, occluder": whole & ~clear}
    kinds |= {f"whole, occluder: {o}": whole & (m.occluder == o) for o in sorted(set(m.occluder)) if o != "none"}
    kinds |= {"truncated": m.truncated, **{f"whole, seen from the {v}": whole & c for v, c in views.items()}}
    return {
        k: {"n": int(c.sum()), "found": _share(m.found[c]), "wrong_of_found": _share(wrong[c & m.found])}
        for k, c in kinds.items()
    } | {"somebody_else_found_too": _share(m.count[m.found] > 1)}


def _share(values: np.ndarray) -> float:
    return round(float(np.mean(values)), 4) if len(values) else float("nan")


def swap_rates(m: Measurements, swapped: dict[str, np.ndarray]) -> dict:
    """Shares of the persons found whose sides were exchanged."""
    rates = {k: _share(v[m.found]) for k, v in swapped.items()}
    side = np.abs(m.yaw)
    back = m.found & (side > 3 * np.pi / 4)
    return rates | {"all, from behind": _share(swapped["all"][back]), "found": int(m.found.sum())}


def recommended_failures(m: Measurements, swapped: dict[str, np.ndarray]) -> dict[str, float]:
    """Rates for `Failures`; that of other people's limbs cannot be measured without other people and stays as it is."""
    rates = {f"swap_{part}": round(float(v[m.found].mean()), 3) for part, v in swapped.items()}
    return rates | {"wrong_person": Failures().wrong_person}


def limb_far_off(m: Measurements, residuals: np.ndarray) -> float:
    """Share of the limbs in the picture whose mean error exceeds 15 % of the height while the detector is confident."""
    error = np.linalg.norm(residuals, axis=-1)
    far, total = 0, 0
    for limb in LIMBS:
        limb = [k for k in limb if _NO_SMALL_TOE[k] and (m.confidence[:, k] > 0).any()]
        if not limb:
            continue
        sure = (m.confidence[:, limb] > 0.5).all(1)
        far, total = far + int((error[sure][:, limb].mean(1) > 0.15).sum()), total + int(sure.sum())
    return round(far / max(total, 1), 5)


def compare_paths(paths: dict[str, Measurements]) -> dict:
    """The same pictures with the whole picture as the only tile, and with all tiles."""
    if not paths:
        return {}
    short, full = paths["short"], paths["full"]
    result: dict = {"n": len(full.found)}
    for name, m in paths.items():
        m, swapped = undo_swaps(m)
        error = 100 * np.linalg.norm(m.keypoints - m.pixels, axis=-1) / m.height[:, None]
        both = (short.found & full.found)[:, None] & m.seen
        result[name] = {
            "found": _share(m.found),
            "found_whole": _share(m.found[~m.truncated]),
            "found_truncated": _share(m.found[m.truncated]),
            "wrong_of_found": _share(median_error(m)[m.found] > WRONG),
            "swap_all": _share(swapped["all"][m.found]),
            "visible_p50_p90_p99_where_both": np.round(np.percentile(error[both], [50, 90, 99]), 2).tolist(),
            "visible_p50_p90_p99_where_short_missed": _percentiles(error[~short.found[:, None] & m.seen]),
        }
    return result


def error_tables(m: Measurements, residuals: np.ndarray) -> dict:
    """Median, p90, p99 of the error after the offset, by group and by true visibility; before the offset for all."""
    error = 100 * np.linalg.norm(residuals, axis=-1)
    plain = 100 * np.linalg.norm(m.keypoints - m.pixels, axis=-1) / m.height[:, None]
    observed = m.confidence > 0
    tables: dict = {}
    for name in _GROUPS:
        index = [i for i, n in enumerate(KEYPOINT_NAMES) if name in n]
        part = np.isin(np.arange(27), index)[None]
        tables[name] = {
            "visible": _percentiles(error[m.seen & part]),
            "occluded": _percentiles(error[observed & ~m.visible & part]),
        }
    joints = np.isin(np.arange(27), _JOINTS)[None]
    for name, chosen in (("whole", ~m.truncated), ("truncated", m.truncated), ("all", m.truncated | True)):
        rows = observed & joints & chosen[:, None]
        tables[f"12 joints, {name}"] = {
            "visible": _percentiles(error[rows & m.visible]),
            "occluded": _percentiles(error[rows & ~m.visible]),
            "both": _percentiles(error[rows]),
            "both, before the offset": _percentiles(plain[rows]),
        }
    return tables


def _percentiles(values: np.ndarray) -> list[float]:
    """p50, p90, p99, count."""
    return [*np.round(np.percentile(values, [50, 90, 99]), 2).tolist(), len(values)] if len(values) else [0, 0, 0, 0]


def shape_of_noise(m: Measurements, residuals: np.ndarray) -> dict:
    """Tails and correlations of the residuals of the 12 joints."""
    observed = m.confidence > 0
    joints = np.isin(np.arange(27), _JOINTS)[None] & observed
    error = np.linalg.norm(residuals, axis=-1)
    p50, p90, p99 = np.percentile(error[joints], [50, 90, 99])
    names = {n: i for i, n in enumerate(KEYPOINT_NAMES)}

    def along(a: str, b: str) -> float:
        pairs = []
        for s in ("left", "right"):
            i, j = names[f"{s}_{a}"], names[f"{s}_{b}"]
            both = observed[:, i] & observed[:, j]
            pairs.append(np.stack([residuals[both, i].ravel(), residuals[both, j].ravel()]))
        if sum(p.shape[1] for p in pairs) < 20:
            return float("nan")
        return round(float(np.corrcoef(np.concatenate(pairs, axis=1))[0, 1]), 3)

    complete = joints[:, _JOINTS].all(1)
    sizes = np.corrcoef(np.log(error[complete][:, _JOINTS] + 1e-4).T)
    common = residuals[complete][:, _JOINTS].mean(1)
    return {
        "p90_over_median": round(p90 / p50, 2),
        "p99_over_median": round(p99 / p50, 2),
        "gaussian_would_be": [1.82, 2.58],
        "excess_kurtosis_per_axis": round(float(kurtosis(residuals[joints].ravel())), 1),
        "elbow_wrist": along("elbow", "wrist"),
        "wrist_knuckle": along("wrist", "index_knuckle"),
        "knee_ankle": along("knee", "ankle"),
        "ankle_toe": along("ankle", "big_toe"),
        "log_error_sizes_within_image": round(float((sizes.sum() - len(sizes)) / (sizes.size - len(sizes))), 3),
        "share_of_variance_common_to_all_joints": round(float(common.var() / residuals[complete][:, _JOINTS].var()), 3),
    }


def visibility_auc(m: Measurements) -> dict[str, float]:
    """How well the confidence separates visible from hidden keypoints in the picture, by group."""
    result = {}
    for name in _GROUPS:
        index = [i for i, n in enumerate(KEYPOINT_NAMES) if name in n]
        score, truth = m.confidence[:, index].ravel(), m.visible[:, index].ravel()
        truth, score = truth[score > 0], score[score > 0]
        positive, negative = truth.sum(), (~truth).sum()
        if min(positive, negative) >= 10:
            ranks = rankdata(score)[truth].sum()
            result[name] = round(float((ranks - positive * (positive + 1) / 2) / (positive * negative)), 3)
    return result


def by_visibility(m: Measurements, residuals: np.ndarray) -> list[dict]:
    """Errors of the 12 joints by confidence bin."""
    error, rows = 100 * np.linalg.norm(residuals, axis=-1)[:, _JOINTS], []
    confidence, visible = m.confidence[:, _JOINTS], m.visible[:, _JOINTS]
    for low, high in pairwise(BINS):
        chosen = (confidence > low) & (confidence <= high)
        share = round(_share(visible[chosen]), 2)
        rows.append({"bin": [low, high], "truly_visible": share, "p50_p90_p99_n": _percentiles(error[chosen])})
    return rows
