"""Rows of two models that correspond: equal character end offsets of one document."""

from bridge.pairing.align import Encoded, Encoder, Pairs, pair_document

__all__ = ["Encoded", "Encoder", "Pairs", "pair_document"]
