"""Fit a bridge, with or without scores, and compare layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

if TYPE_CHECKING:
    from bridge.keywords import Keywords
    from bridge.pipeline.fit.bridge import Bridge
    from bridge.pipeline.jobs.run import Run
    from bridge.pipeline.jobs.sweep import Sweep


def fit(src: str, dst: str, *, out: str | Path | None = None, **options: Unpack[Keywords]) -> Bridge:
    """Fit a bridge between two models.

    Args:
        src: Source model and layer, as in `smollm2-135m@19`.
        dst: Destination model and layer.
        out: Folder to save the bridge to, with the options to fit it again; None to write nothing.
        options: See `bridge.Keywords`: `corpus`, `map`, `max_documents`, ...

    Returns:
        The bridge; it is not scored (see `run`).

    Raises:
        bridge.errors.BridgeError: If an input, a model or a fit fails; the message gives cause and remedy.
    """
    from bridge.face.explain import explaining
    from bridge.pipeline.jobs.run import fit as fit_options
    from bridge.pipeline.plan.options import make_options

    return explaining(fit_options(make_options(src=src, dst=dst, **options), None if out is None else Path(out)))


def run(src: str, dst: str, *, out: str | Path | None = None, **options: Unpack[Keywords]) -> Run:
    """Fit a bridge and score it against its controls on held-out documents.

    Args:
        src: Source model and layer.
        dst: Destination model and layer.
        out: Folder to write to, with `report.html`; None to write nothing.
        options: As for `fit`.

    Returns:
        The bridge and its metrics.

    Raises:
        bridge.errors.BridgeError: If an input, a model or a fit fails; the message gives cause and remedy.
    """
    from bridge.face.explain import explaining
    from bridge.pipeline.jobs.run import run as run_options
    from bridge.pipeline.plan.options import make_options
    from bridge.report.html import REPORT, need_ours, write_report

    folder = None if out is None else Path(out)
    if folder is not None:
        need_ours(folder / REPORT)
    result = run_options(make_options(src=src, dst=dst, **options), folder)
    if folder is not None:
        write_report([folder], folder / REPORT)
    return replace(result, bridge=explaining(result.bridge))


def dry_run(src: str, dst: str, **options: Unpack[Keywords]) -> dict[str, Any]:
    """Report what `run` would fetch, load and cost, and its problems; load small models that are on this machine.

    Args:
        src: Source model and layer.
        dst: Destination model and layer.
        options: As for `fit`.

    Returns:
        `models`, `verbalizers`, `dictionary`, `corpus` and `estimates` (hours and GiB, orders of magnitude), and
        `problems`, a list that is empty if `run` can start.

    Raises:
        bridge.errors.UsageError: If an option is unknown or has an invalid value.
    """
    from bridge.pipeline.jobs.dry_run import dry_run as dry_run_options
    from bridge.pipeline.plan.options import make_options
    from bridge.pipeline.plan.runtime import open_runtime

    return dry_run_options(make_options(src=src, dst=dst, **options), open_runtime())


def sweep(src: str, dst: str, *, out: str | Path | None = None, **options: Unpack[Keywords]) -> Sweep:
    """Score every layer of `src` against every layer of `dst` on validation documents.

    Args:
        src: Source model and layers, as in `smollm2-135m@*` or `smollm2-135m@3,9,15`.
        dst: Destination model and layers.
        out: Folder to write to: `metrics.json`, `sweep.toml`, `sweep.png` and `report.html`; None to write nothing.
        options: As for `fit`.

    Returns:
        EV and retrieval of every layer pair.

    Raises:
        bridge.errors.BridgeError: If an input, a model or a fit fails; the message gives cause and remedy.
    """
    from bridge.pipeline.jobs.sweep import sweep as sweep_options
    from bridge.pipeline.plan.options import make_options
    from bridge.report.heatmap import write_sweep
    from bridge.report.html import REPORT, need_ours, write_report

    if out is None:
        return sweep_options(make_options(src=src, dst=dst, **options))
    folder = Path(out)
    need_ours(folder / REPORT)
    result = sweep_options(make_options(src=src, dst=dst, **options), out=folder)
    write_sweep(result, folder)
    write_report([folder], folder / REPORT)
    return result


def load(folder: str | Path) -> Bridge:
    """Read a bridge that `Bridge.save` or `bridge run` wrote.

    Args:
        folder: Folder with `bridge.json` and `bridge.safetensors`.

    Returns:
        The bridge.

    Raises:
        bridge.errors.BridgeError: If the bridge is missing, damaged, or from a newer version.
    """
    from bridge.face.explain import explaining
    from bridge.pipeline.fit.bridge import load_bridge

    return explaining(load_bridge(folder))
