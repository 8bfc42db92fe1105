"""Gemma Scope's files: JumpReLU dictionaries in `params.npz` (Lieberum et al., arXiv 2408.05147)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np

from bridge.dictionaries import Dictionary, DictionaryFormat, JumpReLU, Origin
from bridge.errors import BridgeError
from bridge.files.archives import need_unpacked
from bridge.files.bounded import open_plain
from bridge.hookspecs import hookimpl
from bridge_dictionaries.files import Weights, assemble

_FILE = "params.npz"
_REPOSITORY = re.compile(r"gemma-scope-(?P<size>\d+b)-(?P<tuning>pt|it)-(?P<point>\w+)")
_LAYER = re.compile(r"layer_(\d+)")
_LAYER_OF_SITE = re.compile(r"^blocks\.(\d+)\.hook_resid_post$")
_SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}


@final
class GemmaScope(DictionaryFormat):
    """x W_enc + b_enc without subtracting b_dec, then JumpReLU."""

    name = "gemma_scope"
    summary = "Gemma Scope's params.npz."

    def recognises(self, path: Path) -> bool:
        """Look for params.npz."""
        return _file(path).name == _FILE and _file(path).is_file()

    def load(self, path: Path) -> Dictionary:
        """Read params.npz, or a folder with it; the path contains layer and model."""
        file = _file(path)
        try:
            # Opened here, because numpy does not close a damaged file.
            with open_plain(file) as opened:
                need_unpacked(file, opened)
                with np.load(opened, allow_pickle=False) as archive:
                    weights = Weights(file, {name: archive[name] for name in archive.files})
        except BridgeError:
            raise
        except Exception as error:  # numpy and zipfile raise many error types for damaged files
            raise BridgeError(
                f"{file} is not a readable archive of plain arrays ({error}).",
                cause=f"The file ({_FILE}) is missing or incomplete, or contains Python objects, which could run code.",
                remedy="Download it again from its publisher.",
            ) from error
        return assemble(
            file,
            weights("W_enc", 2),
            weights("b_enc"),
            weights("W_dec", 2),
            weights("b_dec"),
            JumpReLU(weights("threshold")),
            None,
            _origin(file),
        )

    def example(self, path: Path, like: Dictionary) -> Path:
        """Write params.npz into folders that name the layer, as the released ones do."""
        layer = _LAYER_OF_SITE.search(like.origin.site)
        folder = path / (f"layer_{layer[1]}" if layer else "") / "average_l0_32"
        folder.mkdir(parents=True)
        features, d_model = like.directions.shape
        with (folder / _FILE).open("wb") as file:
            np.savez(
                file,
                W_enc=like.directions.T,
                W_dec=like.directions,
                b_enc=np.zeros(features, np.float32),
                b_dec=np.zeros(d_model, np.float32),
                threshold=np.zeros(features, np.float32),
            )
        return folder


def _file(path: Path) -> Path:
    return path / _FILE if path.is_dir() else path


def _origin(file: Path) -> Origin:
    parts = file.absolute().parts
    if any("transcoder" in part for part in parts if "gemma-scope" in part):
        raise BridgeError(f"{file} is a transcoder, not an autoencoder.", remedy="Use one of the -res dictionaries.")
    layers = [match[1] for part in parts if (match := _LAYER.fullmatch(part))]
    found = [match for part in parts if (match := _REPOSITORY.search(part))]
    model, point = "", "res"
    if found:
        model = f"google/gemma-2-{found[-1]['size']}" + ("-it" if found[-1]["tuning"] == "it" else "")
        point = found[-1]["point"]
    site = f"blocks.{layers[-1]}.{_SITES[point]}" if layers and point in _SITES else ""
    # Section 3.1 of the paper: texts begin with BOS, whose activations were left out.
    return Origin(model=model, site=site, prepends_bos=True)


@hookimpl
def register_dictionary_formats(register: Callable[[DictionaryFormat], None]) -> None:
    """Register Gemma Scope's format."""
    register(GemmaScope())
