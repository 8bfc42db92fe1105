"""Released lenses: `.pt` files with one matrix per layer, read as plain tensors and never unpickled.

The reference implementation (github.com/anthropics/jacobian-lens, `jlens/lens.py`) saves a dict: `J`, matrices by layer
in float16 that act on columns; `n_prompts`, `source_layers`, `d_model`. Older files call the matrices `jacobians`, and
some stack them, (layers, d_model, d_model), in the order of `source_layers`. Forks add keys; keys that change the
meaning of the matrices are checked. A file with `jacobian_sum` and `n_done` is the state of an unfinished fit, as one
of the released files.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.files.torch import load_plain

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("J", "jacobians")
ASIDE = {"capture_point": ("block_output", "resid_post"), "stream_reduce": ("none",), "target_layer": ()}
"""Keys of the file or of its `provenance`, with their accepted values; `target_layer` must be the last block."""


@final
@dataclass(frozen=True)
class ReleasedLens:
    """An open released lens.

    Attributes:
        path: The file.
        matrices: Matrices by layer, (d_model, d_model), in the file's dtype; read at first use.
        target: The target layer in the file; None for the last block.
        prompts: Number of texts that the lens was fitted on; 0 if the file does not give it.
    """

    path: Path
    matrices: Mapping[int, Tensor]
    target: int | None
    prompts: int

    def matrix(self, layer: int) -> NDArray[np.float32]:
        """Return a layer's matrix, (d_model, d_model) float32.

        Raises:
            BridgeError: If a value is not finite.
        """
        found: NDArray[np.float32] = self.matrices[layer].float().numpy()
        if not np.isfinite(found).all():
            raise BridgeError(f"{self.path} has values at layer {layer} that are not finite.", remedy="Fetch it again.")
        return found


def open_released(path: Path) -> ReleasedLens:
    """Open a released lens.

    Raises:
        BridgeError: If the file is missing, holds more than plain tensors, or is no finished lens of blocks' outputs.
    """
    document = _plain(path)
    if {"jacobian_sum", "n_done"} <= set(document):
        raise BridgeError(
            f"{path} is no lens but the state of a fit that was not finished, after {document['n_done']} texts.",
            cause="It was uploaded, or copied, in place of the lens.",
            remedy="Take another file, or fit one: `bridge lens fit`.",
        )
    named = [name for name in NAMES if name in document]
    if not named:
        raise _no_lens(path, f"It has {', '.join(sorted(map(str, document)))}, and no {' or '.join(NAMES)}.")
    provenance = document.get("provenance")
    said = document | (provenance if isinstance(provenance, dict) else {})
    for name, allowed in ASIDE.items():
        if said.get(name) is not None and allowed and said[name] not in allowed:
            raise BridgeError(
                f"{path} says {name}: {said[name]!r}.",
                cause="Its matrices are for other vectors than the output of a block.",
                remedy="Take a lens of blocks' outputs, or fit one: `bridge lens fit`.",
            )
    layers, target = said.get("source_layers"), said.get("target_layer")
    matrices = _by_layer(path, document[named[0]], layers)
    prompts = document.get("n_prompts")
    return ReleasedLens(
        path, matrices, target if isinstance(target, int) else None, prompts if isinstance(prompts, int) else 0
    )


def _plain(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BridgeError(f"There is no lens {path}.", remedy="Give lens=FILE, or fit one: `bridge lens fit`.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = load_plain(path)
    except BridgeError:
        raise
    except Exception as error:  # zip, pickle and torch raise different errors for damaged files
        raise BridgeError(
            # Not the error's own words: torch advises to load the file with its code.
            f"{path} is no file of plain tensors ({type(error).__name__}).",
            cause="It is damaged or of another kind, or reading it would run code that it holds; that is never done.",
            remedy="Fetch it again, or fit one: `bridge lens fit`.",
        ) from error
    if not isinstance(document, dict):
        raise _no_lens(path, f"It holds a {type(document).__name__}.")
    return document


def _by_layer(path: Path, found: Any, layers: Any) -> dict[int, Tensor]:
    import torch

    if isinstance(found, torch.Tensor):
        numbers = list(range(len(found))) if layers is None and found.ndim == 3 else layers
        if found.ndim != 3 or not isinstance(numbers, (list, tuple)) or len(numbers) != len(found):
            raise _no_lens(path, f"Its matrices have shape {tuple(found.shape)}, for the layers {layers}.")
        found = dict(zip(numbers, found, strict=True))
    if not isinstance(found, dict) or not found:
        raise _no_lens(path, f"Its matrices are a {type(found).__name__}.")
    matrices: dict[int, Tensor] = {}
    for layer, matrix in found.items():
        square = isinstance(matrix, torch.Tensor) and matrix.ndim == 2 and matrix.is_floating_point()
        if not str(layer).isdecimal() or not square:
            raise _no_lens(path, f"Under {layer!r} there is no matrix of a layer.")
        matrices[int(layer)] = matrix
    shapes = {tuple(matrix.shape) for matrix in matrices.values()}
    if len(shapes) > 1 or len(set(*shapes)) > 1:
        raise _no_lens(path, f"Its matrices have the shapes {sorted(shapes)}, and not all the model's width squared.")
    return matrices


def _no_lens(path: Path, cause: str) -> BridgeError:
    return BridgeError(f"{path} is no Jacobian lens.", cause=cause, remedy="Fit one: `bridge lens fit`.")
