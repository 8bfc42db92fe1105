"""Writing a SAELens folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bridge.dictionaries import Gated, JumpReLU, Origin, ReLU, SparseAutoencoder, TopK
from bridge.directions import write_arrays
from bridge.errors import BridgeError
from bridge_dictionaries.files import Floats, write_json

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
# SAELens reads a file without a version as its old layout; this version has the layout of all 6.x releases.
_LAYOUT_VERSION = "6.5.0"


def write(dictionary: SparseAutoencoder, path: Path) -> None:
    """Write the weights and then the configuration, which completes the checkpoint.

    Raises:
        BridgeError: If `path` exists, or SAELens does not support the activation.
    """
    if path.exists() or path.is_symlink():
        raise BridgeError(f"{path} already exists.", remedy="Name a folder that does not exist.")
    # SAELens supports two shifts, none and the decoder bias; other shifts are folded into the encoder's bias.
    shifted = bool(dictionary.shift.any()) and np.array_equal(dictionary.shift, dictionary.decoder_bias)
    bias = dictionary.encoder_bias if shifted else dictionary.encoder_bias - dictionary.shift @ dictionary.encoder
    settings, arrays = _activation(dictionary, bias)
    arrays |= {"W_enc": dictionary.encoder, "W_dec": dictionary.directions, "b_dec": dictionary.decoder_bias}
    n_features, d_model = dictionary.directions.shape
    write_arrays(path / WEIGHTS, dict(arrays), {"format": "pt"})
    layout = {
        "d_in": d_model,
        "d_sae": n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": shifted,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    write_json(path / CONFIG, {**layout, **settings, "metadata": _metadata(dictionary.origin)})


def _activation(dictionary: SparseAutoencoder, bias: Floats) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Return the settings and the arrays of the activation and the encoder's bias, (features,) float32 each."""
    activation = dictionary.activation
    if isinstance(activation, ReLU):
        return {"architecture": "standard"}, {"b_enc": bias}
    if isinstance(activation, TopK):
        # torch's topk, unlike ours, refuses a k above the number of features.
        k = min(activation.k, len(bias))
        return {"architecture": "topk", "k": k, "rescale_acts_by_decoder_norm": False}, {"b_enc": bias}
    if isinstance(activation, JumpReLU):
        threshold = np.broadcast_to(activation.threshold, bias.shape).astype(np.float32)
        return {"architecture": "jumprelu"}, {"b_enc": bias, "threshold": threshold}
    if isinstance(activation, Gated) and (activation.scale > 0).all():
        return {"architecture": "gated"}, {
            "b_gate": activation.gate_bias + bias,
            "b_mag": activation.magnitude_bias + bias * activation.scale,
            "r_mag": np.log(activation.scale),
        }
    raise BridgeError(f"SAELens has no architecture for {str(activation)[:80]}.")


def _metadata(origin: Origin) -> dict[str, Any]:
    fields = {
        "model_name": origin.model or None,
        "hook_name": origin.site or None,
        "prepend_bos": origin.prepends_bos,
        "init_seed": origin.init_seed,
    }
    return {"sae_lens_version": _LAYOUT_VERSION, **{name: value for name, value in fields.items() if value is not None}}
