"""Your own diffusion model as a policy: a wrapper of about 40 lines, and everything here takes it.

    python examples/foreign_denoiser.py --shards FOLDER [--steps 100]

`FOLDER` holds examples (`hmralign synth --out FOLDER`, or a split of `hmralign bench`). The model below stands for
yours: it diffuses 24 rotations in nine numbers each, has a linear schedule, says eps, and shares nothing with `lite`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.diffusion import ddim
from hmralign.diffusion.parameterization import add_noise
from hmralign.diffusion.schedule import ScheduleConfig, make_schedule
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.person_fit import PersonFit
from hmralign.geometry.rotations import project_to_rotmat
from hmralign.models.person_frame import person_frame
from hmralign.policies.policy import SamplerConfig, state_hash
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.structures import Hypotheses, Observation, PersonGroup
from hmralign.systems.align.configuration import recommended
from hmralign.systems.align.run import align_policy

DIMS = 24 * 9


class TheirModel(nn.Module):
    """A model that knows nothing of this package: (x_t, t, features) -> eps."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.features = nn.Linear(27 * 3, width)
        self.layers = nn.Sequential(nn.Linear(DIMS + width + 1, 2 * width), nn.SiLU(), nn.Linear(2 * width, DIMS))

    def forward(self, x_t: Tensor, t: Tensor, features: Tensor) -> Tensor:
        given = features.expand(*x_t.shape[:-1], -1)
        return self.layers(torch.cat([x_t, given, t[..., None] / 1000], dim=-1))


# ---------------------------------------------------------------------------------------- the wrapper starts here
class TheirPolicy(nn.Module):
    """What the package asks of a model (`hmralign.policies.policy`)."""

    def __init__(self, model: TheirModel, body: BodyModel) -> None:
        super().__init__()
        self.model, self.body, self.noise = model, body, noise_of("mediapipe")
        self.num_steps = 10  # of the sampler, for the records
        self.schedule = make_schedule(ScheduleConfig(kind="linear", num_steps=1000))

    @property
    def denoiser(self) -> nn.Module:  # what is trained
        return self.model.layers

    def context(self, observation: Observation) -> Tensor:  # anything that persons index
        plane = person_frame(observation).keypoints_plane
        seen = torch.cat([plane.clamp(-3, 3), observation.confidence[..., None]], dim=-1)
        return self.model.features(seen.flatten(1))[:, None]

    def predict_noise(self, x_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return self.model(x_t, t.expand(x_t.shape[:-1]), context)

    def denoising_loss(self, x_0: Tensor, t: Tensor, eps: Tensor, context: Tensor) -> Tensor:
        x_t = add_noise(x_0, eps, self.schedule.at(t))
        return (eps - self.predict_noise(x_t, t, context)).square().mean(-1)

    @torch.no_grad()
    def sample(self, context: Tensor, num_hypotheses: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(num_hypotheses, DIMS, generator=generator)  # shared: nobody's answer depends on the others
        model = lambda x_t, t: self.predict_noise(x_t, t, context)  # noqa: E731
        x_T = noise.expand(len(context), -1, -1)
        return ddim.sample(model, x_T, self.schedule, num_steps=self.num_steps, clamp=3.0)

    def decode(self, x_0: Tensor) -> PersonGroup:  # rotations in the person frame, and shapes
        rotmats = project_to_rotmat(x_0.unflatten(-1, (24, 3, 3)))  # Levinson et al. 2020: the nearest rotation
        return PersonGroup(rotmats, torch.zeros(*x_0.shape[:2], self.body.num_betas))

    def to_body(self, x_0: Tensor, observation: Observation) -> Hypotheses:  # for groups and alignment
        return PersonFit.of(self.body, observation, self.noise).hypotheses(self.decode(x_0))

    def propose(self, observation: Observation, sampler: SamplerConfig, generator: torch.Generator) -> PersonGroup:
        return self.decode(self.sample(self.context(observation), sampler.num_hypotheses, generator))


# ------------------------------------------------------------------------------------------------- and ends here
def make_policy(body: BodyModel) -> TheirPolicy:
    """For the command line: `hmralign recover photo.jpg --checkpoint examples/foreign_denoiser.py:make_policy ...`."""
    torch.manual_seed(0)
    return TheirPolicy(TheirModel(), body).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--persons", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--method", default="group", help="one of `hmralign.alignment.names.METHODS`")
    args = parser.parse_args()
    body = load_free_body("3k5")
    policy = make_policy(body)
    config = recommended(args.method)
    training = replace(config.training, steps=args.steps, context_variants=1, check_every=max(1, args.steps // 4))
    with tempfile.TemporaryDirectory() as folder:
        source = ShardSource.open(args.shards, args.persons)
        groups = GroupStoreConfig(group_size=8, num_steps=policy.num_steps)
        store = build_groups(
            policy, body, state_hash(policy), (), source, Path(folder) / "groups", groups, ["reprojection"]
        )
        config = replace(config, training=training, min_persons=1)  # a toy: real runs want 100 persons and more
        aligned = align_policy(policy, state_hash(policy), body, store, config, Path(folder) / "run")
        for line in (Path(folder) / "run/curve.jsonl").read_text().splitlines():
            print(line)
    print(f"aligned on {aligned.groups} groups; weights changed: {state_hash(aligned.policy) != state_hash(policy)}")


if __name__ == "__main__":
    main()
