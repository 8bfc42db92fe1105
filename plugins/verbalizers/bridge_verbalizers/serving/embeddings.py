"""Rows of a checkpoint's embedding table, read without loading the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.files.json import read_json
from bridge.files.safetensors import open_tensors
from bridge.models.weights import Index

if TYPE_CHECKING:
    from torch import Tensor

TABLES = ("embed_tokens.weight", "embed_in.weight", "wte.weight")
SCALED = ("gemma3", "gemma3_text")
INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"


def embed(folder: Path, config: dict[str, Any], ids: Sequence[int]) -> Tensor:
    """Return the output of a checkpoint's embedding module for token ids, (tokens, d_model) in the checkpoint's dtype.

    Args:
        folder: The checkpoint.
        config: Its `config.json`.
        ids: Token ids.

    Raises:
        BridgeError: If the embedding table is missing, unreadable or too short.
    """
    import torch

    try:
        file, name = _table(folder)
        with open_tensors(file) as tensors:
            table = tensors.get_slice(name)
            if max(ids) >= table.get_shape()[0]:
                raise BridgeError(
                    f"The prompt of {folder} has token {max(ids)}, and its embedding table {table.get_shape()[0]} rows."
                )
            rows = {token: table[token : token + 1] for token in set(ids)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BridgeError(
            f"The embedding table of {folder} cannot be read ({error}).",
            cause="The checkpoint's safetensors files are damaged or not all there.",
            remedy="Fetch the checkpoint again.",
        ) from error
    found: Tensor = torch.cat([rows[token] for token in ids])
    if config.get("model_type") in SCALED:
        # Gemma-3's embedding module multiplies by sqrt(d_model); servers expect scaled embeddings. As in the module,
        # the factor is rounded to the table's dtype: 73.5 instead of 73.32 at d_model 5376 in bfloat16.
        found = found * torch.tensor(found.shape[1] ** 0.5).to(found.dtype)
    return found


def _table(folder: Path) -> tuple[Path, str]:
    """Return file and name of the embedding table."""
    if (folder / INDEX).is_file():
        files = read_json(folder / INDEX, Index, "Fetch the checkpoint again.").weight_map
    else:
        with open_tensors(folder / WHOLE) as tensors:
            files = dict.fromkeys(tensors.keys(), WHOLE)
    names = [name for name in files if name.endswith(TABLES)]
    if len(names) != 1:
        raise ValueError(f"{len(names)} tensors are called {' or '.join(TABLES)}")
    return folder / Path(files[names[0]]).name, names[0]
