"""The abstraction that every model family implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, final

from bridge.errors import UsageError
from bridge.models.dtype import AUTO, decided_dtype
from bridge.models.loaded import LoadedModel
from bridge.models.tokenizer import Tokenizer
from bridge.models.weights import Weights
from bridge.references import Site


@final
@dataclass(frozen=True)
class Alias:
    """A short name for a model.

    Attributes:
        name: What the user writes.
        model: Hub id, or a path that the family's adapter knows.
        site: The site meant where the user gives none (`20`), or empty.
        variants: For `name:variant`, the model that each variant means.
        verbalizer: The verbalizer released for the model at that site, as `nla:checkpoint=hub:user/repo`, or empty.
        corpus: The corpus that the model is run on where the user names none (a `NamedCorpus`'s name, or a path), or
            empty for its family's.
    """

    name: str
    model: str
    site: str = ""
    variants: Mapping[str, str] = field(default_factory=dict)
    verbalizer: str = ""
    corpus: str = ""


@final
@dataclass(frozen=True)
class NamedCorpus:
    """A short name for a corpus, as in `--corpus stories`.

    Attributes:
        name: What the user writes.
        path: A file or folder, in any form that `--corpus` reads.
    """

    name: str
    path: str


@final
@dataclass(frozen=True)
class ModelInfo:
    """What can be said of a model without loading its weights.

    Attributes:
        d_model: Width of the residual stream.
        n_layers: Number of blocks.
        max_tokens: Longest text it can read, or None where nothing limits it.
        causal: Whether it predicts the next token from what stands before. An encoder does not: its tokens see the
            whole text, it can be read at its sites, but has no loss, continues no text, and cannot be steered.
    """

    d_model: int
    n_layers: int
    max_tokens: int | None = None
    causal: bool = True


@final
@dataclass(frozen=True)
class Placement:
    """Where and how a model is held in memory.

    Attributes:
        device: `cpu`, `mps`, `cuda` (spread over all GPUs), `cuda:N`, or `auto`: the best there is.
        dtype: `bfloat16` or `float32`. `auto` may be given, and is decided when the placement is made, by what the
            device multiplies faster: see `bridge.models.dtype`.

    Raises:
        UsageError: If there is no such dtype; if `auto` is to be decided for a device that this machine does not have.
    """

    device: str = "auto"
    dtype: str = AUTO

    def __post_init__(self) -> None:
        device = self.torch_device() if self.dtype == AUTO else self.device
        object.__setattr__(self, "dtype", decided_dtype(self.dtype, device))

    def torch_device(self) -> str:
        """Return the device to use, with `auto` decided.

        Raises:
            UsageError: If this machine has no such device.
        """
        import torch

        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        if self.device == "auto":
            return next(kind for kind in there if there[kind])
        if not there.get(self.device.partition(":")[0], False):
            raise UsageError(
                f"There is no device {self.device} on this machine.",
                remedy=f"Use --device {' or '.join(kind for kind in there if there[kind])}.",
            )
        return self.device


class ModelAdapter(ABC):
    """Knows one family of models: an adapter says where things are, the core says what is done there.

    Laws, checked by `bridge.testing.check_model` on the family's own tiny random checkpoints:
        - `describe` tells the width and depth that the loaded model has, and whether it is causal.
        - No token of a causal model sees what stands to its right.
        - `resid_post` of a block is `resid_pre` of the next; where the family names them, `resid_pre + attn_out +
          mlp_out = resid_post`, and `resid_mid = resid_pre + attn_out`.
        - Every family has `resid_post`: it is what `@20` means. A forward pass reaches the points of a block in the
          order of `bridge.references.POINTS`.
        - Batching texts of different lengths changes nothing.
        - In a causal model, an edit at a site changes what comes after it and nothing else; the last block's
          `resid_post` decides the prediction.
        - Texts read side by side and part by part, from the cache of keys and values where there is one, are predicted
          from as each is alone and whole.
        - Token ends never decrease, lie within the text, and reach its end where it is not cut; no text has more than
          `max_tokens` tokens, specials included.
        - `tokenizer` cuts texts as the loaded model does: rows are paired by the one and collected by the other.
    """

    name: ClassVar[str]
    """Unique among installed families."""

    fallback: ClassVar[bool] = False
    """Whether every family that claims a model itself is preferred to this one."""

    def aliases(self) -> Sequence[Alias]:
        """Return the short names that this family brings."""
        return ()

    def corpus(self) -> str:
        """Return the corpus that this family is run on where the user names none; empty for natural language.

        A `NamedCorpus`'s name, or a path.
        """
        return ""

    @abstractmethod
    def claims(self, weights: Weights) -> bool:
        """Tell whether this family can load the weights, from their configuration alone.

        Args:
            weights: The checkpoint.
        """

    @abstractmethod
    def describe(self, weights: Weights) -> ModelInfo:
        """Read width and depth without loading weights.

        Args:
            weights: The checkpoint.

        Returns:
            Width, depth, and what else is known of the model.
        """

    def parameters(self, weights: Weights) -> int | None:
        """Count the model's parameters without loading weights, or return None where the family cannot.

        Args:
            weights: The checkpoint.

        Returns:
            How many, or None.
        """
        return None

    def check_weights(self, weights: Weights) -> Sequence[str]:
        """Check weights that are on this machine before anything is computed, without reading them.

        Args:
            weights: The checkpoint.

        Returns:
            What a user must know of how they are read, as sentences: kept in the provenance of every result.

        Raises:
            ModelError: If they are not all the model's, or not all there.
        """
        return ()

    def point_of(self, weights: Weights, site: Site) -> Site:
        """Name a site by its point, where it is written as the path of a module whose output that point is.

        Args:
            weights: The checkpoint; only its configuration is looked at.
            site: Of a model of this family.

        Returns:
            The same place as `Layout.point_of` names it; the site itself where the family cannot tell.
        """
        return site

    def check_sites(self, weights: Weights, sites: Sequence[Site]) -> None:  # noqa: B027
        """Refuse sites that the model does not have, as far as its configuration tells, before weights are loaded.

        Args:
            weights: The checkpoint.
            sites: All that are meant.

        Raises:
            UsageError: If the model has no such site.
        """

    @abstractmethod
    def tokenizer(self, weights: Weights) -> Tokenizer:
        """Load the tokenizer alone.

        Args:
            weights: The checkpoint.

        Returns:
            What cuts documents into tokens as the model expects them.
        """

    @abstractmethod
    def load(self, weights: Weights, placement: Placement) -> LoadedModel:
        """Load the model for inference.

        Args:
            weights: The checkpoint.
            placement: Where the model goes, and in which dtype.

        Returns:
            The model, its tokenizer and its sites.

        Raises:
            ModelUnavailableError: If the weights cannot be had.
            ModelError: If the layout is not the one that this family expects.
        """

    @abstractmethod
    def write_tiny_checkpoints(self, folder: Path) -> Sequence[Path]:
        """Write a tiny checkpoint with random weights for every real class of the family, for certification.

        Args:
            folder: An empty folder.

        Returns:
            One sub-folder a checkpoint, each with weights, configuration and tokenizer.
        """
