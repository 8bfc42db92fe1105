"""Names of what is scored side by side: the mapped arm, what it could reach at most, and its controls."""

MAPPED = "mapped"
"""The arm of the fitted map."""

NATIVE = "native"
"""The arm of a model's own tool, without a map: the score of a perfect map."""

RAW = "raw"
"""The arm of the source's tool without a map, for equal widths only."""

MISPAIRED = "mispaired"
"""The arm of the same map type, fitted on rows of different documents, which do not correspond."""

RANDOM_MAP = "random_map"
"""The arm of a random rotation of equal scale."""

RANDOM_DIRECTION = "random_direction"
"""The arm of random directions of equal length."""

SELF = "self"
"""The arm of a model's tool on that model itself."""
