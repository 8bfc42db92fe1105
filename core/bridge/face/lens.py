"""Fit lenses, and put lenses of disjoint texts together."""

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
        model: Whose lens it is, as in `smollm2-135m`.
        layers: As `3,7,11` or `0-11:4`; `all` for every block but the last.
        kind: Kind of verbalizer that reads the lens, with its options; by default the only installed one.
        out: File to write; a fit that was interrupted is continued. By default where the kind finds it again.
        prompts: Fit on the first so many texts that are long enough.
        part: Fit on every N-th of these texts only, as `2/8`; `merge_lenses` puts the parts together.
        memory: Bound on what is held beside the model while gradients are taken, in GB.
        progress: Is told of every stage.
        options: See `bridge.Keywords`: `corpus`, `max_documents`, `device`, `dtype`, ...; `max_tokens` is 128 and
            `skip` 16 where they are not given.

    Returns:
        Where it lies (`file`), and what it is and was made of.

    Raises:
        bridge.errors.UsageError: If the file is there already, a layer or option is wrong, or the model is an encoder.
        bridge.errors.BridgeError: If the model or the corpus cannot be had.
    """
    from bridge.pipeline.jobs.lens import fit_lens as fit
    from bridge.pipeline.plan.options import make_options

    how = {"prompts": prompts, "part": part, "memory": memory}
    how |= {name: options.pop(name) for name in ("max_tokens", "skip") if name in options}
    given = make_options(src=model, **options)
    return fit(given, layers, how, kind, None if out is None else Path(out), progress)


def merge_lenses(parts: Sequence[str | Path], out: str | Path, *, kind: str = "") -> dict[str, Any]:
    """Put lenses of one model that were fitted on disjoint texts together, as if they had been fitted at once.

    Args:
        parts: Files that `fit_lens` wrote, two at least.
        out: The file to write.
        kind: As for `fit_lens`.

    Returns:
        Where it lies (`file`), and what it is and was made of.

    Raises:
        bridge.errors.UsageError: If fewer than two are given, or the file is there already.
        bridge.errors.BridgeError: If they are of different models, layers or recipes, or share a text.
    """
    from bridge.pipeline.jobs.lens import merge_lenses as merge

    return merge([Path(part) for part in parts], Path(out), kind)
