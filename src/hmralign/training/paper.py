"""Training of HypoNet with its image encoder, from persons with pictures and labels.

    data sets, by weight -> crops, samples, betas -> augmentation -> encoder -> denoiser at (t, eps)
                                                       |                |
                                                 joints, betas     noise error    -> sums over labelled numbers

Source: ScoreHypo (Xu et al. 2024), base model of ADHMR (Shen et al. 2025); `paper_configuration` quotes the recipe.
Departures: crops are around observed boxes, not around true joints; a joint counts as visible where it lies in the
picture; one gradient norm is clipped for encoder and denoiser together; nothing is initialised from COCO pose weights
unless `start_from` has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import TypeAdapter
from torch import Tensor, nn

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_TWISTS
from hmralign.data.dataset import DatasetSetting, LabelledPersons, open_dataset
from hmralign.diffusion.parameterization import add_noise
from hmralign.models.paper.body_sample import sample_of_body
from hmralign.models.paper.checkpoint import PaperModel, load_hyponet, save_hyponet
from hmralign.models.paper.config import SAMPLE_DIM, UVD_DIM
from hmralign.models.paper.image_encoder import PaperContext
from hmralign.models.paper.image_input import require_crops, standardised
from hmralign.models.paper.local_features import heatmap_points, sample_map, token_points
from hmralign.models.paper.uvd import unpack_uvd
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError, TensorRecord
from hmralign.training.crop_augmentation import augmented, draw_crops
from hmralign.training.curve import Curve
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.paper_configuration import MixedData, PaperTrainingConfig
from hmralign.training.processes import number_of_processes, own_draw, own_number, own_parts, require_parts_for_all
from hmralign.training.shared_norms import share_norms
from hmralign.training.step import Part, Step

HEADS = ("final_feat_layer", "pred_beta", "fmap_layer", "fmap_layer_local", "hmap_layer")
"""Layers that HypoNet adds to HRNet; `incre_modules` and `downsamp_modules` are HRNet's own."""

_PERSONS_AT_ONCE = 64


@dataclass(frozen=True)
class PicturedPersons(TensorRecord):
    """Persons of a data set: crops, samples over them, shapes, and which numbers are labels."""

    crop: UInt8[Tensor, "n 3 side side"]
    x_0: Float[Tensor, "n 133"]
    """Over the crop at its own size."""
    betas: Float[Tensor, "n betas"]
    has_depths: Bool[Tensor, " n"]
    has_twists: Bool[Tensor, " n"]
    has_shape: Bool[Tensor, " n"]


@dataclass(frozen=True)
class PicturedBatch(TensorRecord):
    """What a step looks at."""

    image: Float[Tensor, "n 3 size size"]
    """Standardised."""
    x_0: Float[Tensor, "n 133"]
    labelled: Float[Tensor, "n 133"]
    """1 for numbers that are labels and of joints in the picture, 0 for the others."""
    betas: Float[Tensor, "n betas"]
    has_shape: Float[Tensor, " n"]
    t: Int[Tensor, " n"]
    eps: Float[Tensor, "n 133"]


class HypoNetLosses(nn.Module):
    """A `PaperModel` and what is minimised; as one module, so that it can be wrapped for several devices."""

    def __init__(self, model: PaperModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: PicturedBatch) -> dict[str, Float[Tensor, " n"]]:
        """Squared errors of each person, summed over what is labelled: shape, joints in the picture, noise."""
        encoder, denoiser = self.model.encoder, self.model.denoiser
        found = encoder(batch.image)
        assert found.betas is not None
        points = token_points(found.joints, swapped=encoder.quirks.swapped_midpoints)
        context = PaperContext(found.coarse.flatten(2).mT, sample_map(found.fine, points), found.betas)
        x_t = add_noise(batch.x_0, batch.eps, denoiser.schedule.at(batch.t))
        error = (denoiser(x_t[:, None], batch.t[:, None], context)[:, 0] - batch.eps).square() * batch.labelled
        seen = batch.labelled[:, :UVD_DIM].unflatten(-1, (NUM_ALL_JOINTS, 3))[..., :2]
        uv, size = unpack_uvd(batch.x_0, self.model.config.image_size)[0], self.model.config.image_size
        target = heatmap_points(uv, size, corner=encoder.quirks.corner_heatmap)
        return {
            "shape": (found.betas - batch.betas).square().sum(-1) * batch.has_shape,
            "heatmap": ((found.joints - target).square() * seen).flatten(1).sum(-1),
            "joints": error[:, :UVD_DIM].sum(-1),
            "twists": error[:, UVD_DIM:].sum(-1),
        }


