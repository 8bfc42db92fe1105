"""A key-value cache for decoding that allocates memory in advance."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


@final
class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one attention layer; when the buffer is full, it is replaced by one of twice the needed size.

    The layers of transformers copy all keys and values for every new token, which took half of the time for a large
    batch on a small model. Keys outside of a sliding window are kept: the attention mask of the model excludes them.
    """

    keys: Tensor
    values: Tensor
    _full: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values, (batch, heads, tokens, width) each, and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        # After rows were selected or repeated, keys and values are new tensors without a buffer.
        full = self._full if self._full and self._full[0].data_ptr() == self.keys.data_ptr() else None
        if full is None or end > full[0].shape[-2]:
            full = self._with_room(key_states, 2 * end), self._with_room(value_states, 2 * end)
            if start:
                full[0][..., :start, :], full[1][..., :start, :] = self.keys, self.values
        full[0][..., start:end, :], full[1][..., start:end, :] = key_states, value_states
        self.keys, self.values, self._full = full[0][..., :end, :], full[1][..., :end, :], full
        return self.keys, self.values

    @staticmethod
    def _with_room(like: Tensor, tokens: int) -> Tensor:
        return like.new_empty((*like.shape[:-2], tokens, like.shape[-1]))


def roomy_cache(config: Any) -> Cache:
    """Return an empty cache for a model of transformers; recurrent layers, which have no keys, are not replaced."""
    cache = DynamicCache(config=config)
    cache.layers = [
        RoomyLayer() if type(one) in (DynamicLayer, DynamicSlidingWindowLayer) else one for one in cache.layers
    ]
    return cache
