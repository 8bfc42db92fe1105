"""Names, dtypes and shapes of a checkpoint's tensors, from the headers of its files; known prefixes are taken off."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from bridge.errors import ModelError
from bridge.files.safetensors import open_tensors
from bridge.files.torch import load_plain

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing put into names, anywhere."""

PREFIXES = ("module.", "base_model.model.")
"""What DataParallel and peft put before every name."""

SHOWN = 6


@final
@dataclass(frozen=True)
class Stored:
    """One tensor of a file.

    Attributes:
        dtype: As safetensors calls it (`F32`, `BF16`, `I8`).
        shape: Its dimensions.
    """

    dtype: str
    shape: tuple[int, ...]


@final
@dataclass(frozen=True)
class TensorNames:
    """The tensors of a checkpoint under the names that they have without a wrapper's prefix.

    Attributes:
        stored: By plain name.
        patterns: Regular expressions that, each removed once and in this order, leave the plain names.
        said: What was removed, as sentences.
    """

    stored: Mapping[str, Stored]
    patterns: list[str]
    said: list[str]


def headers(files: Sequence[Path]) -> dict[str, Stored]:
    """Read names, dtypes and shapes of all tensors of a checkpoint's files, and no weight.

    Raises:
        ModelError: If two files hold a tensor of one name.
        Exception: Whatever safetensors or torch raise for a damaged file.
    """
    found: dict[str, Stored] = {}
    for file in files:
        some = _of_safetensors(file) if file.suffix == ".safetensors" else _of_pickle(file)
        if twice := found.keys() & some.keys():
            raise ModelError(
                f"{file.parent} holds in two of its files: {listed(twice)}.",
                cause="Files of two checkpoints lie in one folder, or they were merged by hand.",
                remedy="Keep the files of one of them, with its index.",
            )
        found |= some
    return found


def plain_names(stored: Mapping[str, Stored], source: str) -> TensorNames:
    """Take the prefixes of wrappers off.

    Args:
        stored: The tensors by the names in the files.
        source: What to call the checkpoint.

    Raises:
        ModelError: If two names become one.
    """
    plain = {name: name for name in stored}
    patterns: list[str] = []
    taken: list[str] = []

    def remove(part: str, pattern: str) -> None:
        # transformers removes the first match of a pattern only, and takes each pattern once.
        again = sum(pattern in one for one in patterns)
        patterns.append("(?:" * again + pattern + ")" * again)
        taken.append(part)

    for part in WRAPPERS:
        while any(part in name for name in plain.values()):
            remove(part, re.escape(part))
            plain = {name: short.replace(part, "", 1) for name, short in plain.items()}
    while common := [part for part in PREFIXES if plain and all(name.startswith(part) for name in plain.values())]:
        remove(common[0], f"^{re.escape(common[0])}")
        plain = {name: short.removeprefix(common[0]) for name, short in plain.items()}
    found = {short: stored[name] for name, short in plain.items()}
    if len(found) < len(stored):
        twice = [name for name, short in plain.items() if name != short and short in stored]
        raise ModelError(
            f"{source} holds tensors twice, with a wrapper's prefix and without: {listed(twice)}.",
            cause="A state of a wrapped model and one of the model itself were saved into one file.",
            remedy="Save one of them alone.",
        )
    said = [f"{source}: {len(stored)} tensors are read without {' and '.join(dict.fromkeys(taken))}"] if taken else []
    return TensorNames(found, patterns, [f"{one} in their names, which a wrapper put there." for one in said])


def listed(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    found = sorted(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def _of_safetensors(file: Path) -> dict[str, Stored]:
    with open_tensors(file, "np") as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - it is no dict
        return {name: Stored(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}


def _of_pickle(file: Path) -> dict[str, Stored]:
    import torch

    kinds = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    state = load_plain(file, "meta")
    return {str(name): Stored(kinds.get(one.dtype, str(one.dtype)), tuple(one.shape)) for name, one in state.items()}
