"""A multi-view policy of a few hundred weights, banks of made-up persons and networks of that size, for the loop."""

import torch
from torch import nn

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.critics.view_figures import ViewCritic
from hmralign.diffusion import ddim
from hmralign.diffusion.parameterization import add_noise
from hmralign.diffusion.schedule import ScheduleConfig, make_schedule
from hmralign.models.multiview.judge import Judge, JudgeConfig, ViewReader
from hmralign.models.multiview.pose_score import PoseScore
from hmralign.models.multiview.skeleton_network import MapFeatures, SkeletonNetwork, SkeletonNetworkConfig
from hmralign.rendering.ring import RingCameras
from hmralign.rendering.ring_persons import RingPersons
from support.synthetic_persons import seeded

RING = RingCameras(azimuths=(0.0, 90.0), size=12)
SHAPE = (2, 4, 12, 12)
DIMS = 2 * 4 * 12 * 12


class TinyReader(nn.Module):
    """Joints off a front by one layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4 * 144, 72)

    def joints(self, fronts):
        return self.layer(fronts.flatten(1)).unflatten(-1, (24, 3))


class TinyViews(nn.Module):
    """x_0 by one hidden layer of (x_t, t, front); shows its eps."""

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(DIMS + 4 * 144 + 1, 6), nn.Tanh(), nn.Linear(6, DIMS))
            self.reader = TinyReader()
        self.schedule = make_schedule(ScheduleConfig(num_steps=100))

    @property
    def denoiser(self):
        return self.layers

    @property
    def network(self):
        return self

    def context(self, fronts):
        return fronts.flatten(1).to(next(self.parameters()))

    dims = DIMS

    def predict_x_0(self, x_t, t, context):
        return self.x_0(x_t, t, context)

    def x_0(self, x_t, t, context):
        given = context[:, None].expand(*x_t.shape[:2], -1)
        return self.layers(torch.cat([x_t.to(given), given, t[..., None].to(given) / 100], -1))

    def predict_noise(self, x_t, t, context):
        alpha_bar = self.schedule.at(t).to(context)[..., None]
        return (x_t.to(context) - alpha_bar.sqrt() * self.x_0(x_t, t, context)) / (1 - alpha_bar).sqrt()

    def denoising_loss(self, x_0, t, eps, context):
        x_t = add_noise(x_0, eps, self.schedule.at(t))
        return (eps - self.predict_noise(x_t, t, context)).square().mean(-1)

    @torch.no_grad()
    def sample(self, context, num_hypotheses, generator):
        x_T = torch.randn(len(context), num_hypotheses, DIMS, generator=generator).to(context)
        model = lambda x, t: self.predict_noise(x, t.expand(x.shape[:2]), context)  # noqa: E731
        return ddim.sample(model, x_T, self.schedule, num_steps=4, clamp=1.0)

    def to_views(self, x_0):
        return x_0.unflatten(-1, SHAPE)


def tiny_base_loss(policy, persons, generator):
    """Squared error of x_0 at one time for all, as base training has it."""
    x_0 = persons.pixels.float().flatten(1)[:, None]
    t = torch.full(x_0.shape[:2], 50)
    x_t = add_noise(x_0, torch.randn(x_0.shape, generator=generator), policy.schedule.at(t))
    return (policy.x_0(x_t, t, policy.context(persons.pixels[:, 0].float())) - x_0).square().mean((-2, -1))


def tiny_persons(n: int, seed: int = 0) -> RingPersons:
    """Discs where persons would be; joints about the middle."""
    draw = seeded(seed)
    joints = 0.5 * torch.randn(n, NUM_JOINTS, 3, generator=draw)
    return RingPersons(torch.rand(n, *SHAPE, generator=draw).half(), joints)


def tiny_critic(seed: int = 0) -> ViewCritic:
    """Networks that have learned nothing."""
    config = SkeletonNetworkConfig(8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = [m.eval().requires_grad_(False) for m in (SkeletonNetwork(config), MapFeatures(config))]
        reader = ViewReader(JudgeConfig(4, 1)).eval().requires_grad_(False)
    return ViewCritic(Judge(reader, RING.rotations, RING.pixels_per_metre), PoseScore(*parts), RING)
