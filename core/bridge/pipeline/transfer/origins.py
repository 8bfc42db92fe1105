"""Does a dictionary belong to a model? It is held to what its file says: width, site, model, processing of weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from bridge.dictionaries import Dictionary, SparseAutoencoder
from bridge.errors import BridgeError
from bridge.models.resolve import ResolvedModel
from bridge.references import Site, parse_reference, parse_site

SAME = {"gpt2small": "gpt2"}
"""What TransformerLens calls models otherwise than the hub does, normalised; `metallama` is written `llama` too."""

_QUANTISED = re.compile(r"[-_.](i?q\d\w*|b?f(p)?(16|32))$", re.IGNORECASE)


@final
@dataclass(frozen=True)
class Reader:
    """A model and a site, as far as a dictionary is held to them.

    Attributes:
        label: Full reference.
        names: What the model is called: by the user, on the hub, in its own files.
        d_model: Width.
        n_layers: Number of blocks.
        site: Where activations are read.
        layer_norm: Whether its norms take the mean away (LayerNorm) or not (RMSNorm); None if that is not known.
    """

    label: str
    names: tuple[str, ...]
    d_model: int
    n_layers: int
    site: Site
    layer_norm: bool | None = None


def reader_of(model: ResolvedModel, site: Site) -> Reader:
    """Return what is known of a model that was found."""
    config = model.weights.config
    names = [model.name, str(replace(model.reference, site="", revision="")), model.weights.source]
    said = config.get("_name_or_path")
    names += [said] if isinstance(said, str) and said else []
    return Reader(
        model.label(site), tuple(names), model.info.d_model, model.info.n_layers, site, has_layer_norm(config)
    )


def has_layer_norm(config: Any) -> bool | None:
    """Tell from a configuration whether a model's norms take the mean away; None where it does not say."""
    keys = set(config) | set(config.get("text_config") or ())
    if keys & {"rms_norm_eps", "rms_norm"}:
        return False
    return True if keys & {"layer_norm_epsilon", "layer_norm_eps", "layer_norm_elementwise_affine"} else None


def held_to(dictionary: Dictionary, reader: Reader, *, any_model: bool = False) -> Dictionary:
    """Return a dictionary as it reads a model, or refuse it.

    One that was trained on centred weights (TransformerLens' `center_writing_weights`) is translated: the mean over the
    width is taken away before encoding.

    Args:
        dictionary: What was read from a file.
        reader: Whose activations it is to read.
        any_model: Take it though its file names another model.

    Raises:
        BridgeError: If it is of another width, site or model, naming what differs; or cannot be translated.
    """
    width, origin = dictionary.directions.shape[1], dictionary.origin
    if width != reader.d_model:
        raise BridgeError(
            f"The dictionary is {width} wide, and {reader.label} is {reader.d_model} wide.",
            cause="It was trained on another model.",
        )
    if origin.site and parse_site(origin.site, reader.n_layers) != reader.site:
        raise BridgeError(
            f"The dictionary says that it belongs at {origin.site}, and the reference is {reader.label}.",
            remedy=f"Refer to {origin.site}, or give the dictionary of {reader.site}.",
        )
    if origin.model and not is_named(origin.model, reader.names):
        if not any_model:
            raise BridgeError(
                f"The dictionary says that it was trained on {origin.model}, and the reference is {reader.label}.",
                cause="It is of another model of this width, of a fine-tuned one, or of the same under another name.",
                remedy="Give the dictionary of this model; or, if it is meant to be used here, say --allow-other-model "
                "(allow_other_model=True).",
            )
        noted = f"Its file names {origin.model} as its model; it is used on {reader.label}, as was allowed."
        dictionary = _with(dictionary, notes=(*origin.notes, noted))
    return _uncentred(dictionary, reader) if origin.centred else dictionary


def is_named(declared: str, names: Iterable[str]) -> bool:
    """Tell whether a model's name as a dictionary's authors wrote it is one of a model's own names.

    Users, cases, punctuation, extensions and marks of quantisation do not count: `google/gemma-2-2b` is `gemma2-2b`.
    """
    return _plain(declared) in {_plain(name) for name in names}


def _plain(name: str) -> str:
    last = name.partition("#")[0].rstrip("/").rsplit("/", 1)[-1]
    last = _QUANTISED.sub("", last[:-5] if last.endswith(".gguf") else last)
    plain = re.sub(r"[^a-z0-9]", "", last.lower()).replace("metallama", "llama")
    return SAME.get(plain, plain)


def _uncentred(dictionary: Dictionary, reader: Reader) -> Dictionary:
    if reader.layer_norm is False:
        noted = "Its file asks for centred weights, which TransformerLens does not make of a model with RMSNorm."
        return _with(dictionary, notes=(*dictionary.origin.notes, noted))
    if reader.layer_norm is None or not isinstance(dictionary, SparseAutoencoder):
        raise BridgeError(
            f"The dictionary was trained on centred weights (center_writing_weights), and whether {reader.label} can "
            "be read so is not known.",
            cause="Only a model with LayerNorm is the same function with its writing weights centred; its config.json "
            "does not say that it has one, or is not on this machine.",
            remedy="Give a dictionary that was trained on the model's own weights (center_writing_weights = false).",
        )
    noted = (
        "It was trained on centred weights (center_writing_weights): the mean over the width is taken from activations "
        "before encoding, and is not reconstructed. LayerNorm takes it away in any case; explained variance counts it."
    )
    return _with(dictionary.reading_uncentred(), notes=(*dictionary.origin.notes, noted))


def _with(dictionary: Dictionary, **changes: Any) -> Dictionary:
    dictionary.origin = replace(dictionary.origin, **changes)
    return dictionary


def reader_of_side(side: dict[str, Any], label: str, d_model: int) -> Reader:
    """Return what a bridge's provenance says of one of its models, which need not be on this machine.

    Args:
        side: `src` or `dst` of the provenance.
        label: The bridge's full reference of it.
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
