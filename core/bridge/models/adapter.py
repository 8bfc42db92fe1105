"""The interface that every model family implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, final

from bridge.errors import ModelError, UsageError
from bridge.models.dtype import AUTO, decided_dtype
from bridge.models.loaded import LoadedModel
from bridge.models.quantize import FULL, Quantize
from bridge.models.tokenizer import Tokenizer
from bridge.models.weights import Weights
from bridge.references import Site


@final
@dataclass(frozen=True)
class Alias:
    """A short name for a model.

    Attributes:
        name: What the user writes.
        model: Hub id, or a path known to the family's adapter.
        site: Default site if the user gives none (`20`), or empty.
        variants: For `name:variant`, the model of each variant.
        verbalizer: The verbalizer released for the model at that site, as `nla:checkpoint=hub:user/repo`, or empty.
        corpus: Default corpus of the model if the user names none (a `NamedCorpus`'s name, or a path); empty for its
            family's corpus.
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
    """Properties of a model that are known without loading its weights.

    Attributes:
        d_model: Width of the residual stream.
        n_layers: Number of blocks.
        max_tokens: Maximal length of a text in tokens, or None if there is no limit.
        causal: Whether the model predicts the next token from the tokens before. In an encoder each token sees the
            whole text: its sites can be read, but it has no loss, generates no text, and cannot be steered.
    """

    d_model: int
    n_layers: int
    max_tokens: int | None = None
    causal: bool = True


@final
@dataclass(frozen=True)
class Placement:
    """Device and dtype of a model in memory.

    Attributes:
        device: `cpu`, `mps`, `cuda` (spread over all GPUs), `cuda:N`, or `auto`: the best available device.
        dtype: `bfloat16` or `float32`. `auto` is decided when the placement is made: the dtype that the device
            multiplies faster; see `bridge.models.dtype`.
        quantize: Bits of the weights of linear layers: `none`, `8bit` or `4bit`; see `bridge.models.quantize`.

    Raises:
        UsageError: If the dtype is unknown, or is `auto` for a device that this machine does not have.
    """

    device: str = "auto"
    dtype: str = AUTO
    quantize: Quantize = field(default=FULL, repr=False)  # what runs readers' own, full weights is keyed by the rest

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
    """Describes one family of models: the adapter gives the locations, and the core reads and edits there.

    Laws, checked by `bridge.testing.check_model` on the family's own tiny random checkpoints:
        - `describe` returns the width and depth of the loaded model, and whether it is causal.
        - No token of a causal model sees later tokens.
        - `resid_post` of a block is `resid_pre` of the next; if the family names the points, `resid_pre + attn_out +
          mlp_out = resid_post`, and `resid_mid = resid_pre + attn_out`.
        - Every family has `resid_post`, the point that `@20` means. A forward pass reaches the points of a block in the
          order of `bridge.references.POINTS`.
        - Batching texts of different lengths does not change results.
        - In a causal model, an edit at a site changes only later values; the last block's
          `resid_post` decides the prediction.
        - Texts that are read in a batch and in parts, from a cache of keys and values if there is one, give the same
          predictions as each text alone and whole.
        - Token ends never decrease, lie within the text, and reach its end if it is not cut; no text has more than
          `max_tokens` tokens, special tokens included.
        - `tokenizer` tokenises texts as the loaded model does: pairing uses the former, collection the latter.
        - A stand-in has the depth, the class and the kinds of blocks of its model, and the width that was asked for; it
          loads, and it needs only the model's small files.
    """

    name: ClassVar[str]
    """Unique among installed families."""

    fallback: ClassVar[bool] = False
    """Whether any other family that claims a model is preferred to this one."""

    quantizes: ClassVar[bool] = False
    """Whether `load` heeds `Placement.quantize`. Other families are not asked to: the option is refused for them."""

    def aliases(self) -> Sequence[Alias]:
        """Return the short names that this family provides."""
        return ()

    def corpus(self) -> str:
        """Return the default corpus of this family if the user names none; empty for natural language.

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
            Width, depth, and the other properties of the model.
        """

    def parameters(self, weights: Weights) -> int | None:
        """Count the model's parameters without loading weights, or return None if the family cannot.

        Args:
            weights: The checkpoint.

        Returns:
            The number, or None.
        """
        return None

    def check_weights(self, weights: Weights) -> Sequence[str]:
        """Check weights on this machine before any computation, without reading them.

        Args:
            weights: The checkpoint.

        Returns:
            Notes for the user on how the weights are read, as sentences: kept in the provenance of every result.

        Raises:
            ModelError: If weights are missing, or do not belong to the model.
        """
        return ()

    def point_of(self, weights: Weights, site: Site) -> Site:
        """Return a site by the name of its point, if the site is the path of a module whose output is that point.

        Args:
            weights: The checkpoint; only its configuration is read.
            site: A site of a model of this family.

        Returns:
            The same site as `Layout.point_of` names it; the site unchanged if the family cannot tell.
        """
        return site

    def check_sites(self, weights: Weights, sites: Sequence[Site]) -> None:  # noqa: B027
        """Refuse sites that the model does not have, as far as its configuration shows, before weights are loaded.

        Args:
            weights: The checkpoint.
            sites: All requested sites.

        Raises:
            UsageError: If the model has no such site.
        """

    @abstractmethod
    def tokenizer(self, weights: Weights) -> Tokenizer:
        """Load the tokenizer alone.

        Args:
            weights: The checkpoint.

        Returns:
            The tokenizer that the model expects.
        """

    @abstractmethod
    def load(self, weights: Weights, placement: Placement) -> LoadedModel:
        """Load the model for inference.

        Args:
            weights: The checkpoint.
            placement: Where the model goes, and in which dtype.

        Returns:
            The model with its tokenizer and its sites.

        Raises:
            ModelUnavailableError: If the weights cannot be obtained.
            ModelError: If the model does not have the layout of this family.
        """

    @abstractmethod
    def write_tiny_checkpoints(self, folder: Path) -> Sequence[Path]:
        """Write a tiny checkpoint with random weights for every real class of the family, for certification.

        Args:
            folder: An empty folder.

        Returns:
            One sub-folder per checkpoint, each with weights, configuration and tokenizer.
        """

    def known_configs(self) -> Mapping[str, Path]:
        """Return folders with the `config.json` of released models, by hub id, for rehearsals without a network.

        A folder may also hold a `tokenizer_config.json`; `add_bos_token` in it says that texts begin with BOS. Default:
        none.

        Returns:
            Folders that the package brings.
        """
        return {}

    def write_stand_in(self, weights: Weights, folder: Path, d_model: int) -> None:
        """Write a checkpoint with random weights that stands for a model in a rehearsal.

        It has the model's class, number of blocks and kind of tokenizer; width, heads and vocabulary are small. Only
        the model's small files are read.

        Args:
            weights: The model; its weights need not be here.
            folder: To write; it does not exist yet.
            d_model: Width of the stand-in, a multiple of 32.

        Raises:
            ModelError: If the family gives no stand-ins, or none of this model.
        """
        raise ModelError(
            f"The family {self.name} gives no stand-in of {weights.source}.",
            cause="A family plugin need not have one.",
            remedy="Implement ModelAdapter.write_stand_in in the family's plugin.",
        )
