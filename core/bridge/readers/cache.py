"""Keys and values of a text that grows token by token, kept in memory that has room for more."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


@final
class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """What one block's attention remembers; twice as much memory as is needed is taken whenever it is full.

    transformers' own copies all keys and values for every new token, which was half of the time of a wide batch on a
    small model. Keys that a sliding window no longer sees are kept: the model's mask leaves them out.
    """

    keys: Tensor
    values: Tensor
    _full: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add keys and values, (batch, heads, tokens, width) each, and return all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        # Where rows were chosen or repeated, keys and values are new tensors, without room.
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
    """Return an empty cache for a model of transformers; layers that hold no keys (recurrent ones) are its own."""
    cache = DynamicCache(config=config)
    cache.layers = [
        RoomyLayer() if type(one) in (DynamicLayer, DynamicSlidingWindowLayer) else one for one in cache.layers
    ]
    return cache
