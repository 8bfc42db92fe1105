"""The contract of model plugins: where weights are, how text becomes tokens, and where the sites are."""

from bridge.models.adapter import Alias, ModelAdapter, ModelInfo, NamedCorpus, Placement
from bridge.models.decoding import Decoding
from bridge.models.gradients import Tape
from bridge.models.layout import Layout, Location, mixed, parallel, sequential
from bridge.models.loaded import LoadedModel
from bridge.models.streams import Streams
from bridge.models.tokenizer import Tokenizer, TransformersTokenizer
from bridge.models.transformers_adapter import TransformersAdapter
from bridge.models.weights import Weights

__all__ = [
    "Alias",
    "Decoding",
    "Layout",
    "LoadedModel",
    "Location",
    "ModelAdapter",
    "ModelInfo",
    "NamedCorpus",
    "Placement",
    "Streams",
    "Tape",
    "Tokenizer",
    "TransformersAdapter",
    "TransformersTokenizer",
    "Weights",
    "mixed",
    "parallel",
    "sequential",
]
