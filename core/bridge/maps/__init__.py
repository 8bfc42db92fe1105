"""The contract of map plugins, and the affine map that every linear map type fits."""

from bridge.maps.affine import AffineMap, LinearMap
from bridge.maps.contract import FittedMap, Map
from bridge.maps.training_data import Array, RowBlocks, TrainingData
from bridge.maps.widths import check_width, need_equal_widths, refuse_unequal

__all__ = [
    "AffineMap",
    "Array",
    "FittedMap",
    "LinearMap",
    "Map",
    "RowBlocks",
    "TrainingData",
    "check_width",
    "need_equal_widths",
    "refuse_unequal",
]
