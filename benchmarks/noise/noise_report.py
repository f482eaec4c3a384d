"""The report of `noise_analysis.py` for readers."""

from __future__ import annotations

_LIMITS = """## What this cannot show

**It is a lower bound for photos**: one body family, painted and padded clothes, no loose garments, no other people,
simple occluders, backgrounds cut from few photos. Sides that were exchanged were put right before the residuals were
taken, and detections that were wrong altogether were left out; their rates are below and have to be added when noise
is made. Keypoint truth is our own regressor plus the fitted offset, so a definition that varies with the pose counts
as noise. Offsets and residuals come from the same pictures, and poses from the training split.
"""


def markdown(report: dict) -> str:
    """All tables."""
    about = report["provenance"]
    weights = "heavy" if any(n.startswith("pose_landmark_heavy_sha256 5") for n in about["made_with"]) else "full"
    head = f"""# Noise of the shipped detector with {weights} weights, measured on pictures of the free body

{about["vectors"]} residual vectors from {about["pictures"]} pictures; {"; ".join(about["made_with"])}.
Body `{about["body"]}`, skeleton {about["skeleton_sha256"][:12]}. Made by `benchmarks/noise/detector_noise.py`.
Errors in percent of the height of the body (longer side of the box of all 27 true keypoints), after the fitted offset
of each landmark.
"""
    sections = [head, _LIMITS, _detection(report), _paths(report["short_and_full_path"]), _errors(report)]
    return "\n".join([*sections, _shape(report["shape_of_noise"]), _confidence(report), _offsets(report)])


def _cell(values: list) -> str:
    return f"{values[0]} / {values[1]} / {values[2]} ({values[3]})"


def _detection(report: dict) -> str:
    rates = {k: v for k, v in report["detection"].items() if isinstance(v, dict)}
    rows = [f"| {k} | {v['n']} | {v['found']:.3f} | {v['wrong_of_found']:.3f} |" for k, v in rates.items()]
    swaps, pictures = report["swaps"], report["provenance"]
    searched = pictures.get("searched", pictures["pictures"])
    return "\n".join(
        [
            "## Detection",
            "",
            f"On the {searched} pictures in which somebody whom the short path misses was looked for.",
            "",
            "| pictures | n | found | of those wrong (median error > 15 %) |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Sides exchanged, of {swaps['found']} found: whole body {swaps['all']:.2%} (from behind",
            f"{swaps['all, from behind']:.2%}), legs alone {swaps['legs']:.2%}, arms alone {swaps['arms']:.2%}.",
            f"Confident limbs whose mean error exceeds 15 %: {report['limb_far_off_share']:.2%}.",
            "Vectors from pictures with parts cut off or covered: "
            f"{report['vectors_with_parts_cut_off_or_covered']:.0%}.",
            "Rates for `Failures`: "
            + ", ".join(f"{k} {v}" for k, v in report["recommended_failures"].items())
            + " (the last was not measurable here).",
            f"More than one person found: {report['detection']['somebody_else_found_too']:.2%}.",
            "",
        ]
    )


def _paths(paths: dict) -> str:
    if not paths:
        return ""
    rows = []
    for name in ("short", "full"):
        p = paths[name]
        error = " / ".join(map(str, p["visible_p50_p90_p99_where_both"]))
        found = f"{p['found_whole']:.3f} | {p['found_truncated']:.3f} | {p['wrong_of_found']:.3f}"
        rows.append(f"| {name} | {found} | {p['swap_all']:.3f} | {error} |")
    return "\n".join(
        [
            "Pictures were read with the whole picture as the only tile (short path) and, where that found nobody,",
            f"with more tiles (full path). {paths['n']} pictures were read both ways:",
            "",
            "| path | found, whole | found, truncated | wrong | whole-body swap | visible p50 / p90 / p99 |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "Those that only the full path found, full path: "
            f"{_cell(paths['full']['visible_p50_p90_p99_where_short_missed'])}.",
            "",
        ]
    )


def _errors(report: dict) -> str:
    tables = report["errors_percent_of_height"]
    every = tables["12 joints, all"]
    return "\n".join(
        [
            "## Errors",
            "",
            "| keypoints | visible p50 / p90 / p99 (n) | occluded p50 / p90 / p99 (n) |",
            "|---|---|---|",
            *(f"| {k} | {_cell(v['visible'])} | {_cell(v['occluded'])} |" for k, v in tables.items()),
            "",
            f"All 12 joints: {_cell(every['both'])}; before the offset {_cell(every['both, before the offset'])}.",
            "",
        ]
    )


def _shape(noise: dict) -> str:
    return f"""## Shape of the noise

p90/median {noise["p90_over_median"]}, p99/median {noise["p99_over_median"]} (a 2D Gaussian has 1.82 and 2.58); excess
kurtosis per axis {noise["excess_kurtosis_per_axis"]}. Correlation of signed residuals: elbow-wrist
{noise["elbow_wrist"]}, wrist-knuckle {noise["wrist_knuckle"]}, knee-ankle {noise["knee_ankle"]}, ankle-toe
{noise["ankle_toe"]}; of log error sizes within an image {noise["log_error_sizes_within_image"]}. A shift common to all
joints makes up {noise["share_of_variance_common_to_all_joints"]:.0%} of the variance.
"""


def _confidence(report: dict) -> str:
    rows = [
        f"| {r['bin'][0]}-{r['bin'][1]} | {r['truly_visible']} | {_cell(r['p50_p90_p99_n'])} | {sigma} |"
        for r, sigma in zip(report["by_visibility"], report["sigma_percent_mean_by_bin"], strict=True)
    ]
    return "\n".join(
        [
            "## Confidence",
            "",
            "AUC of visible against hidden: "
            + ", ".join(f"{k} {v}" for k, v in report["visibility_auc"].items())
            + ".",
            "",
            "| confidence | truly visible | p50 / p90 / p99 (n), 12 joints | robust sd per axis, mean of keypoints |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Mean of the robust sd, weighted by count: {report['sigma_percent_mean_weighted']} %.",
            "",
        ]
    )


def _offsets(report: dict) -> str:
    rows = []
    for name, value in report["offsets_mm"].items():
        if name == "nose" or (name.startswith("left") and "small_toe" not in name):
            error = max(report["offset_standard_errors_mm"][name])
            rows.append(f"| {name} | {value[0]} | {value[1]} | {value[2]} | {error} |")
    return "\n".join(
        [
            "## Offsets",
            "",
            "Millimetres in the axes of the keypoint's bone (rest pose: x to the person's left, y up, z forward).",
            "The right side is the mirror image. Standard errors, for independent residuals, are too small.",
            "",
            "| landmark | x | y | z | standard error |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
