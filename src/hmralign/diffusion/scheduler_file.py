"""A noise schedule as `diffusers` writes it into `scheduler_config.json`, and the times of a DDIM run by it.

| entry                | here                                                                                |
| -------------------- | ----------------------------------------------------------------------------------- |
| `beta_schedule`      | `linear`, `scaled_linear` (square roots evenly spaced), `squaredcos_cap_v2`         |
| `prediction_type`    | what the network predicts: `epsilon`, `v_prediction`, `sample` (x_0)                |
| `set_alpha_to_one`   | false: the last step ends at the first noise level, not at none                     |
| `steps_offset`       | added to every time                                                                 |
| `timestep_spacing`   | `leading` alone: k (T // n) + offset, k = n - 1 .. 0, never at T - 1                |

A DDPM scheduler's file has the same entries, and its steps are those of DDIM with eta 1 (Song et al. 2021, sec. 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.diffusion.schedule import Schedule, ScheduleConfig, make_schedule
from hmralign.structures import InputError
from hmralign.structures.errors import shown

Predicted = Literal["epsilon", "v_prediction", "sample"]
MOST_STEPS = 100_000

_ONLY: Mapping[str, object] = {
    "clip_sample": False, "thresholding": False, "rescale_betas_zero_snr": False, "timestep_spacing": "leading",
    "trained_betas": None,
}  # fmt: skip


@dataclass(frozen=True)
class FileSchedule:
    """Noise levels, and how a run goes through them."""

    schedule: Schedule
    predicted: Predicted
    ends_clean: bool
    """Whether the last step ends at x_0 without noise (`set_alpha_to_one`)."""
    offset: int

    def times(self, num_steps: int) -> list[int]:
        """Descending times of so many calls. Raises InputError for a number that the schedule has no times for."""
        count = self.schedule.num_steps
        if not 1 <= num_steps <= count or (num_steps - 1) * (count // num_steps) + self.offset >= count:
            raise InputError(f"number of sampling steps must be in 1..{count - self.offset}, got {num_steps}")
        return [k * (count // num_steps) + self.offset for k in reversed(range(num_steps))]

    def levels(self, num_steps: int) -> list[tuple[int, Float[Tensor, ""], Float[Tensor, ""]]]:
        """The calls of a run: time, alpha_bar there, and the alpha_bar to which the step goes."""
        stride, found = self.schedule.num_steps // num_steps, []
        for time in self.times(num_steps):
            after = time - stride if time >= stride or self.ends_clean else 0
            here, below = (self.schedule.at(torch.tensor(max(t, -1))) for t in (time, after))
            found.append((time, here, below))
        return found


def file_schedule(path: Path, content: Mapping[str, Any], *, noising_only: bool = False) -> FileSchedule:
    """The schedule of a configuration; where noise is only added (`noising_only`), entries of steps are passed over.

    Raises InputError, naming the file, for an entry that is not as above, cannot be, or would change a step
    (`clip_sample`, `thresholding`, `rescale_betas_zero_snr`).
    """
    if not noising_only:
        is_ddpm = content.get("_class_name") == "DDPMScheduler"
        for key, value in _ONLY.items():
            # What is not written has the default of the class, which clips.
            found = content.get(key, True if key == "clip_sample" else value)
            if found != value:
                raise InputError(f"{path}: says {key} = {shown(repr(found))}; only {value!r} is sampled")
        if is_ddpm and str(content.get("variance_type", "fixed_small")) != "fixed_small":
            raise InputError(f"{path}: says variance_type = {shown(content['variance_type'])}; expected fixed_small")
    predicted, offset = content.get("prediction_type", "epsilon"), content.get("steps_offset", 0)
    if predicted not in get_args(Predicted):
        raise InputError(
            f"{path}: says prediction_type = {shown(predicted)}; expected {', '.join(get_args(Predicted))}"
        )
    if type(offset) is not int or not 0 <= offset <= 1000:
        raise InputError(f"{path}: says steps_offset = {shown(repr(offset))}; expected a number of 0 to 1000")
    ends_clean = content.get("set_alpha_to_one", True) is not False
    return FileSchedule(_schedule(path, content), predicted, ends_clean, offset)


def _schedule(path: Path, content: Mapping[str, Any]) -> Schedule:
    kind, count = content.get("beta_schedule", "linear"), content.get("num_train_timesteps", 1000)
    if type(count) is not int or not 1 <= count <= MOST_STEPS:
        raise InputError(f"{path}: says num_train_timesteps = {shown(repr(count))}; expected 1 to {MOST_STEPS}")
    if kind == "squaredcos_cap_v2":
        return make_schedule(ScheduleConfig("cosine", count))
    ends = content.get("beta_start", 1e-4), content.get("beta_end", 0.02)
    if any(type(end) not in (int, float) or not 0 < end < 1 for end in ends):
        raise InputError(f"{path}: says beta_start, beta_end = {shown(repr(ends))}; expected numbers between 0 and 1")
    if kind not in ("linear", "scaled_linear"):
        raise InputError(
            f"{path}: says beta_schedule = {shown(kind)}; expected linear, scaled_linear or squaredcos_cap_v2"
        )
    power = 0.5 if kind == "scaled_linear" else 1.0
    betas = torch.linspace(ends[0] ** power, ends[1] ** power, count, dtype=torch.float64) ** (1 / power)
    return Schedule(torch.cumprod(1 - betas, dim=0))
