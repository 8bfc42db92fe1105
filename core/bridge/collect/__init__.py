"""Collection of one model's activations at some sites into the store, by one worker or by several."""

from bridge.collect.activations import ActivationSource, CollectSettings, activations_artifact
from bridge.collect.batches import pad
from bridge.collect.fill import collect
from bridge.collect.memory import free_device_memory
from bridge.collect.parts import Part
from bridge.collect.worker import Collector

__all__ = [
    "ActivationSource",
    "CollectSettings",
    "Collector",
    "Part",
    "activations_artifact",
    "collect",
    "free_device_memory",
    "pad",
]
