"""Check that a dictionary belongs to a model: width, site, model and processing of weights, from its file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

from bridge.dictionaries import Dictionary, SparseAutoencoder
from bridge.errors import BridgeError
from bridge.models.resolve import ResolvedModel
from bridge.references import Site, parse_reference, parse_site

SAME = {"gpt2small": "gpt2"}
"""Normalised TransformerLens model names that differ from the hub's; `metallama` is also written `llama`."""

AFTER_IT = (
    "A module's output equals a point of its block only if it is added to the stream unchanged. In this model a norm "
    "follows, or the layout does not tell."
)

_QUANTISED = re.compile(r"[-_.](i?q\d\w*|b?f(p)?(16|32))$", re.IGNORECASE)


@final
@dataclass(frozen=True)
class Reader:
    """The properties of a model and a site that a dictionary must match.

    Attributes:
        label: Full reference.
        names: Names of the model: the user's, the hub's, and those in its own files.
        d_model: Width.
        n_layers: Number of blocks.
        site: The site.
        layer_norm: Whether its norms subtract the mean (LayerNorm) or not (RMSNorm); None if unknown.
        point_of: Names a module's site by its point, if both are the same place in this model.
    """

    label: str
    names: tuple[str, ...]
    d_model: int
    n_layers: int
    site: Site
    layer_norm: bool | None = None
    point_of: Callable[[Site], Site] = lambda site: site


def reader_of(model: ResolvedModel, site: Site) -> Reader:
    """Return the properties of a resolved model."""
    config = model.weights.config
    names = [model.name, str(replace(model.reference, site="", revision="")), model.weights.source]
    said = config.get("_name_or_path")
    names += [said] if isinstance(said, str) and said else []
    return Reader(
        model.label(site),
        tuple(names),
        model.info.d_model,
        model.info.n_layers,
        site,
        has_layer_norm(config),
        partial(model.adapter.point_of, model.weights),
    )


def has_layer_norm(config: Any) -> bool | None:
    """Tell from a configuration whether a model's norms subtract the mean; None if unknown."""
    keys = set(config) | set(config.get("text_config") or ())
    if keys & {"rms_norm_eps", "rms_norm"}:
        return False
    return True if keys & {"layer_norm_epsilon", "layer_norm_eps", "layer_norm_elementwise_affine"} else None


def held_to(dictionary: Dictionary, reader: Reader, *, any_model: bool = False) -> Dictionary:
    """Return a dictionary, adapted to a model, or refuse it.

    A dictionary that was trained on centred weights (TransformerLens' `center_writing_weights`) is adapted: the mean
    over the width is subtracted before encoding.

    Args:
        dictionary: The dictionary from a file.
        reader: The model and site.
        any_model: Accept a dictionary whose file names another model.

    Raises:
        BridgeError: If the dictionary's width, site or model differs, naming the difference; or if it cannot be
            adapted.
    """
    width, origin = dictionary.directions.shape[1], dictionary.origin
    if width != reader.d_model:
        raise BridgeError(
            f"The dictionary has width {width}, but {reader.label} has width {reader.d_model}.",
            cause="The dictionary was trained on another model.",
        )
    at = parse_site(origin.site, reader.n_layers) if origin.site else reader.site
    if at != reader.site and (at.layer != reader.site.layer or reader.point_of(at) != reader.point_of(reader.site)):
        raise BridgeError(
            f"The dictionary's file names the site {origin.site}, but the reference is {reader.label}.",
            cause=AFTER_IT if at.is_module and at.layer == reader.site.layer else "",
            remedy=f"Refer to {origin.site}, or give the dictionary of {reader.site}.",
        )
    if origin.model and not is_named(origin.model, reader.names):
        if not any_model:
            raise BridgeError(
                f"The dictionary's file names the model {origin.model}, but the reference is {reader.label}.",
                cause="It belongs to another or a fine-tuned model of this width, or the model has another name here.",
                remedy="Give the dictionary of this model; or, to use this dictionary anyway, give --allow-other-model "
                "(allow_other_model=True).",
            )
        noted = f"Its file names the model {origin.model}; it is used on {reader.label}, as --allow-other-model allows."
        dictionary = _with(dictionary, notes=(*origin.notes, noted))
    return _uncentred(dictionary, reader) if origin.centred else dictionary


def is_named(declared: str, names: Iterable[str]) -> bool:
    """Tell whether the model name in a dictionary's file is one of a model's own names.

    The comparison ignores users, case, punctuation, extensions and marks of quantisation: `google/gemma-2-2b` equals
    `gemma2-2b`.
    """
    return _plain(declared) in {_plain(name) for name in names}


def _plain(name: str) -> str:
    last = name.partition("#")[0].rstrip("/").rsplit("/", 1)[-1]
    last = _QUANTISED.sub("", last[:-5] if last.endswith(".gguf") else last)
    plain = re.sub(r"[^a-z0-9]", "", last.lower()).replace("metallama", "llama")
    return SAME.get(plain, plain)


def _uncentred(dictionary: Dictionary, reader: Reader) -> Dictionary:
    if reader.layer_norm is False:
        noted = "Its file asks for centred weights, which TransformerLens does not apply to a model with RMSNorm."
        return _with(dictionary, notes=(*dictionary.origin.notes, noted))
    if reader.layer_norm is None or not isinstance(dictionary, SparseAutoencoder):
        raise BridgeError(
            f"The dictionary was trained on centred weights (center_writing_weights), and the norm of {reader.label} "
            "is unknown.",
            cause="Only a model with LayerNorm computes the same function with centred writing weights; its "
            "config.json does not name the norm, or is not on this machine.",
            remedy="Give a dictionary that was trained on the model's own weights (center_writing_weights = false).",
        )
    noted = (
        "It was trained on centred weights (center_writing_weights): the mean over the width is subtracted from "
        "activations before encoding and is not reconstructed. LayerNorm also removes this mean, but explained "
        "variance counts it."
    )
    return _with(dictionary.reading_uncentred(), notes=(*dictionary.origin.notes, noted))


def _with(dictionary: Dictionary, **changes: Any) -> Dictionary:
    dictionary.origin = replace(dictionary.origin, **changes)
    return dictionary


def reader_of_side(side: dict[str, Any], label: str, d_model: int) -> Reader:
    """Return the properties of one of a bridge's models from its provenance; the model may be missing here.

    Args:
        side: `src` or `dst` of the provenance.
        label: The bridge's full reference of the model.
        d_model: Width.
    """
    n_layers, weights = side["n_layers"], str(side.get("weights", ""))
    names = [str(replace(parse_reference(one), site="", revision="")) for one in (label, side.get("reference")) if one]
    folder = Path(weights) if weights and Path(weights).is_absolute() else None
    config = _config(folder) if folder else {}
    said = config.get("_name_or_path")
    names += [name for name in (weights, said) if isinstance(name, str) and name]
    norm = has_layer_norm(config) if config else None
    return Reader(label, tuple(names), d_model, n_layers, parse_site(side["site"], n_layers), norm)


def _config(folder: Path) -> dict[str, Any]:
    from bridge.models import Weights

    try:
        return dict(Weights(str(folder)).config)
    except BridgeError:  # the model is not needed for this
        return {}
