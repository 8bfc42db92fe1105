"""Gemma Scope 2's folders: JumpReLU dictionaries of Gemma 3 in `params.safetensors`, with `config.json`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np

from bridge.dictionaries import Dictionary, DictionaryFormat, JumpReLU, Origin
from bridge.directions import read_arrays, write_arrays
from bridge.errors import BridgeError
from bridge.hookspecs import hookimpl
from bridge_dictionaries.files import Config, Weights, assemble, write_json

_FILE, _CONFIG = "params.safetensors", "config.json"
_LAYER = re.compile(r"layer_(\d+)(?!\d|_\d)")
_LAYER_OF_SITE = re.compile(r"^blocks\.(\d+)\.hook_resid_post$")
_HOOK = re.compile(r"model\.layers\.(\d+)\.(.+)")
_POINTS = {"resid_post": "hook_resid_post", "attn_out": "hook_attn_out", "mlp_out": "hook_mlp_out"}
_REPOSITORY = re.compile(r"gemma-scope-2-(?P<size>\d+[mb])-(?P<tuning>pt|it)")
_OTHERS = ("transcoder", "crosscoder", "clt")


@final
class GemmaScope2(DictionaryFormat):
    """x w_enc + b_enc without subtracting b_dec, then JumpReLU.

    `layer_L` is the output of block L, `hidden_states[L + 1]`: the site `L`.
    """

    name = "gemma_scope_2"
    summary = "Gemma Scope 2's params.safetensors."

    def recognises(self, path: Path) -> bool:
        """Look for params.safetensors."""
        return _file(path).name == _FILE and _file(path).is_file()

    def load(self, path: Path) -> Dictionary:
        """Read params.safetensors, or a folder with it; `config.json` and the path contain layer and model."""
        file = _file(path)
        weights = Weights(file, read_arrays(file))
        config = Config.read(file.with_name(_CONFIG)) if file.with_name(_CONFIG).is_file() else None
        origin = _origin(file, config)
        _refuse_others(file, config, weights)
        return assemble(
            file,
            weights("w_enc", 2),
            weights("b_enc"),
            weights("w_dec", 2),
            weights("b_dec"),
            JumpReLU(weights("threshold")),
            None,
            origin,
        )

    def example(self, path: Path, like: Dictionary) -> Path:
        """Write params.safetensors, and a config.json that names model and layer."""
        features, d_model = like.directions.shape
        arrays = {
            "w_enc": np.ascontiguousarray(like.directions.T),
            "w_dec": like.directions,
            "b_enc": np.zeros(features, np.float32),
            "b_dec": np.zeros(d_model, np.float32),
            "threshold": np.zeros(features, np.float32),
        }
        write_arrays(path / _FILE, arrays, {"format": "pt"})
        layer = _LAYER_OF_SITE.search(like.origin.site)
        hook = {"hf_hook_point_in": f"model.layers.{layer[1]}.output"} if layer else {}
        # Names are read as Google's.
        named = {"model_name": like.origin.model} if like.origin.model.startswith("google/") else {}
        write_json(path / _CONFIG, {"architecture": "jump_relu", "type": "sae", **hook, **named})
        return path


def _file(path: Path) -> Path:
    return path / _FILE if path.is_dir() else path


def _refuse_others(file: Path, config: Config | None, weights: Weights) -> None:
    parts = " ".join(file.absolute().parts[-5:-1])
    kind = (config.get("type", str) if config else None) or ""
    named = next((word for word in _OTHERS if word in kind or word in parts), "")
    crossing = config and config.get("hf_hook_point_out", str) not in (None, config.get("hf_hook_point_in", str))
    if named or crossing or "affine_skip_connection" in weights.arrays:
        raise BridgeError(
            f"{file} is a {named or 'transcoder'}, not an autoencoder: its output is not at the site of its input.",
            remedy="Use one of the resid_post, attn_out or mlp_out dictionaries.",
        )
    if config and (architecture := config.get("architecture", str)) not in (None, "jump_relu", "jumprelu"):
        raise BridgeError(f"{config.path} asks for the architecture {architecture!r}; only jump_relu is supported.")


def _origin(file: Path, config: Config | None) -> Origin:
    parts = file.absolute().parts
    layers = [match[1] for part in parts[:-1] if (match := _LAYER.match(part))]
    point = next((hook for name, hook in _POINTS.items() for part in parts[-4:-1] if part.startswith(name)), "")
    said = _HOOK.fullmatch((config.get("hf_hook_point_in", str) if config else None) or "")
    if said and layers and said[1] != layers[-1]:
        raise BridgeError(
            f"{file} is in a folder of layer {layers[-1]}, but its {_CONFIG} has layer {said[0]}.",
            cause="Files of two dictionaries were mixed.",
        )
    layer = said[1] if said else layers[-1] if layers else ""
    if said and said[2] == "output":
        point = "hook_resid_post"
    return Origin(
        model=_model(file, config),
        site=f"blocks.{layer}.{point}" if layer and point else "",
        prepends_bos=True,
    )


def _model(file: Path, config: Config | None) -> str:
    """Return the hub's name; the files have `gemma-v3-1b-pt`, and the hub's 270M model has no `-pt`."""
    found = [match for part in file.absolute().parts if (match := _REPOSITORY.search(part))]
    named = f"gemma-3-{found[-1]['size']}-{found[-1]['tuning']}" if found else ""
    said = (config.get("model_name", str) if config else None) or named
    if not said:
        return ""
    model = said.removeprefix("google/").replace("-v3", "-3")
    return "google/" + (model.removesuffix("-pt") if "270m" in model else model)


@hookimpl
def register_dictionary_formats(register: Callable[[DictionaryFormat], None]) -> None:
    """Register Gemma Scope 2's format."""
    register(GemmaScope2())
