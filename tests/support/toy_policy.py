"""A diffusion policy of a few numbers, in float64, for properties of the loop; stores around the tiny lite model."""

from pathlib import Path

import torch
from torch import nn

from hmralign.data.shards import write_index, write_shard
from hmralign.diffusion import ddim
from hmralign.diffusion.parameterization import add_noise
from hmralign.diffusion.schedule import ScheduleConfig, make_schedule
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.store import GroupStore
from hmralign.structures import BodyParams, Hypotheses
from hmralign.training.objective import Items
from support.synthetic_persons import BODY, persons, seeded, tiny_model

DIMS = 5
PERSONS = 12


class ToyPolicy(nn.Module):
    """eps from (x_t, t, context); `encoder` makes the context from the box."""

    def __init__(self, seed: int = 0, dropout: float = 0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoder = nn.Linear(4, 3)
            self.layers = nn.Sequential(nn.Linear(DIMS + 4, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, DIMS))
        self.schedule = make_schedule(ScheduleConfig(num_steps=100))
        self.double()
        self.asked = []
        self.seen = []

    @property
    def denoiser(self):
        return self.layers

    def context(self, observation):
        return self.encoder((observation.box / 1000).double())

    def predict_noise(self, x_t, t, context):
        self.seen.append((t.clone(), x_t.detach().clone()))
        given = context[:, None].expand(*x_t.shape[:2], -1)
        return self.layers(torch.cat([x_t, given, t[..., None].double() / 100], -1))

    def denoising_loss(self, x_0, t, eps, context):
        return self._squared(x_0, t, eps, context).mean(-1)

    def part_losses(self, x_0, t, eps, context):
        error = self._squared(x_0, t, eps, context)
        return torch.stack([error[..., :3].mean(-1), error[..., 3:].mean(-1)], -1)

    def _squared(self, x_0, t, eps, context):
        self.asked.append((t.clone(), eps.clone()))
        x_t = add_noise(x_0, eps, self.schedule.at(t).double())
        return (eps - self.predict_noise(x_t, t, context)).square()

    @torch.no_grad()
    def sample(self, context, num_hypotheses, generator):
        x_T = torch.randn(len(context), num_hypotheses, DIMS, generator=generator).double()
        return ddim.sample(
            lambda x, t: self.predict_noise(x, t.expand(x.shape[:2]), context), x_T, self.schedule, num_steps=4
        )

    def to_body(self, x_0, observation):
        shape = x_0.shape[:2]
        eye = torch.eye(3).expand(*shape, 24, 3, 3)
        joints = torch.zeros(*shape, 29, 3)
        joints[..., :3] = joints[..., :3] + x_0[..., None, :3].float()
        return Hypotheses(
            BodyParams(eye[..., 0, :, :], eye[..., 1:, :, :], torch.zeros(*shape, 10), torch.zeros(*shape, 3)), joints
        )


def toy_items(members: int = 2, n: int = 24, seed: int = 3) -> Items:
    draw = seeded(seed)
    person = torch.arange(n) % PERSONS
    x_0 = torch.randn(n, members, DIMS, generator=draw).double()
    weights = torch.randn(n, members, generator=draw)
    return Items(person, x_0, weights - weights.mean(1, keepdim=True) if members > 1 else weights.sign())


def observation():
    return persons(PERSONS).observation


def shard_folder(folder: Path, n: int = 12) -> Path:
    folder.mkdir(parents=True)
    write_shard(folder, 0, persons(n))
    write_index(folder, examples=n)
    return folder


def tiny_policy() -> LitePolicy:
    return LitePolicy(tiny_model(), BODY, num_steps=2)


def tiny_store(
    folder: Path, critics=("reprojection", "plausibility", "random"), n: int = 12, sha256: str = "tiny"
) -> GroupStore:
    source = ShardSource.open(shard_folder(folder / "shards", n))
    config = GroupStoreConfig(group_size=8, num_steps=2, with_truth=True, shard_size=5)
    return build_groups(tiny_policy(), BODY, sha256, ("shards:train",), source, folder / "groups", config, critics)
