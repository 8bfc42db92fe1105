"""The check of a source of activations other than the loaded model: what it gives is what transformers gives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bridge.collect.activations import ActivationSource
from bridge.collect.batches import pad
from bridge.collect.memory import forget_models
from bridge.errors import ModelError, PluginError
from bridge.models import LoadedModel
from bridge.models.fingerprint import ROUNDING
from bridge.models.perplexity import TOKENS, Perplexity, of_losses, paragraph
from bridge.pipeline.plan.groups import ModelOptions
from bridge.pipeline.plan.placement import placement_of
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.self_check import (
    FINGERPRINT,
    SMALL,
    Record,
    checked,
    keep,
    keep_everywhere,
    load_checked,
    need_trained,
    record_of,
    stored,
    training_domain,
)
from bridge.pipeline.plan.single import Side
from bridge.references import Site
from bridge.sources import PredictsText

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 64
"""Number of tokens of the text whose activations are compared."""

WORST = 5
"""A single token may differ by this many times the bound for the median of tokens."""


@contextlib.contextmanager
def open_checked(
    side: Side, sites: Sequence[Site], models: ModelOptions, runtime: Runtime
) -> Iterator[ActivationSource]:
    """Open a model's source of activations and check it.

    A loaded model is checked as `load_checked` does. Another source must give the activations that transformers gives
    for a short text, if the model is small enough to be loaded for that or the user asks, and later those of the first
    time. Its predictions, if it gives any, must be those of a trained model.

    Args:
        side: The model.
        sites: The sites that will be read.
        models: Device and dtype options.
        runtime: The store, and progress for notes.

    Raises:
        ModelError: If activations differ, or the model is not trained.
        PluginError: If the source does not say what decides its bits.
    """
    backend, placement = side.activations, placement_of(models)
    assert backend is not None  # sides of plans have one
    new = [site for site in sites if stored(record_of(side, models, side.source, str(site))) is None]
    # Before the source is opened, because two models may not fit into memory together.
    expected = _by_transformers(side, new, models, runtime) if new and side.source else {}
    with backend.open(side.checkpoint, sites, placement) as source:
        if isinstance(source, LoadedModel):
            yield checked(source, side, models, runtime)
            return
        if not side.source:
            raise PluginError(
                f"The source of activations {backend.name} does not say what decides its bits.",
                cause="Its identity is empty, so its activations could not be told from those of transformers.",
                remedy="Return its version from ActivationBackend.identity.",
            )
        for site in sites:
            _check_site(source, site, expected, side, models, runtime)
        _check_predictions(source, side, models, runtime)
        yield source


def comparison(side: Side, site: Site, models: ModelOptions) -> str:
    """Return how a source's activations at a site compare with those of transformers; empty if it is transformers."""
    record = stored(record_of(side, models, side.source, str(site))) if side.source else None
    return record.compared if record else ""


def _check_site(
    source: ActivationSource,
    site: Site,
    expected: dict[Site, Tensor],
    side: Side,
    models: ModelOptions,
    runtime: Runtime,
) -> None:
    artifact = record_of(side, models, side.source, str(site))
    if str(artifact.path) in runtime.checked:
        return
    found = _of_text(source, side, [site])[site]
    if (record := stored(artifact)) is not None:
        _hold_to(found, artifact.read(0)[FINGERPRINT], "before", site, side, models)
    else:
        said = "not compared with transformers: the model is large, or its weights are not here"
        if expected:
            off = _hold_to(found, expected[site], "from transformers", site, side, models)
            _need_nearest(found, expected, site, side)
            said = f"differs from transformers by {off:.2g} (median over {len(found)} tokens of a text, relative)"
        record = Record(measured=None, compared=said)
        keep(artifact, found, record)
    runtime.progress.note(f"{side.model.label(site)} from {side.source['source']}: {record.compared}.")
    runtime.checked.add(str(artifact.path))


def _check_predictions(source: ActivationSource, side: Side, models: ModelOptions, runtime: Runtime) -> None:
    import torch

    artifact = record_of(side, models, side.source)
    if (record := stored(artifact)) is None:
        measured = _perplexity(source, side, runtime) if isinstance(source, PredictsText) else None
        record = Record(measured=measured)
        keep(artifact, torch.zeros(1), record)
        keep_everywhere(side, models, torch.zeros(1), record, side.source)
        said = measured.sentence() if measured else "gives no predictions, so whether it is trained was not tested"
        runtime.progress.note(f"{side.model.name} from {side.source['source']}: {said}.")
    need_trained(side, record, models)


