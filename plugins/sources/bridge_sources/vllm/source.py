"""An open vLLM as a source of activations: sends token ids, and reads the files with the hidden states."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus import Document
from bridge.errors import ModelError, UsageError
from bridge.pairing import Encoded
from bridge.references import Site
from bridge.sources import Checkpoint
from bridge_sources.vllm.engine import Engine

if TYPE_CHECKING:
    from torch import Tensor

NAME = re.compile(r"[\w.-]{1,200}\.safetensors")


@final
class VLLMSource:
    """Gives the outputs of some blocks.

    Args:
        model: The model.
        engine: vLLM, with the model loaded.
        layers: The blocks that are read, ascending.
        longest: Number of tokens of the longest text that vLLM reads.
    """

    def __init__(self, model: Checkpoint, engine: Engine, layers: Sequence[int], longest: int) -> None:
        self.name, self.d_model = model.name, model.info.d_model
        self._tokenizer = model.adapter.tokenizer(model.weights)
        text = model.weights.config.get("text_config", model.weights.config)
        self.vocabulary = int(text.get("vocab_size", model.weights.config.get("vocab_size", 1)))
        self._engine, self._layers, self._longest = engine, list(layers), longest

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Tokenise documents with the model's own tokenizer; vLLM gets ids and has none."""
        return self._tokenizer.encode(documents, max_tokens)

    def activations(self, ids: Tensor, mask: Tensor, sites: Sequence[Site]) -> list[Tensor]:
        """Run each text of a batch without its padding; padding gets zeros.

        Raises:
            UsageError: If a text is longer than memory was reserved for.
            ModelError: If vLLM fails, or gives anything but the hidden states of these texts.
        """
        import torch

        texts = [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)]
        self._need_short(texts)
        places = [self._layers.index(site.layer) for site in sites]
        files = self._engine.run(texts).files
        if len(files) != len(texts):
            raise _strange(self.name, f"{len(files)} files for {len(texts)} texts")
        read = [self._read(name, text) for name, text in zip(files, texts, strict=True)]
        outputs = [torch.zeros((*ids.shape, self.d_model), dtype=read[0].dtype) for _ in sites]
        for row, rows in enumerate(read):
            for output, place in zip(outputs, places, strict=True):
                output[row, : len(rows)] = rows[:, place]
        return outputs

    def losses(self, texts: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
        """Return the negative log-probability of every token of a text but the first, in nats."""
        listed = [text.tolist() for text in texts]
        self._need_short(listed)
        answer = self._engine.run(listed, losses=True)
        for name in answer.files:
            self._path(name).unlink(missing_ok=True)
        if [len(one) + 1 for one in answer.losses] != [len(text) for text in listed]:
            raise _strange(self.name, "log-probabilities of another number of tokens")
        return [np.array(one, np.float64) for one in answer.losses]

    def _need_short(self, texts: Sequence[Sequence[int]]) -> None:
        longest = max((len(text) for text in texts), default=0)
        if longest > self._longest:
            raise UsageError(
                f"A text has {longest} tokens, and vLLM has reserved memory for {self._longest}.",
                remedy=f"Use vllm:max_model_len={longest} or more, or a smaller --max-tokens.",
            )

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise _strange(self.name, f"a file of the name {name[:80]!r}")
        return self._engine.folder / "rows" / name

    def _read(self, name: str, text: Sequence[int]) -> Tensor:
        """Read and delete one file; return (tokens, layers, d_model)."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._path(name)
        try:
            found = load_file(path)
            rows: Tensor = found["hidden_states"]
            tokens: Tensor = found["token_ids"]
        except (OSError, SafetensorError, KeyError) as error:
            raise _strange(self.name, f"a file that cannot be read ({error})") from error
        finally:
            path.unlink(missing_ok=True)
        shape = (len(text), len(self._layers), self.d_model)
        if tokens.tolist() != list(text):
            raise _strange(
                self.name, f"hidden states of other tokens ({tokens.tolist()[:8]} ... for {list(text)[:8]} ...)"
            )
        if tuple(rows.shape) != shape or not rows.dtype.is_floating_point:
            raise _strange(self.name, f"hidden states of shape {tuple(rows.shape)} and {rows.dtype}, not {shape}")
        return rows


def _strange(model: str, what: str) -> ModelError:
    return ModelError(
        f"vLLM gave {what} for {model}.",
        cause="This version of vLLM works differently, or its folder was changed by another program.",
        remedy="Use transformers for this model, and report this with the version of vLLM.",
    )
