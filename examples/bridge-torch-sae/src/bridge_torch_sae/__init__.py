"""Checkpoints of OpenAI's sparse_autoencoder (Gao et al., arXiv 2406.04093): one .pt file of tensors, TopK or ReLU."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np

from bridge.dictionaries import Dictionary, DictionaryFormat, Origin, ReLU, SparseAutoencoder, TopK
from bridge.errors import BridgeError
from bridge.hookspecs import hookimpl
from bridge_torch_sae.archive import PARAMETERS, names_in, read_state
from bridge_torch_sae.layer_normed import LayerNormed
from bridge_torch_sae.state import State

bridge_api = "1.0"

PLACE = re.compile(r"(?P<location>resid_(?:post|delta)_(?:attn|mlp))(?:_v\w+)?/autoencoders/(?P<layer>\d+)\.pt")
POINTS = {
    "resid_post_mlp": "resid_post",
    "resid_post_attn": "resid_mid",
    "resid_delta_mlp": "mlp_out",
    "resid_delta_attn": "attn_out",
}


@final
class OpenAISAE(DictionaryFormat):
    """What `Autoencoder.from_state_dict` of github.com/openai/sparse_autoencoder reads.

    latents = activation((x - pre_bias) encoder.weight^T + latent_bias); x^ = latents decoder.weight^T + pre_bias. The
    entry `activation` names the activation, ReLU where there is none. That library layer-norms the inputs of TopK
    ones, and of no others; the file itself does not say.
    """

    name = "openai_sae"
    summary = "Files (.pt) of OpenAI's sparse_autoencoder."

    def recognises(self, path: Path) -> bool:
        """Look for the names of the parameters in the archive's index; nothing is loaded."""
        return path.suffix == ".pt" and path.is_file() and names_in(path) >= PARAMETERS

    def load(self, path: Path) -> Dictionary:
        """Read a file; its place says where it belongs, as in `resid_post_mlp_v5_32k/autoencoders/6.pt`.

        Raises:
            BridgeError: If it is damaged, of another layout, or would run code.
        """
        state = State(path, read_state(path))
        encoder, directions = state.array("encoder.weight", 2).T, state.array("decoder.weight", 2).T
        encoder, directions = np.ascontiguousarray(encoder), np.ascontiguousarray(directions)
        latent_bias, pre_bias = state.array("latent_bias"), state.array("pre_bias")
        kind, origin = state.text("activation", "ReLU"), _origin(path)
        if kind not in ("ReLU", "TopK"):
            raise BridgeError(f"{path} has the activation {kind[:80]!r}; ReLU and TopK are supported.")
        activation = ReLU() if kind == "ReLU" else TopK(state.top_k(len(directions)))
        try:
            parts = (encoder, latent_bias, directions, pre_bias, activation)
            plain = SparseAutoencoder(*parts, shift=pre_bias, origin=origin)
        except BridgeError as error:
            raise BridgeError(f"{path}: {error.what}", cause=error.cause, remedy="Fetch it again.") from error
        return plain if kind == "ReLU" else LayerNormed(plain)


def _origin(path: Path) -> Origin:
    found = PLACE.fullmatch("/".join(path.absolute().parts[-3:]))
    if not found:
        return Origin()
    return Origin(model="gpt2-small", site=f"blocks.{found['layer']}.hook_{POINTS[found['location']]}")


@hookimpl
def register_dictionary_formats(register: Callable[[DictionaryFormat], None]) -> None:
    """Offer the format."""
    register(OpenAISAE())
