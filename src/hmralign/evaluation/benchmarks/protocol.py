"""Protocols of published evaluations as data: what is measured, on whom, and what the model is given.

The field's numbers of one data set differ by joint set, alignment, boxes, which records, and how many candidates are
counted; a number without these says little. `protocols.yaml` holds them, `published.yaml` what was published under
them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from hmralign.storage.yaml_file import read_yaml
from hmralign.structures import InputError

JointSet = Literal["smpl24", "mesh24", "h36m14", "h36m17"]
Metric = Literal["pve", "mpjpe", "pa_mpjpe", "pa_pve"]

ANY_SPLIT = "any"

SMPL_VERTICES = 6890
"""Published figures are of SMPL's mesh; a body of any other stands never beside them."""


@dataclass(frozen=True)
class BenchmarkProtocol:
    """How one published table was measured, on one data set."""

    name: str
    datasets: tuple[str, ...]
    """Names of `data.names.DATASETS` that it is for."""
    split: str
    """Whose records; `ANY_SPLIT` where a data set's splits are archives, of which the user names one."""
    joints: JointSet
    """SMPL's 24 joints as the body is posed, the same as the body file's own J_regressor finds them in the posed mesh,
    or 14 or 17 that the H36M regressor finds in it."""
    procrustes_on: JointSet
    """Joints that the similarity of PA-MPJPE is fitted on; the error is of `joints`."""
    why: str
    every: int = 1
    """Only every so manieth record."""
    crop_scale: float | None = None
    """Side of the crop in units of the box of the true joints; None for the boxes of the files."""
    gender: Literal["own", "neutral"] = "own"
    """Whose body the truth is."""
    candidates: Literal["m", "m_plus_2"] = "m"
    """How many the minimum is taken over: M, or also the mean of the five best and the mean of all."""
    true_depth: bool = False
    """Whether the model is given the depth of the true root."""
    metrics: tuple[Metric, ...] = ("pve", "mpjpe", "pa_mpjpe")
    """Columns of the table."""

    @property
    def needs_regressor(self) -> bool:
        """Whether `J_regressor_h36m` is needed."""
        return self.joints in ("h36m14", "h36m17")

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def sentence(self) -> str:
        """What stands above its table."""
        crop = (
            "boxes of the files" if self.crop_scale is None else f"crops of {self.crop_scale:g} x the true joints' box"
        )
        counted = "M candidates" if self.candidates == "m" else "M + 2 candidates (with two means)"
        return (
            f"Protocol {self.name}: {self.split} split, every {self.every}. record, {crop}, "
            f"{'true' if self.true_depth else 'no true'} root depth, joints {self.joints}, root at the pelvis, "
            f"Procrustes with scale on {self.procrustes_on}, truth of the {self.gender} body, {counted}, the minimum "
            f"of each metric by itself. {self.why[:1].upper()}{self.why[1:]}."
        )


def protocol_names() -> tuple[str, ...]:
    """Names of all protocols, each once."""
    return tuple(dict.fromkeys(protocol.name for protocol in all_protocols()))


def all_protocols() -> list[BenchmarkProtocol]:
    """Every protocol of the file."""
    return _read(_DATA / "protocols.yaml", list[BenchmarkProtocol])


def find_protocol(name: str, dataset: str, split: str | None = None) -> BenchmarkProtocol:
    """The protocol of that name for a data set; `split` counts where the protocol leaves it open.

    Raises InputError naming what there is.
    """
    of_name = [protocol for protocol in all_protocols() if protocol.name == name]
    if not of_name:
        raise InputError(f"there is no protocol '{name}'; expected one of {', '.join(protocol_names())}")
    for protocol in of_name:
        if dataset in protocol.datasets:
            is_open = protocol.split == ANY_SPLIT and split is not None
            return replace(protocol, split=split) if is_open else protocol  # pyright: ignore[reportArgumentType]
    expected = ", ".join(d for protocol in of_name for d in protocol.datasets)
    raise InputError(f"protocol {name} is not for the data set '{dataset}'; expected one of {expected}")


@dataclass(frozen=True)
class PublishedRow:
    """Millimetres of one method; None for what was not published."""

    method: str
    m: int
    pve: float | None
    mpjpe: float
    pa_mpjpe: float


@dataclass(frozen=True)
class PublishedTable:
    """Figures of one protocol and data set."""

    protocol: str
    dataset: str
    value: str
    source: str
    measured: str
    """How it is known that the rows were measured under the protocol, or that it is not."""
    rows: tuple[PublishedRow, ...]
    errata: tuple[str, ...] = ()


def published_tables() -> list[PublishedTable]:
    """Every table of the file."""
    return _read(_DATA / "published.yaml", list[PublishedTable])


def published_for(protocol: str, dataset: str) -> PublishedTable | None:
    """What was published under a protocol on a data set (`3dpw-json` is 3DPW); None where nothing is known."""
    family = dataset.removesuffix("-json")
    return next((t for t in published_tables() if (t.protocol, t.dataset) == (protocol, family)), None)


_DATA = Path(str(files("hmralign.evaluation.benchmarks")))


def _read(path: Path, kind: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_python(read_yaml(path, "protocols or published figures"))
    except ValidationError as error:
        raise InputError(f"{path}: {error}") from error
