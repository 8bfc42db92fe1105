"""Which token of one model corresponds to which token of another: equal character end offsets of one document."""

from bridge.pairing.align import Encoded
from bridge.pairing.align import Pairs as Pairs
from bridge.pairing.align import pair_document as pair_document

__all__ = ["Encoded"]
