"""Fit a lens of one model at several layers, and merge lenses fitted on disjoint texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from bridge.corpus.split import HELD_OUT
from bridge.errors import UsageError
from bridge.files import need_free
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.plan.self_check import load_checked
from bridge.pipeline.plan.single import prepare_model
from bridge.pipeline.plan.specs import build
from bridge.pipeline.plan.threads import threads_for
from bridge.pipeline.verbalize.find import lens_file
from bridge.progress import Progress
from bridge.references import parse_reference, parse_sites
from bridge.verbalizers import LensRecipe, LensSubject, VerbalizerBackend

ALL = "all"


def fit_lens(
    options: Options,
    layers: str,
    how: Mapping[str, Any],
    kind: str = "",
    out: Path | None = None,
    progress: Progress | None = None,
    stdin: IO[str] | None = None,
) -> dict[str, Any]:
    """Fit a lens on a model's training documents.

    Args:
        options: Model (as `src`), corpus and split.
        layers: Block numbers, as `3,7,11` or `0-11:4`; `all` for every block except the last.
        how: Fields of `LensRecipe` besides the layers.
        kind: Kind of verbalizer that reads the lens; by default the only installed one that fits lenses.
        out: File to write; an interrupted fit is continued. Default: the file that the kind reads for this model.
        progress: Receives every stage.
        stdin: Input for the corpus `-`.

    Returns:
        The path (`file`), and the lens's record.

    Raises:
        UsageError: If the file exists, a layer or option is wrong, or the model is an encoder.
        BridgeError: If the model or the corpus is not available.
    """
    runtime = open_runtime(progress)
    fitter = _fitter(kind, runtime)
    reference = replace(parse_reference(options.models.src), site="*")
    recipe = LensRecipe(layers=(0,), **how)  # checks the options before a model is resolved
    options = options.updated(src=str(reference), max_tokens=recipe.max_tokens, skip=recipe.skip)
    pinned, plan = prepare_model(options, runtime, stdin)
    model, identity = plan.side.model, plan.side.identity
    model.need_next_token()
    recipe = replace(recipe, layers=_layers(layers, model.info.n_layers))
    out = out or lens_file(fitter.name, identity)
    need_free(out)
    documents = [one for one, fold in zip(plan.corpus.documents, plan.folds, strict=True) if fold != HELD_OUT]
    runtime.progress.note(f"Loading {model.name}.")
    loaded = load_checked(plan.side, plan.models, runtime)
    subject = LensSubject(model.name, identity, loaded, documents, plan.corpus.identity)
    with threads_for(loaded.d_model):
        record = fitter.fit_lens(subject, recipe, out, runtime.progress)
    return record | {"file": str(out), "options": pinned.flat()}


def merge_lenses(parts: Sequence[Path], out: Path, kind: str = "", progress: Progress | None = None) -> dict[str, Any]:
    """Merge lenses of one model that were fitted on disjoint texts.

    Args:
        parts: Files that `fit_lens` wrote.
        out: The file to write.
        kind: As for `fit_lens`.
        progress: Receives notes about broken plugins.

    Returns:
        The path (`file`), and the lens's record.

    Raises:
        UsageError: If fewer than two files are given, or the file exists.
        BridgeError: If the lenses have different models, layers or recipes, or share a text.
    """
    if len(parts) < 2:
        raise UsageError("Two lenses at least are put together.", remedy="Name their files, and --out.")
    fitter = _fitter(kind, open_runtime(progress))
    need_free(out)
    return fitter.merge_lenses(parts, out) | {"file": str(out)}


def _fitter(kind: str, runtime: Runtime) -> VerbalizerBackend:
    fitting = [name for name, backend in runtime.registry.verbalizers.items() if backend.fits_lens]
    if not kind and len(fitting) != 1:
        raise UsageError(
            f"{len(fitting) or 'No'} installed kinds of verbalizers fit lenses.",
            remedy=f"Name one: --kind {' or --kind '.join(fitting)}." if fitting else "Install a plugin that does.",
        )
    found = build(kind or fitting[0], runtime.registry.verbalizer)
    if not found.fits_lens:
        raise UsageError(f"The verbalizer {found.name} fits no lens.", remedy=f"These do: {', '.join(fitting)}.")
    return found


def _layers(text: str, n_layers: int) -> tuple[int, ...]:
    if text.strip() == ALL:
        return tuple(range(max(n_layers - 1, 1)))
    sites = parse_sites(text, n_layers)
    if other := [site for site in sites if site.point != "resid_post"]:
        raise UsageError(
            f"A lens is fitted after whole blocks, not at {other[0]}.", remedy=f"Write --layers {other[0].layer}."
        )
    return tuple(site.layer for site in sites)
