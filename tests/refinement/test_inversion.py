"""Inversion: there and back again is where one was."""

import torch

from hmralign.diffusion import ddim
from hmralign.diffusion.schedule import ScheduleConfig, make_schedule
from hmralign.refinement.inversion import InversionConfig, invert

SCHEDULE = make_schedule(ScheduleConfig())


def test_times_of_a_loop_are_the_papers():
    times = InversionConfig().times(SCHEDULE)
    assert times[0] == 50 and times[-1] == 0 and len(times) == 26
    assert InversionConfig().times(make_schedule(ScheduleConfig(num_steps=100))) == [5, 4, 3, 2, 1, 0]


def test_what_is_carried_back_and_denoised_without_guidance_is_what_it_was():
    def eps(x_t, t):  # of standard normal data
        return (1 - SCHEDULE.at(t)).sqrt() * x_t

    x_0 = torch.randn(4, 154, generator=torch.Generator().manual_seed(0))
    times = InversionConfig(start=0.3, stride=0.01).times(SCHEDULE)
    x_t = invert(eps, x_0, SCHEDULE, times)
    assert float((x_t - x_0).abs().max()) < 1.0 and bool(torch.isfinite(x_t).all())
    again = ddim.sample(eps, x_t, SCHEDULE, num_steps=times)
    torch.testing.assert_close(again, x_0, atol=0.1, rtol=0)