def _perplexity(source: PredictsText, side: Side, runtime: Runtime) -> Perplexity | None:
    documents, name = training_domain(side, runtime)
    most = min(TOKENS, side.model.info.max_tokens or TOKENS)
    encoded = [one.ids for one in side.tokenizer.encode(documents, most) if len(one.ids) > 1]
    return of_losses(np.concatenate(source.losses(encoded)), source.vocabulary, name) if encoded else None


def _by_transformers(side: Side, sites: Sequence[Site], models: ModelOptions, runtime: Runtime) -> dict[Site, Tensor]:
    """Return activations of the loaded model at sites and at their neighbours; empty if it is not to be loaded."""
    model = side.model
    assert side.activations is not None
    count = model.adapter.parameters(model.weights) if model.weights.are_here() else None
    if not side.activations.compares and (count is None or count > SMALL):
        return {}
    runtime.progress.note(f"Loading {model.name} with transformers, to compare activations.")
    loaded = load_checked(side, models, runtime)
    near = {Site(site.layer + step, site.point) for site in sites for step in (-1, 0, 1) if step == 0 or _moves(site)}
    there = sorted((site for site in near if site.layer < model.info.n_layers), key=lambda site: site.order)
    found = _of_text(loaded, side, [site for site in there if site.layer >= 0 or site in sites])
    del loaded
    forget_models()
    return found


def _moves(site: Site) -> bool:
    """Tell whether other blocks have the same point."""
    return not site.is_module and site.layer >= 0


def _of_text(source: ActivationSource, side: Side, sites: Sequence[Site]) -> dict[Site, Tensor]:
    """Run a short text; return the activations of each site, (tokens, d_model) float32."""
    most = min(LONGEST, side.model.info.max_tokens or LONGEST)
    (encoded,) = side.tokenizer.encode([paragraph()], most)
    ids, mask = pad([encoded.ids])
    outputs = source.activations(ids, mask, list(sites))
    return {site: output[0].float().cpu() for site, output in zip(sites, outputs, strict=True)}


def _errors(found: Tensor, expected: Tensor) -> Tensor:
    """Return the distance of each row, relative to the length of the expected row, (tokens,)."""
    import torch

    norm = torch.linalg.vector_norm
    off: Tensor = norm(found - expected, dim=1) / norm(expected, dim=1).clamp_min(1e-30)
    return off


def _hold_to(found: Tensor, expected: Tensor, than: str, site: Site, side: Side, models: ModelOptions) -> float:
    """Refuse activations that differ by more than rounding; return the median of the differences."""
    bound = ROUNDING[placement_of(models).dtype]
    off = _errors(found, expected) if found.shape == expected.shape else None
    median = float(off.median()) if off is not None else float("inf")
    if off is not None and median <= bound and float(off.max()) <= WORST * bound:
        return median
    raise ModelError(
        f"The source {side.source['source']} gives other activations of {side.model.label(site)} than {than}: "
        + (
            f"they differ by {median:.2g} in the median token and {float(off.max()):.2g} in the worst one, relative to "
            f"their length; {bound:g} is rounding."
            if off is not None
            else f"shape {tuple(found.shape)}, not {tuple(expected.shape)}."
        ),
        cause="It read another layer or other weights, dropped or added tokens, or computes the model differently.",
        remedy="Use transformers for this model (leave --src-activations and --dst-activations out), and report this.",
    )


def _need_nearest(found: Tensor, expected: dict[Site, Tensor], site: Site, side: Side) -> None:
    """Refuse activations that are nearer to those of a neighbouring block, where rounding would hide the difference."""
    distances = {other: float(_errors(found, rows).median()) for other, rows in expected.items()}
    near = [other for other in distances if other.point == site.point and abs(other.layer - site.layer) == 1]
    closer = [other for other in near if distances[other] < distances[site]]
    if closer:
        raise ModelError(
            f"The source {side.source['source']} gives activations for {side.model.label(site)} that are those of "
            f"{closer[0]}: they differ by {distances[closer[0]]:.2g} there and by {distances[site]:.2g} here.",
            cause="It counts blocks differently.",
            remedy="Use transformers for this model, and report this.",
        )
