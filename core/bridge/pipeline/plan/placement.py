"""Where models go and how they are run, as a group of options says."""

from __future__ import annotations

from bridge.collect.activations import CollectSettings
from bridge.models import Placement
from bridge.pipeline.plan.groups import CorpusOptions, ModelOptions


def placement_of(models: ModelOptions) -> Placement:
    """Return where models go, with `auto` decided."""
    return Placement(models.device, models.dtype)


def collect_settings(models: ModelOptions, corpus: CorpusOptions) -> CollectSettings:
    """Return what the content of collected activations depends on."""
    placement = placement_of(models)
    device = placement.torch_device().partition(":")[0]
    return CollectSettings(placement.dtype, corpus.max_tokens, models.batch_size, device)