def pictured_persons(persons: LabelledPersons, body: BodyModel, data: MixedData | None = None) -> PicturedPersons:
    """Labels of a data set. Raises InputError, naming it, for persons without pictures or annotations."""
    example = persons.examples
    if example.annotation is None:
        raise InputError(f"{persons.name}: has no annotations; expected persons whose bodies are known")
    try:
        crop = require_crops(example.observation)
    except InputError as error:
        raise InputError(f"{persons.name}: {error}") from error
    truth, seen, parts = example.annotation.body[:, None], example.observation, []
    for some in torch.arange(len(crop)).split(_PERSONS_AT_ONCE):
        parts.append(sample_of_body(body, truth[some], seen[some], crop.shape[-1])[:, 0])
    x_0, n = torch.cat(parts), len(crop)
    flags = (True, True, True) if data is None else (data.depths, data.twists, data.shapes)
    return PicturedPersons(crop, x_0, example.annotation.body.betas, *(torch.full((n,), flag) for flag in flags))


def hyponet_batch(
    sources: Sequence[PicturedPersons], config: PaperTrainingConfig, step: int, device: torch.device
) -> PicturedBatch:
    """The batch of a step: a function of its number, the persons and the configuration alone."""
    draw = seeded(config.seed, "step", step)
    n, size = config.batch_size, config.model.image_size
    chosen = PicturedPersons.cat([sources[s][torch.tensor([i])] for s, i in _drawn(sources, config, draw)])
    seen = augmented(chosen.crop, chosen.x_0, draw_crops(n, config.augmentation, draw), size, draw)
    image = standardised(seen.image, bgr_constants=config.model.quirks.bgr_constants)
    depths = seen.inside & chosen.has_depths[:, None]
    joints = torch.stack([seen.inside, seen.inside, depths], dim=-1).flatten(1)  # (n, 87)
    labelled = torch.cat([joints, chosen.has_twists[:, None].expand(n, 2 * NUM_TWISTS)], dim=-1).float()
    half = torch.randint(config.model.schedule.num_steps, (n // 2 + 1,), generator=draw)
    t = torch.cat([half, config.model.schedule.num_steps - 1 - half])[:n]  # antithetic, as the recipe has it
    eps = torch.randn(n, SAMPLE_DIM, generator=draw)
    return PicturedBatch(image, seen.x_0, labelled, chosen.betas, chosen.has_shape.float(), t, eps).to(device)


def _drawn(
    sources: Sequence[PicturedPersons], config: PaperTrainingConfig, draw: torch.Generator
) -> Iterator[tuple[int, int]]:
    """(data set, person) of each item of a batch."""
    weights = torch.tensor([data.weight for data in config.data] or [1.0] * len(sources))
    which = torch.multinomial(weights, config.batch_size, replacement=True, generator=draw)
    place = torch.rand(config.batch_size, generator=draw)
    for source, share in zip(which.tolist(), place.tolist(), strict=True):
        n = len(sources[source].crop)
        yield source, min(int(share * n), n - 1)


def hyponet_step(config: PaperTrainingConfig, sources: Sequence[PicturedPersons]) -> Step:
    """What a step minimises."""
    weights = {"shape": config.shape_weight, "heatmap": config.heatmap_weight}

    def parts(model: Any, step: int) -> Iterator[Part]:
        model.train()
        if config.finetune:
            keep_statistics(model)
        torch.manual_seed(
            derived_seed(config.seed, *own_draw("dropout", step))
        )  # dropout draws from the global generator
        place = next(model.parameters()).device
        batch = hyponet_batch(sources, config, step, place)
        for part in own_parts(torch.arange(config.batch_size), config.accumulate):
            with torch.autocast(place.type, torch.bfloat16, enabled=config.bf16):
                terms = {name: term.float() for name, term in model(batch[part.to(place)]).items()}
            figures = {name: float(term.detach().mean()) for name, term in terms.items()}
            yield Part(terms, weights, share=len(part) / config.batch_size, figures=figures)

    return parts


def keep_statistics(model: nn.Module) -> None:
    """Norms of the image encoder neither measure their batch nor learn from it."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def train_hyponet(
    config: PaperTrainingConfig,
    sources: Sequence[PicturedPersons],
    body: BodyModel,
    folder: Path,
    device: str | torch.device = "cpu",
    *,
    steps: int | None = None,
) -> PaperModel:
    """Train, resuming from `folder` where it holds an unfinished run; returns the averaged model, on the CPU.

    Several processes share each batch, norms included (`shared_norms`); the first writes. Writes `state.pt` and
    `curve.jsonl`. `steps` replaces the configuration's epochs. Raises InputError where there are no persons, for a
    batch that is too small for the processes, for a start and states that are missing, damaged or of another body, and
    RuntimeError for a loss that is not finite.
    """
    if not sources or any(len(source.crop) == 0 for source in sources):
        raise InputError("training of HypoNet: there are no persons; expected `data` with pictures and labels")
    require_parts_for_all(config.batch_size, config.accumulate)
    folder.mkdir(parents=True, exist_ok=True)
    model = starting_hyponet(config, body)
    if number_of_processes() > 1:
        share_norms(model)
    config = replace(config, model=model.config)
    epoch = max(1, round(2 * max(len(source.crop) for source in sources) / config.batch_size))
    loop = Loop(
        HypoNetLosses(model),
        hyponet_step(config, sources),
        _loop(config, model, epoch, round(config.epochs * epoch) if steps is None else steps, device),
        state=folder / "state.pt",
        curve=Curve(folder / "curve.jsonl", said_every=250),
    )
    averaged = loop.run().model.eval().requires_grad_(False)
    averaged.denoiser.clear_masked()
    return averaged


def starting_hyponet(config: PaperTrainingConfig, body: BodyModel) -> PaperModel:
    """Random weights, or those of `start_from`. Raises InputError as `load_hyponet`."""
    if config.start_from is not None:
        return load_hyponet(config.start_from, body.skeleton_hash).requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        return PaperModel(config.model)


def _loop(
    config: PaperTrainingConfig, model: PaperModel, epoch: int, steps: int, device: str | torch.device
) -> LoopConfig:
    heads = {id(p) for name, p in model.encoder.named_parameters() if name.split(".")[0] in HEADS}
    denoiser = set(map(id, model.denoiser.parameters()))

    def rate(step: int, _: float) -> float:
        passed = config.first_epoch + step / epoch
        halved = sum(passed >= at for at in config.halve_at) + config.finetune
        return config.denoiser_rate * 0.5**halved

    def share(parameter: Tensor) -> float:
        if id(parameter) in denoiser:
            return 1.0
        return (config.head_rate if id(parameter) in heads else config.body_rate) / config.denoiser_rate

    return LoopConfig(
        rate=rate,
        steps=steps,
        weight_decay=0.0,
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
        log_every=config.log_every,
        save_every=config.save_every,
        rate_share=share,
        eps=lambda parameter: config.denoiser_eps if id(parameter) in denoiser else 1e-8,
        device=device,
    )


def opened_data(data: MixedData, body: BodyModel, side: int) -> LabelledPersons:
    """A data set of a mixture with crops of a side. Raises InputError as `open_dataset`."""
    label_body = None if data.label_body is None else Path(data.label_body)
    setting = DatasetSetting(body=body, label_body=label_body, crop_side=side)
    return open_dataset(data.dataset, Path(data.folder), data.split, setting)


def train_hyponet_file(
    config: PaperTrainingConfig, folder: Path, body: BodyModel | None = None, device: str | torch.device = "cpu"
) -> Path:
    """`train_hyponet` on the configuration's data; model and configuration are written into the folder.

    Raises InputError as there and as `open_dataset`.
    """
    body = load_free_body("3k5") if body is None else body
    opened = [opened_data(data, body, config.model.image_size) for data in config.data]
    sources = [pictured_persons(persons, body, data) for persons, data in zip(opened, config.data, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    write_configuration(folder, config)
    model = train_hyponet(config, sources, body, folder, device)
    names, path = tuple(dict.fromkeys(persons.name for persons in opened)), folder / "hyponet.safetensors"
    return save_hyponet(path, model, body.skeleton_hash, sources=names) if own_number() == 0 else path


def write_configuration(folder: Path, config: Any) -> None:
    """`config.yaml` of a dataclass, by the first process."""
    if own_number() == 0:
        plain = TypeAdapter(dict[str, Any]).dump_python(asdict(config), mode="json")
        write_whole(folder / "config.yaml", yaml.safe_dump(plain, sort_keys=False))
