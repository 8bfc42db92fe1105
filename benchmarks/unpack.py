"""Unpacking GGUF files, beside transformers' own loading of them and beside reading and writing the bytes.

    python benchmarks/unpack.py [FILE.gguf ...] [--rounds 3] [--json]

`bridge` brings a file into an empty store: hashed, read, dequantised, written in float32, synced and hashed again.
`transformers` loads model and tokenizer from the same file, as it would have to each time, and writes nothing. `bytes`
reads the file, and writes and syncs as many bytes as the checkpoint has: the physical limit. `again` is what bridge's
next starts cost. A first round, in which modules are imported, is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from audit import timed
from bridge.models.gguf import checkpoint_of_gguf
from bridge.models.transformers_adapter import quiet
from bridge.models.weights import models_folder
from bridge.progress import Silent
from bridge.store import Store
from fit import show, spread

TARGET_RATIO = 2.0
MB = 10**6


def by_transformers(path: Path) -> None:
    """Load what the file holds, and drop it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        AutoModelForCausalLM.from_pretrained(
            **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
        AutoTokenizer.from_pretrained(**where)


def copy_bytes(path: Path, size: int, to: Path) -> None:
    """Read the file, and write `size` bytes to the disk."""
    content = path.read_bytes()
    with to.open("wb") as file:
        for start in range(0, size, len(content)):
            file.write(content[: size - start])
        file.flush()
        os.fsync(file.fileno())


def take_turns(path: Path, seconds: dict[str, list[float]]) -> int:
    """Time every way once, and return the size of the checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        done = timed(lambda: checkpoint_of_gguf(path, store, Silent()), seconds, "bridge")
        size = sum(file.stat().st_size for file in done.iterdir())
        time.sleep(3)  # only what has lain still for two seconds is remembered,
        checkpoint_of_gguf(path, store, Silent())  # from here on
        timed(lambda: checkpoint_of_gguf(path, store, Silent()), seconds, "again")
        timed(lambda: copy_bytes(path, size, Path(folder) / "bytes"), seconds, "bytes")
    timed(lambda: by_transformers(path), seconds, "transformers")
    return size


def measure(path: Path, rounds: int) -> dict[str, Any]:
    """Time the ways in turn; a ratio is of two in the same round."""
    seconds: dict[str, list[float]] = {}
    sizes = [take_turns(path, seconds) for _ in range(1 + rounds)]
    counted = {name: values[1:] for name, values in seconds.items()}
    ratios = {
        f"{name} / bridge": [other / own for other, own in zip(counted[name], counted[of], strict=True)]
        for name, of in (
            ("transformers", "bridge"),
            ("transformers, processor", "bridge, processor"),
            ("bytes", "bridge"),
        )
    }
    of = {"MB": path.stat().st_size / MB, "checkpoint MB": sizes[0] / MB}
    return of | {name: spread(values) for name, values in (counted | ratios).items()}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="GGUF files; all of those that `make models` fetches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    files = options.files or sorted(models_folder().glob("*/*.gguf"))
    measured = {path.name: measure(path, options.rounds) for path in files}
    show({"benchmark": "unpack", **measured, "target transformers / bridge": TARGET_RATIO}, options.json)


if __name__ == "__main__":
    main()
