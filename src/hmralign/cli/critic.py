"""`hmralign critic ...`: a vision-language model judges hypotheses, learns to judge them, and what that costs.

A command is a line of `CRITIC_COMMANDS`; `hmralign critic NAME` runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hmralign.cli.critic_ablate import CriticAblateOptions, run_critic_ablate
from hmralign.cli.critic_audit import CriticAuditOptions, run_critic_audit
from hmralign.cli.critic_batch import ExportBatchOptions, ImportBatchOptions, run_export_batch, run_import_batch
from hmralign.cli.critic_describe import CriticDescribeOptions, run_critic_describe
from hmralign.cli.critic_doctor import DoctorOptions, run_doctor
from hmralign.cli.critic_estimate import EstimateOptions, run_estimate
from hmralign.cli.critic_explore import ExploreOptions, run_explore
from hmralign.cli.critic_freeze import FreezeOptions, run_freeze
from hmralign.cli.critic_memory import MemoryOptions, run_memory
from hmralign.cli.critic_score import ScoreOptions, run_score
from hmralign.cli.terminal import Terminal

CRITIC_COMMANDS: dict[str, tuple[type, Callable[[Any, Terminal], int], str]] = {
    "doctor": (DoctorOptions, run_doctor, "find out what a server of a vision-language model can do"),
    "explore": (ExploreOptions, run_explore, "let a model learn to judge, on groups with truth"),
    "freeze": (FreezeOptions, run_freeze, "make an immutable copy of what it learnt"),
    "score": (ScoreOptions, run_score, "let a model judge groups, with what it learnt"),
    "estimate": (EstimateOptions, run_estimate, "what judging would cost, without asking"),
    "memory": (MemoryOptions, run_memory, "show, compare, merge, export or import what a model learnt"),
    "audit": (CriticAuditOptions, run_critic_audit, "measure any critics against truth and planted mistakes"),
    "describe": (
        CriticDescribeOptions,
        run_critic_describe,
        "measure what is true of a model's descriptions of poses",
    ),
    "export-batch": (ExportBatchOptions, run_export_batch, "write the requests of `critic score` for a batch service"),
    "import-batch": (ImportBatchOptions, run_import_batch, "read the answers of a batch into the journal"),
    "ablate": (
        CriticAblateOptions,
        run_critic_ablate,
        "what each part of a judge with a memory is worth, up to aligned models",
    ),
}
