"""All evaluations of a study as CSV or JSON."""

import csv
import json
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from crayai.hpo.records import Completed, Failed
from crayai.hpo.store.query import StoredEvaluation

_COLUMNS = (
    "number",
    "generation",
    "deme",
    "parents",
    "attempt",
    "fom",
    "failure",
    "asked_at",
    "launched_at",
    "told_at",
)


def export_csv(evaluations: Iterable[StoredEvaluation], flags: Sequence[str], sign: int, file: TextIO) -> None:
    """Write a line an evaluation; hyperparameters are the last columns, empty where inactive."""
    writer = csv.writer(file)
    writer.writerow([*_COLUMNS, *flags])
    for evaluation in evaluations:
        facts = _facts(evaluation, sign)
        facts["parents"] = " ".join(map(str, evaluation.parents))
        writer.writerow([*(facts[name] for name in _COLUMNS), *(evaluation.values.get(flag) for flag in flags)])


def export_json(evaluations: Iterable[StoredEvaluation], settings: dict[str, Any], sign: int, file: TextIO) -> None:
    """Write the settings and a list of evaluations."""
    rows = [{**_facts(evaluation, sign), "values": dict(evaluation.values)} for evaluation in evaluations]
    json.dump({"settings": settings, "evaluations": rows}, file, indent=1, ensure_ascii=False)
    file.write("\n")


def _facts(evaluation: StoredEvaluation, sign: int) -> dict[str, Any]:
    outcome = evaluation.outcome
    return {
        "number": evaluation.number,
        "generation": evaluation.generation,
        "deme": evaluation.deme,
        "parents": list(evaluation.parents),
        "attempt": evaluation.attempt,
        "fom": sign * outcome.loss if isinstance(outcome, Completed) else None,
        "failure": f"{outcome.cause}: {outcome.detail}" if isinstance(outcome, Failed) else None,
        "asked_at": evaluation.asked_at,
        "launched_at": evaluation.launched_at,
        "told_at": evaluation.told_at,
    }
