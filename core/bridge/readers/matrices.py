"""Matrices in safetensors files: heads of reconstructors, and maps that are applied before the injection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ModelError
from bridge.files.safetensors import read_tensors
from bridge.readers.reader import Affine, VectorMap

if TYPE_CHECKING:
    from torch import Tensor

REMEDY = "Fetch or copy the whole checkpoint again."
Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Loaded:
    """A matrix, (d_out, d_in), and a bias, (d_out,), in the dtype of their file."""

    weight: Tensor
    bias: Tensor | None


def read_affine(affine: Affine, d_out: int | None = None) -> Loaded:
    """Read a matrix.

    Args:
        affine: File and names of the tensors.
        d_out: If given, the matrix must be square with this width.

    Raises:
        ModelError: If the file is damaged, or has no such matrix.
    """
    try:
        tensors: dict[str, Tensor] = read_tensors(affine.file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{affine.file} cannot be read ({error}).", remedy=REMEDY) from error
    name = affine.weight or "weight"
    only = next(iter(tensors.values())) if len(tensors) == 1 and not affine.bias else None
    weight, bias = tensors.get(name, only), tensors.get(affine.bias) if affine.bias else None
    wrong = weight is None or weight.ndim != 2 or (d_out is not None and weight.shape != (d_out, d_out))
    if weight is None or wrong or (affine.bias and bias is None):
        found = {name: tuple(tensor.shape) for name, tensor in list(tensors.items())[:10]}
        size = f"({d_out}, {d_out})" if d_out else "two-dimensional"
        raise ModelError(f"{affine.file} contains {found}, not one {size} matrix.", remedy=REMEDY)
    return Loaded(weight.T if affine.transposed else weight, bias)


def mapped(vectors: Floats, layers: Sequence[Loaded], vector_map: VectorMap) -> Floats:
    """Apply a map to vectors, in float32: (..., n, d_in) -> (..., n * tokens, d_out).

    Raises:
        ModelError: If the shapes of the matrices do not match each other or the vectors.
    """
    import torch

    activations = {
        "gelu": torch.nn.functional.gelu,
        "relu": torch.relu,
        "silu": torch.nn.functional.silu,
        "tanh": torch.tanh,
    }
    found = torch.from_numpy(vectors)
    for number, layer in enumerate(layers):
        if number:
            found = activations[vector_map.activation](found)
        if found.shape[-1] != layer.weight.shape[1]:
            raise ModelError(
                f"Layer {number} of the reader's map has {layer.weight.shape[1]} inputs, not {found.shape[-1]}.",
                remedy=REMEDY,
            )
        found = torch.nn.functional.linear(
            found, layer.weight.float(), None if layer.bias is None else layer.bias.float()
        )
    *before, n, width = found.shape
    if width % vector_map.tokens:
        raise ModelError(f"The {width} outputs of the reader's map cannot be split into {vector_map.tokens} vectors.")
    shaped: Floats = found.reshape(*before, n * vector_map.tokens, width // vector_map.tokens).numpy()
    return shaped
