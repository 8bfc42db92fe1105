"""Sparse dictionaries: their computation, their origin, and the contract of dictionary formats."""

from bridge.dictionaries.activations import Activation, Gated, JumpReLU, ReLU, TopK
from bridge.dictionaries.contract import Dictionary, DictionaryFormat, Origin
from bridge.dictionaries.initial import initial_directions
from bridge.dictionaries.sparse_autoencoder import SparseAutoencoder

__all__ = [
    "Activation",
    "Dictionary",
    "DictionaryFormat",
    "Gated",
    "JumpReLU",
    "Origin",
    "ReLU",
    "SparseAutoencoder",
    "TopK",
    "initial_directions",
]
