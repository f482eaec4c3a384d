"""A study from its beginning to its report: `gpa_ablations.json` and `.md` in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError
from hmralign.studies.judge_ablations.judge import Judge, open_judge
from hmralign.studies.judge_ablations.report import study_document, study_markdown
from hmralign.studies.judge_ablations.settings import Arm, StudyConfig
from hmralign.studies.judge_ablations.study import Study
from hmralign.vlm.journal import Journal

JSON, MARKDOWN = "gpa_ablations.json", "gpa_ablations.md"


def run_ablations(
    config: StudyConfig, out: Path, judge: Judge | None = None, *, introduction: str = ""
) -> dict[str, Any]:
    """All arms, one after the other; continues a study in the same folder. Gives the document of the report.

    `judge` is asked instead of the configuration's; `introduction` is put into the Markdown. Raises InputError for
    stores that do not go together, another process in the folder, and as the steps do; BudgetError and ServerError
    where they end it, and what is done stays.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock", timeout=0)
    try:
        with lock, Journal.open(out / "journal.sqlite") as journal:
            document = json.loads(json.dumps(_document(config, out, judge, journal), allow_nan=False))
    except Timeout as error:
        raise InputError(f"{out}: another process is at this study; wait for it or stop it") from error
    write_whole(out / JSON, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    write_whole(out / MARKDOWN, study_markdown(document, introduction).encode())
    return document


def _document(config: StudyConfig, out: Path, judge: Judge | None, journal: Journal) -> dict[str, Any]:
    if not any(arm.asks for arm in config.arms):
        judge = None
    elif judge is None:
        judge = open_judge(config.judge)
    study = Study(config, out, judge, journal)
    base = study.run(Arm("base", method="none"))
    results = [study.run(arm) for arm in config.arms]
    return study_document(study, results, base)
