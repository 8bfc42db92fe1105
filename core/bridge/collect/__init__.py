"""Collection of one model's activations at some sites into the store."""

from bridge.collect.activations import ActivationSource, CollectSettings, activations_artifact, collect
from bridge.collect.batches import pad
from bridge.collect.memory import free_device_memory

__all__ = ["ActivationSource", "CollectSettings", "activations_artifact", "collect", "free_device_memory", "pad"]
