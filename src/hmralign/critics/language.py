"""How much a hypothesis agrees with what is said of the pose.

A description is a list of statements (`hmralign.language`). A statement that holds costs nothing, one that is far from
holding costs 1, so that one that is wrong cannot outvote all others: with three in ten statements wrong, the mean rank
correlation with PA-MPJPE is 0.65 this way and 0.41 with costs that grow without end (300 perturbed truths, 8 hypotheses
each; 0.80 both ways where nothing is wrong). `oracle-language` takes the words from the true pose: it is what words
could tell at best. A file of descriptions (`NAME.descriptions.json`) judges by what somebody wrote:

    {"format_version": 1, "descriptions": {"PERSON": "left hand on the right knee, legs crossed"}}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.critics.draws import Generators
from hmralign.critics.names import score_name
from hmralign.critics.setting import CriticSetting
from hmralign.language.agreement import statement_costs, wanted
from hmralign.language.caption import caption
from hmralign.language.description import PoseDescription
from hmralign.language.reading import read_text
from hmralign.storage.json_file import read_record
from hmralign.structures import Annotation, Example, Hypotheses, InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown


@dataclass(frozen=True)
class LanguageCritic:
    """Minus the mean cost of what a description says, one for each person that is judged.

    Persons without a description (None, or a description without statements) have equal scores. `weights`, one for
    each statement of the vocabulary, say how much each is to be believed; all the same unless given. The camera is
    taken to be level.
    """

    descriptions: tuple[PoseDescription | None, ...]
    weights: Float[Tensor, " statements"] | None = None
    name: str = "language"

    needs_truth = False

    def can_judge(self, example: Example) -> Bool[Tensor, " person"]:
        """Persons with a description that makes a statement."""
        return (self._wanted() != 0).any(-1)

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in [-1, 0]. Raises InputError for another number of persons than of descriptions."""
        if len(self.descriptions) != len(hypotheses.joints):
            raise InputError(
                f"critic '{self.name}' has {counted(len(self.descriptions), 'description')} for "
                f"{counted(len(hypotheses.joints), 'person')}; expected one for each"
            )
        return _scores(hypotheses, self._wanted())

    def _wanted(self) -> Tensor:
        silent = PoseDescription((), (), "typed")
        signs = wanted([d or silent for d in self.descriptions])
        return signs if self.weights is None else signs * self.weights.to(signs)


@dataclass(frozen=True)
class OracleLanguageCritic:
    """The same with captions of the true pose, drawn for each person: the most that words can tell a ranking."""

    generators: Generators

    name = "oracle-language"
    needs_truth = True

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in [-1, 0]. Raises InputError where the annotation is absent or there are too few generators."""
        if example.annotation is None:
            raise InputError(f"critic '{self.name}' needs ground truth; the example has no annotation.")
        said = self._captions(example.annotation)
        return _scores(hypotheses, wanted(said))

    def _captions(self, truth: Annotation) -> list[PoseDescription]:
        joints, rotmats = truth.joints[:, :NUM_JOINTS].cpu(), truth.body.rotmats.cpu()
        if isinstance(self.generators, torch.Generator):
            return caption(joints, self.generators, rotmats)
        if len(self.generators) != len(joints):
            raise InputError(
                f"{counted(len(self.generators), 'generator')} for {counted(len(joints), 'person')}; "
                "expected one for each"
            )
        return [caption(joints[i, None], g, rotmats[i, None])[0] for i, g in enumerate(self.generators)]


def _scores(hypotheses: Hypotheses, signs: Float[Tensor, "person statements"]) -> Float[Tensor, "person hyp"]:
    persons, hyps = hypotheses.joints.shape[:2]
    joints = hypotheses.joints[..., :NUM_JOINTS, :].flatten(0, 1)  # (B * N, 24, 3)
    rotmats = hypotheses.body.rotmats.flatten(0, 1)
    each = signs.repeat_interleave(hyps, 0).to(joints)
    cost = statement_costs(joints, each, rotmats)
    weight = each.abs()
    mean = (cost / (1 + cost) * weight).sum(-1) / weight.sum(-1).clamp(min=1e-9)
    return -mean.unflatten(0, (persons, hyps))


def make_oracle_language(setting: CriticSetting) -> OracleLanguageCritic:
    """By captions of the true pose."""
    return OracleLanguageCritic(setting.generators("oracle-language"))


def language_of_file(path: str, setting: CriticSetting) -> LanguageCritic:
    """By a file of descriptions, for the persons that will be judged; whom the file leaves out has equal scores.

    Without names of persons the critic can tell what it is called, and judges nobody.
    Raises InputError for a file that is none, and for a description that cannot be read (its person is named).
    """
    read = {person: _read(path, person, text) for person, text in read_descriptions(Path(path)).items()}
    return LanguageCritic(tuple(map(read.get, setting.persons or ())), name=score_name(path))


def read_descriptions(path: Path) -> dict[str, str]:
    """Texts by the name of the person. Raises InputError for a file that is no file of descriptions."""
    texts = read_record(path, "a file of descriptions", 1).get("descriptions")
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise InputError(f"{path}: 'descriptions' is {shown(texts)}; expected an object of a text for each person")
    return texts


def _read(path: str, person: str, text: str) -> PoseDescription:
    try:
        return read_text(text)
    except InputError as error:
        raise InputError(f"{path}: {shown(person)}: {error}") from error
