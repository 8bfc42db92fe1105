"""Loaded by every process of vLLM: the text decoder of a wrapper that reads images, by the backend for transformers.

vLLM 0.32.0 gives no hidden states of such wrappers. The decoder is a causal model of its own, with the wrapper's
weights under other names; the entry point is in the folder `bridge_vllm-1.dist-info`.
"""

from __future__ import annotations

NAME = "BridgeTextOfWrapper"
"""The architecture that vLLM is told."""


def register() -> None:
    """Tell vLLM of the architecture, without importing its models yet."""
    from vllm import ModelRegistry

    ModelRegistry.register_model(NAME, f"bridge_vllm_decoder:{NAME}")
