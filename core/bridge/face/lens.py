"""Fit lenses, and merge lenses of disjoint texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

if TYPE_CHECKING:
    from bridge.keywords import Keywords
    from bridge.progress import Progress


def fit_lens(
    model: str,
    *,
    layers: str = "all",
    kind: str = "",
    out: str | Path | None = None,
    prompts: int = 100,
    part: str = "1/1",
    memory: float = 2.0,
    progress: Progress | None = None,
    **options: Unpack[Keywords],
) -> dict[str, Any]:
    """Fit a lens of a model at several layers, from the model itself and plain text.

    Args:
        model: Model of the lens, as in `smollm2-135m`.
        layers: As `3,7,11` or `0-11:4`; `all` for every block but the last.
        kind: Kind of verbalizer that reads the lens, with its options; default: the only installed one.
        out: File to write; an interrupted fit is continued. Default: the file where the kind looks for the lens.
        prompts: Number of texts to fit on: the first ones that are long enough.
        part: Fit only on every N-th of these texts, as `2/8`; `merge_lenses` merges the parts.
        memory: Maximal memory besides the model while gradients are computed, in GB.
        progress: Receives every stage.
        options: See `bridge.Keywords`: `corpus`, `max_documents`, `device`, `dtype`, ...; `max_tokens` is 128 and
            `skip` 16 if they are not given.

    Returns:
        The file (`file`), and the description and provenance of the lens.

    Raises:
        bridge.errors.UsageError: If the file exists, a layer or option is wrong, or the model is an encoder.
        bridge.errors.BridgeError: If the model or the corpus cannot be obtained.
    """
    from bridge.pipeline.jobs.lens import fit_lens as fit
    from bridge.pipeline.plan.options import make_options

    how = {"prompts": prompts, "part": part, "memory": memory}
    how |= {name: options.pop(name) for name in ("max_tokens", "skip") if name in options}
    given = make_options(src=model, **options)
    return fit(given, layers, how, kind, None if out is None else Path(out), progress)


def merge_lenses(parts: Sequence[str | Path], out: str | Path, *, kind: str = "") -> dict[str, Any]:
    """Merge lenses of one model that were fitted on disjoint texts; the result equals one fit on all texts.

    Args:
        parts: Files that `fit_lens` wrote, at least two.
        out: The file to write.
        kind: As for `fit_lens`.

    Returns:
        The file (`file`), and the description and provenance of the lens.

    Raises:
        bridge.errors.UsageError: If fewer than two files are given, or `out` exists.
        bridge.errors.BridgeError: If the parts have different models, layers or recipes, or share a text.
    """
    from bridge.pipeline.jobs.lens import merge_lenses as merge

    return merge([Path(part) for part in parts], Path(out), kind)
