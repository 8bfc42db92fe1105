"""Measurements that run the models: whether a dictionary works in another model, and whether a vector steers it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

if TYPE_CHECKING:
    from bridge.keywords import Keywords
    from bridge.pipeline.fit.bridge import Bridge
    from bridge.pipeline.jobs.audit import Audit
    from bridge.pipeline.jobs.steer import Steering
    from bridge.progress import Progress

AUDIT_MAP = "procrustes:scaled=false"
"""Default map of an audit: a rotation, which changes no lengths."""


def audit(
    src: str,
    dst: str,
    *,
    sites: str = "",
    dst_dictionary: str = "",
    out: str | Path | None = None,
    **options: Unpack[Keywords],
) -> Audit:
    """Transfer a model's sparse autoencoder to one or more models, and compare every number with its control.

    Args:
        src: Source model, and layer if `sites` names none.
        dst: Destination model; several, as in `dyck:seed1..4`.
        sites: Sites of both models, as `3,6,9`; `all` for every site with a dictionary of the source.
        dst_dictionary: The destination's own dictionary at its site.
        out: File for the result as JSON; None to write nothing.
        options: See `bridge.Keywords`. `dictionary` is the source's: a path, or hub:user/repo/subfolder; default:
            those in the source's folder. The default of `map` is procrustes:scaled=false.

    Returns:
        Every arm's numbers, for each target and site.

    Raises:
        bridge.errors.UsageError: If there is no dictionary, the sites do not match up, or `out` exists.
        bridge.errors.BridgeError: If a model cannot be obtained, or a dictionary does not belong to the site.
    """
    from bridge.face.files import need_free, write_document
    from bridge.pipeline.jobs.audit import audit as audit_options
    from bridge.pipeline.plan.options import make_options
    from bridge.pipeline.transfer.dictionary_sets import Dictionaries

    need_free(out)
    dictionary = os.fspath(options.pop("dictionary", ""))
    given = make_options(**{"src": src, "dst": dst, "map": AUDIT_MAP, **options})
    dictionaries = Dictionaries(dictionary, dst_dictionary, given.dictionary.allow_other_model)
    result = audit_options(given, sites, dictionaries)
    write_document(out, result.document())
    return result


def steer(
    bridge: Bridge | str | Path,
    contrast: str | Path,
    *,
    vector_from: str | Path | None = None,
    doses: Sequence[float] = (0.5, 1.0, 2.0),
    prompts: Sequence[str] = (),
    new_tokens: int = 30,
    max_tokens: int = 256,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    allow_untrained: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Steering:
    """Make a steering vector in the source, transfer it, and steer the destination with it and with its controls.

    Args:
        bridge: The bridge, or its folder.
        contrast: JSON Lines of `{"text": ..., "class": ...}` with two classes: half of the texts make the vector, the
            other half tests it.
        vector_from: A safetensors file of activations at the source's site to make the vector from instead: `rows`
            (n, d_src) float, and `labels` (n,) integers, 0 for the first class and 1 for the second.
        doses: Multiples of the native vector's length.
        prompts: Texts to continue, at the largest dose.
        new_tokens: Maximal number of tokens to add to a prompt.
        max_tokens: Number of tokens after which texts and prompts are cut.
        seed: Seed of the split and the random directions.
        device: cpu, cuda, cuda:N, mps, or auto.
        dtype: bfloat16, float32, or auto: the faster one.
        allow_untrained: Accept a model that predicts text no better than random weights.
        out: File for the result as JSON; None to write nothing.
        progress: Receives every stage.

    Returns:
        Effects by dose and arm, in nats, with 95% intervals over the tested texts; and the generated texts.

    Raises:
        bridge.errors.UsageError: If `out` exists, or a prompt has no tokens.
        bridge.errors.CorpusError: If the contrast is unreadable, or has too few texts.
        bridge.errors.BridgeError: If a model cannot be obtained, or does not tell the two classes apart.

    Source: transfer ratio and regimes as in arXiv 2605.24577.
    """
    from bridge.face.files import need_free, write_document
    from bridge.face.fit import load
    from bridge.models import Placement
    from bridge.pipeline.jobs.steer import steer as steer_by
    from bridge.pipeline.score.steering import Dose
    from bridge.pipeline.transfer.contrast import load_contrast, read_labelled_rows

    need_free(out)
    dose = Dose(tuple(doses), tuple(prompts), new_tokens, max_tokens, Placement(device, dtype), seed, allow_untrained)
    rows = read_labelled_rows(Path(vector_from)) if vector_from is not None else None
    through = load(bridge) if isinstance(bridge, str | Path) else bridge
    result = steer_by(through, load_contrast(Path(contrast), seed), dose, progress, rows)
    write_document(out, result.document())
    return result
