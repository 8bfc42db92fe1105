"""Pages of what commands left, and the state of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.pipeline.jobs.doctor import Check


def write_report(results: str | Path | Sequence[str | Path], *, out: str | Path | None = None) -> Path:
    """Make one self-contained HTML page of what commands left: no network, no script needed.

    Args:
        results: Folders of runs and sweeps, and JSON files of audits, steering and readings; one, or several.
        out: File to write; by default `report.html` in the one folder. Replaces a report, and nothing else.

    Returns:
        The file.

    Raises:
        bridge.errors.UsageError: If `out` is missing where there is not one folder, or is a file that is no report.
        bridge.errors.BridgeError: If an input is damaged, or is none that commands leave.
    """
    from bridge.errors import UsageError
    from bridge.report.html import REPORT
    from bridge.report.html import write_report as write

    paths = [Path(results)] if isinstance(results, str | Path) else [Path(path) for path in results]
    folders = [path for path in paths if path.is_dir()]
    if out is None and len(folders) != 1:
        raise UsageError("A page of several runs, or of none, has no folder of its own.", remedy="Give --out FILE.")
    return write(paths, Path(out) if out is not None else folders[0] / REPORT)


def doctor(model: str = "") -> list[Check]:
    """Look at libraries, devices, folders and plugins, and at a model.

    Args:
        model: If not empty, a reference: the model is loaded and checked, and its perplexity told, on plain English or
            on its own corpus.

    Returns:
        What was looked at, whether it is well (`ok`), what was seen (`detail`), and what to do if not (`remedy`).
    """
    from bridge.pipeline.jobs.doctor import examine

    return examine(model)
