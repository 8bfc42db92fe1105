"""Pairing of two models' tokens by equal character end offsets in one document."""

from bridge.pairing.align import Encoded
from bridge.pairing.align import Pairs as Pairs
from bridge.pairing.align import pair_document as pair_document

__all__ = ["Encoded"]
