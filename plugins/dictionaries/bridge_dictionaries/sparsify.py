"""EleutherAI sparsify's checkpoints: TopK dictionaries in cfg.json and sae.safetensors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np

from bridge.dictionaries import Dictionary, DictionaryFormat, Origin, TopK
from bridge.directions import read_arrays, write_arrays
from bridge.errors import BridgeError
from bridge.hookspecs import hookimpl
from bridge_dictionaries.files import Config, Weights, assemble, refuse_unknown, write_json

_CONFIG, _WEIGHTS = "cfg.json", "sae.safetensors"
_HOOKPOINT = re.compile(r"(?:\w+\.)*(?:layers|h|blocks)\.\d+(?:\.\w+)*")
# `multi_topk` is not included: it is a training loss and does not change the dictionary.
_KNOWN = ("activation", "d_in", "expansion_factor", "k", "multi_topk", "normalize_decoder", "num_latents")
_REFUSED = {
    "signed": "keeps the entries of largest absolute value, including negative ones",
    "transcode": "is a transcoder: it predicts a module's output, not its own input",
    "skip_connection": "adds a linear map of the input to its output",
}
# Its `encode` keeps k features; its `forward` returns a reconstruction from 4 k features, for a training loss.
_MULTI = (
    "It was trained with multi_topk. It is read like sparsify's encode and decode, with k = {k}; the sae_out of "
    "sparsify's forward uses {more} features and explains more."
)


@final
class Sparsify(DictionaryFormat):
    """TopK of (x - b_dec) encoder^T + bias; W_dec has one row per feature, as in sparsify."""

    name = "sparsify"
    summary = "Folders written by EleutherAI sparsify."

    def recognises(self, path: Path) -> bool:
        """Look for cfg.json and sae.safetensors."""
        return (path / _CONFIG).is_file() and (path / _WEIGHTS).is_file()

    def load(self, path: Path) -> Dictionary:
        """Read a folder; its name is the site (`layers.20`)."""
        config = Config.read(path / _CONFIG)
        for option, meaning in _REFUSED.items():
            if config.get(option, bool):
                raise BridgeError(f"{config.path} has {option}: the dictionary {meaning}, which is not supported.")
        refuse_unknown(config, (*_KNOWN, *_REFUSED))
        if (kind := config.get("activation", str)) not in (None, "topk"):
            raise BridgeError(f"{config.path} asks for the activation {kind!r}; only topk is supported.")
        file = path / _WEIGHTS
        weights = Weights(file, read_arrays(file))
        if "W_skip" in weights.arrays:
            raise BridgeError(f"{file} holds W_skip: the dictionary {_REFUSED['skip_connection']}, not supported.")
        hookpoint = path.absolute().name
        bias, k = weights("b_dec"), config.positive("k")
        notes = (_MULTI.format(k=k, more=4 * k),) if config.get("multi_topk", bool) else ()
        return assemble(
            file,
            weights("encoder.weight", 2).T,
            weights("encoder.bias"),
            weights("W_dec", 2),
            bias,
            TopK(k),
            bias,
            Origin(site=hookpoint if _HOOKPOINT.fullmatch(hookpoint) else "", notes=notes),
        )

    def example(self, path: Path, like: Dictionary) -> Path:
        """Write a TopK dictionary into a folder named by its site."""
        features, d_model = like.directions.shape
        folder = path / (like.origin.site if _HOOKPOINT.fullmatch(like.origin.site) else "example")
        arrays = {
            "encoder.weight": like.directions,
            "encoder.bias": np.zeros(features, np.float32),
            "W_dec": like.directions,
            "b_dec": np.zeros(d_model, np.float32),
        }
        write_arrays(folder / _WEIGHTS, arrays, {"format": "pt"})
        said = {"activation": "topk", "k": min(32, features), "d_in": d_model, "num_latents": features}
        write_json(folder / _CONFIG, said)
        return folder


@hookimpl
def register_dictionary_formats(register: Callable[[DictionaryFormat], None]) -> None:
    """Offer sparsify's."""
    register(Sparsify())
