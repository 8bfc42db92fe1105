"""Loaded by vLLM's build for processors: writes hidden states without the pinned memory and streams of a GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from vllm.distributed.kv_transfer.kv_connector.v1.example_hidden_states_connector import (
    ExampleHiddenStatesConnector,
    extract_from_kv_cache,
)


class PlainHiddenStatesConnector(ExampleHiddenStatesConnector):  # type: ignore[misc]
    """vLLM's connector, which copies on the processor and writes at once."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._written: set[str] = set()

    def _submit_async_write(self, pending: Any) -> None:
        if not self._is_tp_rank_zero:
            return
        blocks, offsets = torch.tensor(pending.block_ids, dtype=torch.long), torch.arange(self._block_size)
        slots = (offsets[None] + blocks[:, None] * self._block_size).flatten()
        rows = extract_from_kv_cache(self._kv_cache, slots, len(pending.token_ids)).clone()
        Path(pending.filename).parent.mkdir(parents=True, exist_ok=True)
        save_file({"hidden_states": rows, "token_ids": pending.token_ids.clone()}, pending.filename)
        if (lock := self._lock_fds.pop(pending.req_id, None)) is not None:
            os.close(lock)
        self._written.add(pending.req_id)

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str] | None, set[str] | None]:
        """Write what is finished, and report it."""
        super().get_finished(finished_req_ids)
        written, self._written = self._written, set()
        return written or None, None
