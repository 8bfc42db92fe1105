"""Sparse dictionaries: what they compute, where they belong, and the contract of the plugins that read them."""

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
