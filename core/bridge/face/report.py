"""Report pages of results, and the state of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.pipeline.jobs.doctor import Check


def write_report(results: str | Path | Sequence[str | Path], *, out: str | Path | None = None) -> Path:
    """Make one self-contained HTML page of results, which needs no network and no scripts.

    Args:
        results: Folders of runs and sweeps, and JSON files of audits, steering and readings; one or several.
        out: File to write; default: `report.html` in the only folder. Overwrites a report, but no other file.

    Returns:
        The file.

    Raises:
        bridge.errors.UsageError: If `out` is missing without exactly one folder, or is a file but no report.
        bridge.errors.BridgeError: If an input is damaged, or is no result of a command.
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
    """Check libraries, devices, folders and plugins, and optionally a model.

    Args:
        model: A reference, or empty for none: the model is loaded and checked, and its perplexity is measured on plain
            English or on its own corpus.

    Returns:
        One check per item: whether it passed (`ok`), the observation (`detail`), and the remedy (`remedy`).
    """
    from bridge.pipeline.jobs.doctor import examine

    return examine(model)
