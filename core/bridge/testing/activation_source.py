"""The laws of sources of activations."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.collect.batches import pad
from bridge.corpus.documents import Document
from bridge.models import LoadedModel, Placement
from bridge.references import Site
from bridge.sources import ActivationBackend, ActivationSource, Checkpoint, PredictsText
from bridge.testing.laws import Laws

if TYPE_CHECKING:
    from bridge.pairing.align import Encoded

TEXTS = (
    "The map between the models is a rotation, and each block reads the residual stream.",
    "One.",
    "Zażółć gęślą jaźń: 你好, мир! 🙂 naïve café.",
)
MAX_TOKENS = 32
TOLERANCE = 1e-4
"""Float32: kernels of other programs sum in another order."""

Rows = dict[Site, NDArray[np.float32]]


def check_activation_source(backend: ActivationBackend, model: Checkpoint) -> None:
    """Test the laws of `bridge.sources.ActivationBackend` on one model, against transformers, in float32 on the CPU.

    Three texts of different lengths and scripts are read at the first, the middle and the last block.

    Args:
        backend: An instance of the class that the plugin registers, with the options to test.
        model: A small checkpoint on this machine that the source serves.

    Raises:
        ConformanceError: If a law is broken.
        BridgeError: If the source does not serve the model, or needs something that is not installed.
    """
    laws = Laws(f"The source of activations {backend.name}", "bridge.sources.ActivationBackend")
    _check_options(laws, type(backend))
    depth = model.info.n_layers
    sites = [Site(layer) for layer in sorted({0, depth // 2, depth - 1})]
    backend.check(model, sites)
    _check_identity(laws, backend, model)
    placement = Placement("cpu", "float32")
    loaded = model.adapter.load(model.weights, placement)
    encoded = loaded.encode([Document(text, text) for text in TEXTS], MAX_TOKENS)
    expected = _read(loaded, encoded, sites)
    losses = [_losses(loaded, one.ids) for one in encoded] if loaded.causal else []
    with backend.open(model, sites, placement) as source:
        _check_shapes(laws, source, encoded, sites, model.info.d_model)
        together, law = _read(source, encoded, sites), "activations equal those of transformers for every token"
        for text, found, wanted in zip(TEXTS, together, expected, strict=True):
            for site in sites:
                laws.close(law, f"{text!r} at site {site}", found[site], wanted[site], TOLERANCE)
        _check_alone(laws, source, encoded, sites, together)
        if isinstance(source, PredictsText):
            law = "losses equal those of transformers"
            for text, mine, theirs in zip(TEXTS, source.losses([one.ids for one in encoded]), losses, strict=True):
                laws.close(law, repr(text), mine, theirs, 10 * TOLERANCE)


def _check_options(laws: Laws, kind: type[ActivationBackend]) -> None:
    law = "a backend is a frozen dataclass with defaults for all options"
    parameters = vars(kind).get("__dataclass_params__")
    laws.require(parameters is not None and parameters.frozen, law, "the class", "it is not one")
    options: list[dataclasses.Field[Any]] = list(dataclasses.fields(kind))  # type: ignore[arg-type]
    lacking = [
        field.name
        for field in options
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    laws.require(not lacking, law, "no options", f"{', '.join(lacking)} have no default")


def _check_identity(laws: Laws, backend: ActivationBackend, model: Checkpoint) -> None:
    law, found = "identity returns texts by name, and the same ones each time", backend.identity(model)
    whole = isinstance(found, Mapping) and all(isinstance(text, str) for item in found.items() for text in item)
    laws.require(whole, law, model.name, f"it is {found!r}")
    again = json.dumps(dict(backend.identity(model)), sort_keys=True)
    laws.require(json.dumps(dict(found), sort_keys=True) == again, law, model.name, f"first {found}, then {again}")


def _check_shapes(
    laws: Laws, source: ActivationSource, encoded: Sequence[Encoded], sites: Sequence[Site], width: int
) -> None:
    law = "activations are finite (batch, tokens, d_model) for each site, padding included"
    laws.require(source.d_model == width, law, "the open source", f"it declares the width {source.d_model}")
    ids, mask = pad([one.ids for one in encoded])
    outputs = source.activations(ids, mask, sites)
    laws.require(len(outputs) == len(sites), law, f"{len(sites)} sites", f"{len(outputs)} tensors came back")
    for site, output in zip(sites, outputs, strict=True):
        given = f"{len(TEXTS)} texts at site {site}"
        laws.shape(law, given, output.float().cpu().numpy(), (*ids.shape, width), np.float32)


def _check_alone(
    laws: Laws, source: ActivationSource, encoded: Sequence[Encoded], sites: Sequence[Site], together: Sequence[Rows]
) -> None:
    for text, one, rows in zip(TEXTS, encoded, together, strict=True):
        law = "a batch equals each text alone"
        (alone,) = _read(source, [one], sites)
        for site in sites:
            laws.close(law, f"{text!r} at site {site}", alone[site], rows[site], TOLERANCE)
        law = "several sites in one call equal each site alone, in any order"
        for some in ([site] for site in reversed(sites)):
            (found,) = _read(source, [one], some)
            laws.close(law, f"{text!r} at site {some[0]}", found[some[0]], rows[some[0]], TOLERANCE)
        (found,) = _read(source, [one], sites[::-1])
        for site in sites:
            laws.close(law, f"{text!r}, sites in reverse", found[site], rows[site], TOLERANCE)


def _read(source: ActivationSource, encoded: Sequence[Encoded], sites: Sequence[Site]) -> list[Rows]:
    ids, mask = pad([one.ids for one in encoded])
    outputs = dict(zip(sites, source.activations(ids, mask, sites), strict=True))
    return [
        {site: outputs[site][row, : len(one.ids)].float().cpu().numpy() for site in sites}
        for row, one in enumerate(encoded)
    ]


def _losses(loaded: LoadedModel, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    import torch

    batch, mask = pad([ids])
    logits = loaded.logits(batch, mask)[0, :-1].double().cpu()
    losses: NDArray[np.float64] = torch.nn.functional.cross_entropy(logits, batch[0, 1:], reduction="none").numpy()
    return losses
