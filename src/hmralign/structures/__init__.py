"""What flows through the pipeline: typed, frozen structures and the errors that name an offender."""

from hmralign.structures.body_params import BodyParams
from hmralign.structures.camera import Camera
from hmralign.structures.critique import Critique, Finding, MemoryContext, Prototype, Rule, Verdict
from hmralign.structures.errors import HmralignError, InputError, UnwritableError
from hmralign.structures.hypotheses import Hypotheses
from hmralign.structures.observation import MASK_SIZE, Annotation, Example, Landmarks3d, Observation
from hmralign.structures.person_group import PersonGroup
from hmralign.structures.preference_groups import PreferenceGroups
from hmralign.structures.tensor_record import TensorRecord

__all__ = [
    "MASK_SIZE",
    "Annotation",
    "BodyParams",
    "Camera",
    "Critique",
    "Example",
    "Finding",
    "HmralignError",
    "Hypotheses",
    "InputError",
    "Landmarks3d",
    "MemoryContext",
    "Observation",
    "PersonGroup",
    "PreferenceGroups",
    "Prototype",
    "Rule",
    "TensorRecord",
    "UnwritableError",
    "Verdict",
]
