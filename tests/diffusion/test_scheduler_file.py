"""Schedules of `scheduler_config.json` against closed forms, and against the schedulers of `diffusers`."""

from pathlib import Path

import pytest
import torch

from hmralign.diffusion import ddim
from hmralign.diffusion.scheduler_file import file_schedule
from hmralign.structures import InputError

PATH = Path("scheduler_config.json")
LATENT = {
    "_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "clip_sample": False, "prediction_type": "v_prediction", "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


def test_times_and_levels_of_a_run():
    found = file_schedule(PATH, LATENT)
    assert found.times(4) == [751, 501, 251, 1] and found.predicted == "v_prediction" and not found.ends_clean
    levels = found.levels(4)
    assert [time for time, *_ in levels] == found.times(4)
    alpha = found.schedule.alpha_bar.float()
    assert levels[0][1] == alpha[751] and levels[0][2] == alpha[501] and levels[-1][2] == alpha[0]
    clean = file_schedule(PATH, {**LATENT, "set_alpha_to_one": True})
    assert clean.levels(4)[-1][2] == 1 and clean.levels(4)[0][2] == alpha[501]
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    assert torch.allclose(found.schedule.alpha_bar, torch.exp(torch.log1p(-betas).cumsum(0)), rtol=1e-12)


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler"])
@pytest.mark.parametrize(
    "change",
    [
        {}, {"prediction_type": "epsilon", "set_alpha_to_one": True, "steps_offset": 0},
        {"prediction_type": "sample", "beta_schedule": "linear"}, {"beta_schedule": "squaredcos_cap_v2"},
    ],
)  # fmt: skip
def test_steps_are_those_of_diffusers(name, change):
    library = pytest.importorskip("diffusers", minversion="0.36", reason="the extra [diffusers] is not installed")
    config = {**LATENT, **change, "_class_name": name}
    if name == "DDPMScheduler":  # always ends clean
        config.pop("set_alpha_to_one")
    theirs = getattr(library, name)(**{k: v for k, v in config.items() if not k.startswith("_")})
    theirs.set_timesteps(8)
    found = file_schedule(PATH, config)
    assert theirs.timesteps.tolist() == found.times(8)
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    for time, here, below in found.levels(8):
        output = torch.tanh(x + time / 1000)
        draws = [torch.Generator().manual_seed(time) for _ in range(2)]
        extra = {"eta": 1.0} if name == "DDIMScheduler" else {}
        expected = theirs.step(output, time, x, generator=draws[0], **extra).prev_sample
        if found.predicted == "v_prediction":
            eps = here.sqrt() * output + (1 - here).sqrt() * x
        else:
            eps = output if found.predicted == "epsilon" else (x - here.sqrt() * output) / (1 - here).sqrt()
        ours = ddim.step(x, eps, here, below, eta=1.0, generator=draws[1])
        assert torch.allclose(ours, expected, atol=1e-4), time
        x = ours


WRONG = [
    ({"clip_sample": True}, "clip_sample = True"), ({"thresholding": True}, "thresholding"),
    ({"timestep_spacing": "trailing"}, "only 'leading' is sampled"), ({"prediction_type": "flow"}, "prediction_type"),
    ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"), ({"steps_offset": -1}, "steps_offset = -1"),
    ({"beta_schedule": "sigmoid"}, "beta_schedule = sigmoid"), ({"beta_end": 2}, "beta_start, beta_end"),
    ({"num_train_timesteps": 0}, "num_train_timesteps = 0"), ({"trained_betas": [0.1]}, "trained_betas"),
    ({"_class_name": "DDPMScheduler", "variance_type": "learned"}, "variance_type = learned"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_what_is_not_sampled_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        file_schedule(PATH, {**LATENT, **change})


def test_clipping_by_default_is_refused_and_passed_over_where_noise_is_only_added():
    silent = {key: value for key, value in LATENT.items() if key != "clip_sample"}
    with pytest.raises(InputError, match="clip_sample = True"):
        file_schedule(PATH, silent)
    assert file_schedule(PATH, silent, noising_only=True).offset == 1
    for steps in (0, 1000, 1001):
        with pytest.raises(InputError, match="number of sampling steps"):
            file_schedule(PATH, LATENT).times(steps)
