"""`hmralign multiview check`, `pshuman`: a folder of PSHuman's published model, looked through and sampled from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.terminal import Terminal


@dataclass(frozen=True)
class MultiViewCheckOptions:
    """Look through a local folder of PSHuman's model: components, classes, sizes, and what differs from the published.

    Nothing of the folder is run. Exit code 1 says that something differs."""

    folder: Annotated[Path, Positional]
    """Folder with model_index.json."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


def run_multiview_check(options: MultiViewCheckOptions, terminal: Terminal) -> int:
    """Look and tell."""
    from dataclasses import asdict

    from hmralign.adapters.pshuman import check_folder, said_of

    found = check_folder(options.folder)
    terminal.answer(asdict(found))
    for one in found.components:
        facts = "".join(f", {key} {value}" for key, value in said_of(one).items())
        size = "" if one.parameters is None else f", {one.parameters:,} parameters in {one.tensors} tensors"
        weights = f"; {one.weights}, {one.megabytes:g} MB{size}" if one.weights else ""
        terminal.say(f"{one.name}: {one.kind or 'not there'}{facts}{weights}")
    for name, shape in found.embeds.items():
        terminal.say(f"{name}: {shape}")
    for line in found.differs:
        terminal.say(f"differs: {line}")
    if not found.differs:
        terminal.say("nothing differs from the published layout")
    terminal.say("This check was written from the public script and never run on the published weights here.")
    return 1 if found.differs else 0


@dataclass(frozen=True)
class MultiViewPSHumanOptions:
    """Draw a person from six sides, colours and normals, by PSHuman's model out of a photo (extra `[diffusers]`).

    The person is cut out: the photo is transparent around them, or --mask is white on them. The published model has
    0.9 billion parameters in its UNet alone and was made for large graphics cards."""

    folder: Annotated[Path, Positional]
    """Folder of the model, as `multiview check` looks through it."""
    photo: Annotated[Path, Positional]
    """Photo of one person."""
    out: Path
    """Folder for the pictures."""
    mask: Path | None = None
    """Picture of the photo's size, white on the person, for a photo that is not cut out."""
    embeds: Path | None = None
    """Folder with normal_embeds.pt and clr_embeds.pt, where the model's has none."""
    samples: int = 1
    """Samples, one after the other."""
    num_steps: int = 40
    """Steps of the sampler."""
    eta: float = 1.0
    """Share of fresh noise in each step; 0 draws noise at the start alone."""
    guidance: float = 3.0
    """Weight of what the photo adds; 1 takes half the time."""
    noise_level: int = 0
    """Time of the image embedding's noise."""
    seed: int = 0
    """Seed of the noise."""
    device: Device = CPU
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """The record as one JSON document on stdout instead of words."""


def run_multiview_pshuman(options: MultiViewPSHumanOptions, terminal: Terminal) -> int:
    """Sample and write."""
    from hmralign.policies.pshuman import PSHumanSampling
    from hmralign.structures.counted import counted
    from hmralign.systems.multiview_reward.pshuman import sample_pshuman

    how = PSHumanSampling(options.num_steps, options.eta, options.guidance, options.noise_level)
    record = sample_pshuman(
        options.folder, options.photo, options.out, mask=options.mask, embeds=options.embeds, samples=options.samples,
        seed=options.seed, sampling=how, device=options.device,
    )  # fmt: skip
    terminal.answer(record)
    terminal.say(f"{counted(options.samples, 'sample')} of six sides: {options.out}, sample_0 is the first")
    return 0
