"""What labelling 21,000 and 2.1 million groups of 20 takes: core hours, days, GPU hours and disk, by arithmetic.

    python benchmarks/speed/many_machines.py

Nothing is measured here. Costs of one group are read from results that were measured (alignment_speed.json, speed.json
of docs/results); what was not measured is an assumption, printed beside the table, many_machines.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.systems.group_preference.judging_cost import estimate_counts
from hmralign.systems.group_preference.settings import ScoreConfig

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SIZES = {"GPA's set": 21_000, "InstaVariety": 2_100_000}
GROUP_SIZE = 20
CRITICS = ("reprojection", "plausibility", "silhouette")

SHARE_OF_A_CORE = 0.9
"""Assumed: what is left of a core after start-up, reading photos from a shared disk, and uneven shares."""
PEOPLE_PER_PHOTO = 1.0
"""Assumed: as many groups as photos."""
UNIT_PHOTOS = 16
START_SECONDS = 5.0
"""Assumed: a worker's imports and loading (3.5 CPU s measured on an idle machine), once for each share."""
JUDGE_TOKENS_A_SECOND = 4500.0
"""Assumed: prompt and answer tokens of a 32B judge at FP8 on one H100 with long prompts, as others report."""
GPU_PRICE = 2.5
"""Assumed: rent of that GPU, USD an hour."""
COLLECT_GROUPS_A_SECOND = 350.0
"""Measured: photos of one person that the collector checks, links and enters, on a busy disk; 940 a CPU second."""


@dataclass(frozen=True)
class GroupCost:
    """CPU seconds of one group of 20, one thread."""

    detection: float
    sampling: float
    critics: dict[str, float]

    @property
    def all_of_it(self) -> float:
        return self.detection + self.sampling + sum(self.critics.values())


def measured_costs() -> GroupCost:
    """From committed results; groups of 16 there, so that 20 cost 20/16."""
    speed = json.loads((RESULTS / "alignment_speed.json").read_text())
    scale = GROUP_SIZE / speed["settings"]["group_size"]
    rates = speed["per_cpu_second"]
    photo = json.loads((RESULTS / "speed.json").read_text())["one_photo_one_person"]["M = 10"]
    return GroupCost(
        photo["detect (wall)"] / PEOPLE_PER_PHOTO,
        scale / rates["sampled groups"],
        {name: scale / rates[f"groups scored by {name}"] for name in CRITICS},
    )


def bytes_of_a_group(group_size: int = GROUP_SIZE, dims: int = 130) -> int:
    """What a store keeps of one person, as docs/preference_groups.md lists it; the picture is assumed to take 40 kB."""
    floats = group_size * (dims + 24 * 6 + 10 + 3 + 29 * 3) + 27 * 7 + 4 + 9 + 4
    return 4 * floats + 48 * 48 + 40_000


def row(groups: int, cost: GroupCost, cores: int) -> dict[str, float]:
    """One size on so many cores."""
    starts = cores * START_SECONDS / 3600
    cpu = groups * cost.all_of_it / 3600
    without_photos = groups * (cost.sampling + sum(cost.critics.values())) / 3600
    judged = estimate_counts(groups, GROUP_SIZE, ScoreConfig())
    tokens = judged.prompt_tokens + judged.completion_tokens
    gpu_hours = tokens / JUDGE_TOKENS_A_SECOND / 3600
    return {
        "groups": groups,
        "core_hours": cpu + starts,
        "core_hours_where_keypoints_are_known": without_photos + starts,
        "cores": cores,
        "hours_on_these_cores": (cpu + starts) / cores / SHARE_OF_A_CORE,
        "collector_hours": groups / COLLECT_GROUPS_A_SECOND / 3600,
        "store_gigabytes": groups * bytes_of_a_group() / 1e9,
        "units": groups / PEOPLE_PER_PHOTO / UNIT_PHOTOS,
        "lost_core_seconds_at_a_kill": UNIT_PHOTOS * cost.all_of_it / 2,
        "judge_calls": judged.calls,
        "judge_tokens": tokens,
        "judge_gpu_hours": gpu_hours,
        "judge_usd": gpu_hours * GPU_PRICE,
    }


def markdown(cost: GroupCost, rows: list[tuple[str, dict[str, float]]]) -> str:
    a_group = [
        ["a photo's people found (MediaPipe, wall)", f"{1000 * cost.detection:.0f}"],
        ["20 bodies sampled and placed", f"{1000 * cost.sampling:.1f}"],
        *([f"scored by {name}", f"{1000 * seconds:.2f}"] for name, seconds in cost.critics.items()),
    ]
    lines = {
        "core hours, photos": ("core_hours", "{:,.0f}"),
        "core hours, keypoints known": ("core_hours_where_keypoints_are_known", "{:,.1f}"),
        "hours on so many cores": ("hours_on_these_cores", "{:,.1f}"),
        "hours of the one collector": ("collector_hours", "{:,.1f}"),
        "store, GB": ("store_gigabytes", "{:,.1f}"),
        "units of 16 photos": ("units", "{:,.0f}"),
        "core seconds lost at a kill": ("lost_core_seconds_at_a_kill", "{:,.0f}"),
        "judge: calls, thousand": ("judge_calls", "{:,.0f}"),
        "judge: tokens, million": ("judge_tokens", "{:,.0f}"),
        "judge: GPU hours": ("judge_gpu_hours", "{:,.0f}"),
        "judge: USD": ("judge_usd", "{:,.0f}"),
    }
    scale = {"judge_calls": 1e3, "judge_tokens": 1e6}
    table = [
        [label, *(form.format(values[key] / scale.get(key, 1.0)) for _, values in rows)]
        for label, (key, form) in lines.items()
    ]
    header = ["", *(f"{name}: {values['groups']:,.0f}, {values['cores']:.0f} cores" for name, values in rows)]
    return f"""# What labelling on many machines takes

Arithmetic on measured costs of one group; nothing was run at this size. Groups of {GROUP_SIZE}, `lite-lab`.
Made by `python benchmarks/speed/many_machines.py`.

| one group, one thread | CPU ms |
| --- | ---: |
{chr(10).join(f"| {what} | {value} |" for what, value in a_group)}

{markdown_table(header, table)}

Measured: the first table (`alignment_speed.md` for groups of 16, times 20/16; `speed.md` for the detector, in wall
seconds of a busy machine) and the collector (200 photos on one disk). Assumed: {PEOPLE_PER_PHOTO:g} person a photo;
{100 * SHARE_OF_A_CORE:.0f} % of a core is used; {START_SECONDS:g} s to start a worker; 40 kB a picture; the judge with
the default plan (two rounds of windows of 10, full memory, no cache, nothing asked again), {JUDGE_TOKENS_A_SECOND:,.0f}
tokens a second and GPU as others report for a 32B model at FP8, {GPU_PRICE:g} USD an hour. Pictures for the judge are
drawn besides, about 0.1 CPU seconds for a hypothesis (`docs/recipes/judge_millions.md`).

What decides is the detector: with keypoints at hand the same groups take
{cost.all_of_it / (cost.all_of_it - cost.detection):.0f} times less. The collector is one process; it checks
{COLLECT_GROUPS_A_SECOND:g} photos a second.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    cost = measured_costs()
    rows = [(name, row(groups, cost, 64 if groups < 1e6 else 1024)) for name, groups in SIZES.items()]
    write_json(out / "many_machines.json", {"cost": vars(cost), "rows": [{"name": n, **r} for n, r in rows]})
    write_whole(out / "many_machines.md", markdown(cost, rows))


if __name__ == "__main__":
    main()
