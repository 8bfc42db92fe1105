"""The contract of verbalizer plugins, and the washout strategies that work with all of them."""

from bridge.verbalizers.contract import Blends, Explanation, Verbalizer, VerbalizerBackend, check_site, check_vectors
from bridge.verbalizers.contrast import contrast_scores
from bridge.verbalizers.known import KnownReader
from bridge.verbalizers.lens import LensRecipe, LensSubject
from bridge.verbalizers.subject import Passage, Recipe, Subject
from bridge.verbalizers.washout import Background, Washout

__all__ = [
    "Background",
    "Blends",
    "Explanation",
    "KnownReader",
    "LensRecipe",
    "LensSubject",
    "Passage",
    "Recipe",
    "Subject",
    "Verbalizer",
    "VerbalizerBackend",
    "Washout",
    "check_site",
    "check_vectors",
    "contrast_scores",
]
