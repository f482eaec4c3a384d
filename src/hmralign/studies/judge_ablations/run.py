"""A study from its beginning to its report: `gpa_ablations.json` and `.md` in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hmralign.storage.folder_lock import held_folder
from hmralign.storage.run_record import plain
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.studies.judge_ablations.judge import Judge, open_judge
from hmralign.studies.judge_ablations.report import study_document, study_markdown
from hmralign.studies.judge_ablations.settings import Arm, StudyConfig
from hmralign.studies.judge_ablations.study import AblationStudy
from hmralign.vlm.journal import Journal

JSON, MARKDOWN = "gpa_ablations.json", "gpa_ablations.md"


def run_ablations(
    config: StudyConfig,
    out: Path,
    judge: Judge | None = None,
    *,
    introduction: str = "",
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """All arms, one after the other; continues a study in the same folder. Gives the document of the report.

    `judge` is asked instead of the configuration's; `introduction` is put into the Markdown; all but a
    judge that is given computes on `device`. Raises InputError for
    stores that do not go together, another process in the folder, and as the steps do; BudgetError and ServerError
    where they end it, and what is done stays.
    """
    with held_folder(out, "at this study"), Journal.open(out / "journal.sqlite") as journal:
        document = plain(_document(config, out, judge, journal, device))
    write_json(out / JSON, document, indent=1)
    write_whole(out / MARKDOWN, study_markdown(document, introduction))
    return document


def _document(
    config: StudyConfig, out: Path, judge: Judge | None, journal: Journal, device: str | torch.device
) -> dict[str, Any]:
    if not any(arm.asks for arm in config.arms):
        judge = None
    elif judge is None:
        judge = open_judge(config.judge)
    study = AblationStudy(config, out, judge, journal, device)
    base = study.run(Arm("base", method="none"))
    results = [study.run(arm) for arm in config.arms]
    return study_document(study, results, base)
