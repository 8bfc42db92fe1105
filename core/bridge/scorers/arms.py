"""Names of what is scored side by side: the mapped arm, what it could reach at most, and its controls."""

MAPPED = "mapped"
"""The arm of the fitted map."""

NATIVE = "native"
"""The arm of a model's own, without a map: what a perfect one could reach."""

RAW = "raw"
"""The arm of the source's as it is, where widths are equal: what no map at all does."""

MISPAIRED = "mispaired"
"""The arm of the same map, fitted on rows of other documents: what it learns where there is nothing."""

RANDOM_MAP = "random_map"
"""The arm of a random rotation of equal scale."""

RANDOM_DIRECTION = "random_direction"
"""The arm of random directions of equal length."""

SELF = "self"
"""The arm of a model's tool on that model itself."""
