"""The prompt of a served AV, as embeddings with a place for one vector."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.files.json import read_json
from bridge.readers import Injection, Reader
from bridge.readers.injection import lengthened
from bridge.readers.loading import load_tokenizer
from bridge.readers.prompt import placed
from bridge_verbalizers.serving.embeddings import embed

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Prompt:
    """A fixed prompt with a place for one vector.

    Attributes:
        rows: Embeddings of the prompt's tokens, (tokens, d_model) in the checkpoint's dtype.
        at: Index of the row that the vector replaces.
        injection: Scales a vector to its length in the prompt.
    """

    rows: Tensor
    at: int
    injection: Injection

    def row(self, vector: NDArray[np.float32]) -> Tensor:
        """Return the row in the vector's place, (d_model,) in the checkpoint's dtype."""
        import torch

        return torch.from_numpy(lengthened(vector, self.injection)).to(self.rows.dtype)

    def tensor(self, vector: NDArray[np.float32]) -> Tensor:
        """Return the whole prompt with a vector, (tokens, d_model)."""
        rows = self.rows.clone()
        rows[self.at] = self.row(vector)
        return rows

    def json(self, vector: NDArray[np.float32]) -> str:
        """Return the whole prompt with a vector as JSON: a list of lists of floats."""
        before, after = self._around
        return f"{before}{json.dumps(self.row(vector).float().tolist())}{after}"

    def backwards(self) -> Prompt:
        """The prompt with its rows in reverse order: every model answers it differently."""
        return Prompt(self.rows.flip(0), len(self.rows) - 1 - self.at, self.injection)

    @cached_property
    def _around(self) -> tuple[str, str]:
        # Half a million numbers at d_model 5376, equal for every vector: formatted once.
        rows = [json.dumps(row) for row in self.rows.float().tolist()]
        before, after = (
            "".join(f"{row}, " for row in rows[: self.at]),
            "".join(f", {row}" for row in rows[self.at + 1 :]),
        )
        return f"[{before}", f"{after}]"


def read_prompt(folder: Path, reader: Reader, config: dict[str, Any]) -> Prompt:
    """Read the prompt of an AV as embeddings.

    Args:
        folder: The checkpoint.
        reader: The reader that its sidecar describes.
        config: Its `config.json`.

    Raises:
        BridgeError: If tokenizer, template, sidecar and embedding table do not agree.
    """
    found = placed(load_tokenizer(folder).tokenizer, reader.prompt)
    rows = embed(folder, config, found.ids)
    if rows.shape[1] != reader.d_model:
        raise BridgeError(
            f"{folder} embeds in {rows.shape[1]} dimensions; its sidecar says {reader.d_model}.",
            cause="Files of several checkpoints lie in one folder.",
            remedy="Fetch the whole checkpoint again.",
        )
    return Prompt(rows, found.places[0], reader.injection)


def read_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's `config.json`.

    Raises:
        BridgeError: If the file is missing or not a JSON object.
    """
    return read_json(folder / "config.json", dict[str, Any], "Fetch the checkpoint again.")
