"""Runs in vLLM's environment, without bridge: says which implementations of an architecture give hidden states."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

BACKEND = "TransformersForCausalLM"
"""vLLM's backend for models of transformers, for text."""


def gives_hidden_states(architecture: str) -> tuple[bool, bool]:
    """Tell whether vLLM has an architecture, and whether it gives hidden states."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.interfaces import supports_eagle3

    if architecture not in ModelRegistry.get_supported_archs():
        return False, False
    try:
        kind: Any = ModelRegistry._try_load_model_cls(architecture)
    except ImportError:  # its module needs a package that is not installed
        return True, False
    return True, bool(kind is not None and supports_eagle3(kind))


def main() -> None:
    """Answer the question in the first argument, as the last line of standard output."""
    question = json.loads(sys.argv[1])
    with contextlib.redirect_stdout(sys.stderr):
        known, taps = gives_hidden_states(question["architecture"])
        also = gives_hidden_states(BACKEND)[1]
    sys.stdout.write(json.dumps({"known": known, "taps": taps, "backend": BACKEND if also else ""}) + "\n")


if __name__ == "__main__":
    main()
