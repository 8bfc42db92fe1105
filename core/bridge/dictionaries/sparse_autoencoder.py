"""Sparse autoencoders of all common kinds, as a linear encoder, an activation and a linear decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import numpy as np

from bridge.dictionaries.activations import Activation
from bridge.dictionaries.contract import Dictionary, Floats, Origin
from bridge.errors import BridgeError
from bridge.maps import AffineMap


@final
class SparseAutoencoder(Dictionary):
    """features = activation((x - shift) encoder + encoder_bias); x^ = features directions + decoder_bias.

    Args:
        encoder: (d_model, features) float32.
        encoder_bias: (features,) float32; zero if the activation has its own biases.
        directions: Decoder, (features, d_model) float32.
        decoder_bias: (d_model,) float32.
        activation: The sparse activation function.
        shift: Vector subtracted from activations before encoding, (d_model,) float32: the decoder bias in most
            dictionaries, zero in the others.
        origin: The origin that the file states.

    Raises:
        BridgeError: If shapes do not match, or an array has NaN or infinite values; the message names the array.
    """

    def __init__(
        self,
        encoder: Floats,
        encoder_bias: Floats,
        directions: Floats,
        decoder_bias: Floats,
        activation: Activation,
        *,
        shift: Floats | None = None,
        origin: Origin | None = None,
    ) -> None:
        features, d_model = directions.shape if directions.ndim == 2 else (-1, -1)
        shift = np.zeros_like(decoder_bias) if shift is None else shift
        wanted = {
            "encoder": (encoder, (d_model, features)),
            "encoder bias": (encoder_bias, (features,)),
            "decoder": (directions, (features, d_model)),
            "decoder bias": (decoder_bias, (d_model,)),
            "shift": (shift, (d_model,)),
        }
        for name, (array, shape) in wanted.items():
            if array.shape != shape:
                raise BridgeError(
                    f"The dictionary's {name} has shape {array.shape}, which does not match a decoder of shape "
                    f"{directions.shape} (features, d_model).",
                    cause="The file is damaged, or has another layout than it states.",
                )
            if not np.isfinite(array).all():
                raise BridgeError(
                    f"The dictionary's {name} holds NaN or infinite values.",
                    cause="Its training diverged, or the file is damaged.",
                )
        self.encoder, self.encoder_bias = encoder, encoder_bias
        self.directions, self.decoder_bias = directions, decoder_bias
        self.activation, self.shift = activation, shift
        self.origin = origin or Origin()

    def encode(self, x: Floats) -> Floats:
        """Return feature activations: (n, d_model) -> (n, features), float32."""
        pre = (x - self.shift) @ self.encoder + self.encoder_bias
        return self.activation(pre.astype(np.float32, copy=False))

    def decode(self, features: Floats) -> Floats:
        """Return reconstructed activations: (n, features) -> (n, d_model), float32."""
        reconstructed: Floats = features @ self.directions + self.decoder_bias
        return reconstructed

    def reading_uncentred(self) -> SparseAutoencoder:
        """Return the equivalent dictionary for uncentred activations; this dictionary reads centred activations.

        With P = I - 11'/d, (P x - shift) encoder = x (P encoder) - shift encoder: the encoder is centred, and its bias
        accounts for the shift. The decoder is unchanged.

        Returns:
            A dictionary whose features of x equal this dictionary's features of x - mean(x), with the mean over the
            width.
        """
        encoder = self.encoder - self.encoder.mean(0, keepdims=True)
        return SparseAutoencoder(
            encoder,
            self.encoder_bias + self.shift @ (encoder - self.encoder),
            self.directions,
            self.decoder_bias,
            self.activation,
            shift=self.shift,
            origin=replace(self.origin, centred=False),
        )

    def carried(self, forward: AffineMap, back: AffineMap, origin: Origin) -> SparseAutoencoder:
        """Return the dictionary transferred to another model.

        It computes forward(decode(encode(back(y)))) for an activation y of the other model: its encoder is
        `back.weight @ encoder`, its decoder `directions @ forward.weight`. For an orthogonal map and its transpose this
        is the rotated dictionary of arXiv 2605.24577.

        Args:
            forward: Map from this dictionary's model to the other model.
            back: Map from the other model to this dictionary's model.
            origin: Origin of the transferred dictionary.
        """
        encoder = back.weight @ self.encoder
        offset = (back.mean_dst - back.mean_src @ back.weight - self.shift) @ self.encoder
        return SparseAutoencoder(
            encoder.astype(np.float32),
            (self.encoder_bias + offset).astype(np.float32),
            (self.directions @ forward.weight).astype(np.float32),
            forward(self.decoder_bias[None])[0].astype(np.float32),
            self.activation,
            origin=origin,
        )
