"""Reading GGUF files with the `gguf` package without its per-element overhead: same fields, same numbers.

The package makes several numpy views for every token of a vocabulary (10 s for 262,144 tokens), and dequantises 16 rows
at a time; transformers has it do the former three times, and builds its table of names anew for every module.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, final

import gguf
import numpy as np

from bridge.files.limits import need_within

CHUNK = 1 << 20  # weights at a time: few enough for the cache, enough that numpy's calls do not count


@final
class QuickReader(gguf.GGUFReader):  # type: ignore[misc]
    """`gguf.GGUFReader`, with every array of the metadata read in one go, within the limits of `bridge.files.limits`.

    Raises:
        BridgeError: If the metadata exceeds the limits `metadata` or `entries`.
        Exception: Whatever the package raises for damaged files.
    """

    _entries = 0

    def _build_fields(self, offs: int, count: int) -> int:
        self._count(offs, count)
        return super()._build_fields(offs, count)  # type: ignore[no-any-return]

    def _build_tensor_info(self, offs: int, count: int) -> tuple[int, list[Any]]:
        self._count(offs, count)
        return super()._build_tensor_info(offs, count)  # type: ignore[no-any-return]

    def _build_tensors(self, start_offs: int, fields: list[Any]) -> None:
        super()._build_tensors(start_offs, fields)
        if sum(tensor.n_bytes for tensor in self.tensors) > len(self.data):
            raise ValueError("its tensors have more bytes than the file")

    def _count(self, offs: int, count: int) -> None:
        """Refuse more values, from a place of the file on, before they are read: each takes 200 bytes of memory."""
        self._entries += int(count)
        need_within("entries", self._entries, f"The metadata of {self.data.filename}")
        need_within("metadata", offs, f"The metadata of {self.data.filename}", at_least=True)

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[Any]]:
        kinds = gguf.GGUFValueType
        start = orig_offs + 12  # behind the element's type, four bytes, and their number, eight
        head = [self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)]
        if kinds(raw_type) != kinds.ARRAY or not head[1][0]:
            return super()._get_field_parts(orig_offs, raw_type)  # type: ignore[no-any-return]
        kind, count = kinds(head[0][0]), int(head[1][0])
        self._count(orig_offs, count)
        types = [kinds.ARRAY, kind]
        if kind in self.gguf_scalar_to_np:
            values = np.asarray(self._get(start, self.gguf_scalar_to_np[kind], count))
            return 12 + values.nbytes, [*head, *values.reshape(count, 1)], list(range(2, count + 2)), types
        if kind == kinds.STRING:
            parts, end = self._strings(start, count)
            return end - orig_offs, head + parts, list(range(3, 2 * count + 3, 2)), types
        raise ValueError("it has an array of arrays, which no converter writes")

    def _strings(self, start: int, count: int) -> tuple[list[Any], int]:
        """Return lengths and bytes of `count` strings in turn, and where the last one ends."""
        data, parts = np.asarray(self.data), []  # slices of a memmap cost three times those of an array
        word = np.dtype(np.uint64).newbyteorder(self.byte_order)
        for _ in range(count):
            length = data[start : start + 8].view(word)
            end = start + 8 + int(length[0])
            parts += [length, data[start + 8 : end]]
            start = end
            if start > len(data):
                raise ValueError("a text is longer than the file")
        return parts, start


@contextlib.contextmanager
def read_quickly() -> Iterator[None]:
    """Let whoever asks the `gguf` package for a reader or a table of names meanwhile have the quick ones.

    What transformers does is not changed, only how long it takes; and where it no longer asks, only that is lost.
    """
    names = gguf.tensor_mapping.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = QuickReader, functools.cache(names)
    try:
        yield
    finally:
        # From where they are defined, so that two threads that are here at once leave nothing of each other's behind.
        gguf.GGUFReader, gguf.get_tensor_name_map = gguf.gguf_reader.GGUFReader, names


def dequantised(tensor: Any, count: Callable[[int], None]) -> np.ndarray:
    """Return a tensor of a reader as the numbers it stands for, by `gguf.dequantize`.

    Args:
        tensor: A `gguf.ReaderTensor`.
        count: Is told how many weights were just dequantised.

    Returns:
        float32, of the tensor's shape in numpy's order (the slowest dimension first).

    Raises:
        NotImplementedError: If the package cannot dequantise the tensor's type.
    """
    values = np.empty(tuple(reversed(tensor.shape.tolist())), np.float32)
    flat = values.reshape(-1)
    per_block, block_bytes = gguf.GGML_QUANT_SIZES[tensor.tensor_type]
    # The package goes through 16 rows at a time; as one long row, blocks are the same and the calls a hundredth.
    blocks = np.asarray(tensor.data).reshape(-1).view(np.uint8).reshape(-1, block_bytes)
    step = max(1, CHUNK // per_block)
    for first in range(0, len(blocks), step):
        some = gguf.dequantize(blocks[first : first + step].reshape(1, -1), tensor.tensor_type).reshape(-1)
        flat[first * per_block : first * per_block + some.size] = some
        count(some.size)
    return values
