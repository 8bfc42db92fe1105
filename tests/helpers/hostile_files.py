"""Files changed at random, as an attacker or a failing disk changes them: bytes, structure, sizes, kinds of files."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
from copy import deepcopy
from pathlib import Path
from typing import Any, final

HUGE = [2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1, 10**9, 0, 1]
ODD: list[Any] = [
    *(
        None,
        True,
        -1,
        0,
        3,
        10**9,
        10**30,
        -(10**18),
        1e308,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "x" * 100_000,
        [],
        {},
    ),
    *(
        [[]],
        {"": {}},
        "../../../etc/passwd",
        "/dev/zero",
        "\x1b[31mred\x1b[0m",
        "a\0b",
        "\ud800",
        "nan",
        "{0.__class__}",
    ),
    *(["x"] * 5000, {str(number): number for number in range(3000)}, "F64", "BF16", [10**9, 10**9], [0, 2**62]),
]
WORDS = [b"NaN", b"1e999", b"-Infinity", b"9" * 5000, b"[" * 100_000, b'{"a":' * 50_000, b"\0" * 100, b"\x1b]0;x\x07"]
WORDS += [
    b"null",
    b"&a [*a, *a]",
    b"- " * 20_000,
    b"a." * 3000,
    b"\xff\xfe\xfd",
    b"\xef\xbb\xbf",
    b"\n\n\n",
    b'"""' * 99,
]


@final
class Code:
    """An object that makes a file when it is unpickled.

    Args:
        canary: The file.
    """

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self._canary}'",)


def spoil(path: Path, rng: random.Random, canary: Path) -> str:
    """Change a file, and return how."""
    kinds = {_bytes: 8, _structure: 10, _another_kind: 1, _code: 1}
    change = rng.choices(list(kinds), list(kinds.values()))[0]
    return change(path, rng, canary)


def _another_kind(path: Path, rng: random.Random, canary: Path) -> str:
    kind = rng.choice(["folder", "pipe", "device", "loop", "gone", "empty", "sparse", "zeros"])
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("device", "loop"):
        path.symlink_to("/dev/zero" if kind == "device" else path)
    elif kind in ("empty", "zeros"):
        path.write_bytes(bytes(0 if kind == "empty" else 10**5))
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(3 * 10**9)
    return kind


def _code(path: Path, rng: random.Random, canary: Path) -> str:
    """Put an object with code in the place of a file, in the formats that may hold one."""
    import numpy as np
    import torch

    kind = rng.choice(["pickle", "torch", "npy", "npz", "yaml"])
    code: Any = Code(canary)
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"J": code}, protocol=rng.randrange(5)))
    elif kind == "torch":
        torch.save({"weight": torch.zeros(3), "bias": code}, path, _use_new_zipfile_serialization=rng.random() < 0.5)
    elif kind == "yaml":
        path.write_text(f"kind: !!python/object/apply:os.system ['touch {canary}']\n")
    else:
        with path.open("wb") as file:
            held = np.array([code], dtype=object)
            np.save(file, held, allow_pickle=True) if kind == "npy" else np.savez(file, W_enc=held)
    return f"code in {kind}"


def _bytes(path: Path, rng: random.Random, canary: Path) -> str:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 5])):
        # Headers are at the beginning, and directories of archives at the end.
        near = rng.choice([len(data), min(len(data), 200)])
        place = rng.randrange(near + 1) if rng.random() < 0.7 else len(data) - rng.randrange(near + 1)
        size = rng.choice([1, 4, 8, 64, 1000])
        kind = rng.choice(["flip", "cut", "copy", "drop", "word", "length", "random"])
        if kind == "flip" and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del data[place:]
        elif kind == "copy":
            other = rng.randrange(len(data) + 1)
            data[place:place] = data[other : other + size] * rng.choice([1, 1, 500])
        elif kind == "drop":
            del data[place : place + size]
        elif kind == "word":
            data[place:place] = rng.choice(WORDS)
        elif kind == "length":
            form = rng.choice(["<I", "<Q", "<H", ">I"])
            value = rng.choice(HUGE) & (2 ** (8 * struct.calcsize(form)) - 1)
            data[place : place + struct.calcsize(form)] = struct.pack(form, value)
        elif kind == "random":
            data[place : place + size] = rng.randbytes(size)
    path.write_bytes(data)
    return "bytes"


def _structure(path: Path, rng: random.Random, canary: Path) -> str:
    """Change the values of a document, or of the header of a safetensors file; of other files, the bytes."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = 8 < length < len(data) and data[8:9] == b"{"
    try:
        document = json.loads(data[8 : 8 + length] if header else data)
        if not isinstance(document, (dict, list)) or not document:
            raise ValueError
    except ValueError:
        return _lines(path, data, rng, canary)
    for _ in range(rng.choice([1, 1, 2, 4])):
        _change(document, rng)
    text = json.dumps(document).encode()
    path.write_bytes((len(text).to_bytes(8, "little") + text + data[8 + length :]) if header else text)
    return "structure"


def _lines(path: Path, data: bytes, rng: random.Random, canary: Path) -> str:
    """Change one line of text: a record of JSON Lines, or the value of `key: value` and `key = value`."""
    lines = data.split(b"\n")
    number = rng.randrange(len(lines))
    try:
        record = json.loads(lines[number])
        _change(record, rng)
        lines[number] = json.dumps(record).encode()
    except (ValueError, TypeError):
        mark = next((mark for mark in (b": ", b" = ") if mark in lines[number]), b"")
        if not mark or b"\0" in data:
            return _bytes(path, rng, canary)
        key, _, value = lines[number].partition(mark)
        odd = json.dumps(rng.choice(ODD)).encode()
        lines[number] = rng.choice([key + mark + odd, key + mark + rng.choice(WORDS), odd + mark + value])
    for _ in range(rng.choice([0, 0, 0, 1])):
        lines.insert(rng.randrange(len(lines)), lines[number])
    path.write_bytes(b"\n".join(lines))
    return "lines"


def _change(value: Any, rng: random.Random) -> None:
    """Change one value inside a container, in place."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(value[key], (dict, list)) and value[key] and rng.random() < 0.7:
            value = value[key]
            continue
        kind = rng.choice(["odd", "odd", "odd", "drop", "other", "deep"])
        if kind == "drop":
            del value[key]
        elif kind == "other":
            value[key] = json.loads(json.dumps(value[rng.choice(keys)]))
        elif kind == "deep":
            deep: Any = []
            for _ in range(rng.choice([50, 150])):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            value[key] = deep
        else:
            value[key] = deepcopy(rng.choice(ODD))
        return
