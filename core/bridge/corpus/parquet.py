"""Parquet files of unknown sources: a few rows at a time, and only the columns of texts.

A few hundred bytes of parquet can hold thousands of rows that refer to one long text, or a list of billions of nulls.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge.corpus.records import KEYS
from bridge.errors import BridgeError, CorpusError
from bridge.files.bounded import need_room, open_plain
from bridge.files.limits import limits, need_within

ROWS = 1024
"""Rows that are decoded at a time."""

AT_ONCE = 64
"""Rows that become Python objects at a time, if their texts are within the limit of one record together."""


def parquet_records(path: Path, parquet: Any) -> Iterator[Any]:
    """Yield the rows of a file as dictionaries, with the columns that documents are made of.

    Args:
        path: The file.
        parquet: The module `pyarrow.parquet`.

    Raises:
        CorpusError: If the file is damaged or is not parquet.
        BridgeError: If the file exceeds the limits `arrays`, `entries` or `record`.
    """
    try:
        with open_plain(path) as opened:
            whole = parquet.ParquetFile(opened, pre_buffer=False)
            columns = [name for name in whole.schema_arrow.names if name in KEYS]
            # Texts stay references to the dictionary of their column.
            file = parquet.ParquetFile(
                opened, pre_buffer=False, read_dictionary=_checked(path, whole.metadata, columns)
            )
            for batch in file.iter_batches(batch_size=ROWS, columns=columns):
                yield from _rows(batch, f"A row of {path}")
    except BridgeError:
        raise
    except Exception as error:  # pyarrow raises OSError, ValueError, KeyError, NotImplementedError, ...
        raise CorpusError(f"{path} is not a readable parquet file ({' '.join(str(error).split())[:300]}).") from error


def _checked(path: Path, metadata: Any, columns: list[str]) -> list[str]:
    """Return the columns of texts, with those inside lists, of a file whose groups of rows are small when unpacked."""
    texts: dict[str, None] = {}
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = [group.column(index) for index in range(group.num_columns)]
        chunks = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in columns]
        need_room(path, sum(chunk.total_uncompressed_size for chunk in chunks))
        nested = [chunk.num_values for chunk in chunks if "." in chunk.path_in_schema]
        need_within("entries", max(nested, default=0), f"The lists of row group {number} of {path}")
        texts |= {chunk.path_in_schema: None for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"}
    return list(texts)


def _rows(batch: Any, name: str) -> Iterator[Any]:
    start, at_once = 0, AT_ONCE
    while start < batch.num_rows:
        some = batch.slice(start, at_once)
        size = sum(map(_expanded, some.columns))
        if at_once > 1 and size > limits().record:
            at_once = 1
            continue
        need_within("record", size, name)
        yield from some.to_pylist()
        start += at_once


def _expanded(array: Any) -> int:
    """Return the bytes of all texts of an array, each reference counted."""
    import pyarrow.compute
    from pyarrow import types

    kind = array.type
    if types.is_dictionary(kind):
        lengths = pyarrow.compute.binary_length(array.dictionary)
        return pyarrow.compute.sum(lengths.take(array.indices)).as_py() or 0
    if types.is_struct(kind):
        return sum(map(_expanded, array.flatten()))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_map(kind):
        return _expanded(array.flatten()) if not types.is_map(kind) else int(array.nbytes)
    return int(array.nbytes)
