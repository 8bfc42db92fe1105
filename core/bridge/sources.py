"""The contract of plugins that supply activations: what they serve, what decides their bits, and the open source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bridge.collect.activations import ActivationSource
from bridge.errors import UsageError
from bridge.models import ModelAdapter, ModelInfo, Placement, Weights
from bridge.references import Site

__all__ = ["ActivationBackend", "ActivationSource", "Checkpoint", "PredictsText", "need_point"]


@final
@dataclass(frozen=True)
class Checkpoint:
    """A model, found but not loaded.

    Attributes:
        name: Name of the model in messages.
        adapter: Its family, with its tokenizer.
        weights: Its weights: a folder, or a hub id with its commit; they need not be on this machine.
        info: Width, depth, and other properties.
    """

    name: str
    adapter: ModelAdapter
    weights: Weights
    info: ModelInfo


@runtime_checkable
class PredictsText(Protocol):
    """An open source that also gives probabilities of text, so that bridge can test whether the model is trained.

    Attributes:
        vocabulary: Number of tokens that the model chooses from.
    """

    vocabulary: int

    def losses(self, texts: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
        """Measure how well every token of a text but the first is predicted.

        Args:
            texts: Token ids of each text, (tokens,) int64, at least two.

        Returns:
            For each text the negative log-probabilities in nats, (tokens - 1,) float64.
        """


class ActivationBackend(ABC):
    """Supplies a model's activations for collection; a frozen dataclass whose fields are its options.

    `--src-activations NAME:OPTION=VALUE` chooses it. It replaces the forward passes of collection only: what edits the
    model, continues text or needs gradients runs the model with transformers.

    Laws, checked by `bridge.testing.check_activation_source`:
        - A backend is a frozen dataclass with defaults for all options.
        - `check` accepts `resid_post` of a model that it serves, and refuses other models and sites with a
          `BridgeError` before anything is loaded.
        - `identity` returns texts by name, and the same ones each time; it does not depend on the sites.
        - `activations` returns finite (batch, tokens, d_model) for each site in the order of the sites; padding
          has any finite value.
        - Activations equal those of transformers for every token, the first included, within rounding.
        - Several sites in one call equal each site alone; a batch equals each text alone.
        - `losses`, if the source has them, equal those of transformers within rounding.
    """

    name: ClassVar[str]
    """Unique among installed sources."""

    summary: ClassVar[str] = ""
    """One line that says where the activations come from."""

    @property
    def compares(self) -> bool:
        """Whether the user asks for the comparison with transformers also where the model is large.

        bridge compares the activations of a short text with those of transformers when a source is used for the first
        time, if the model has at most a billion parameters and its weights are here. Default: for those models only.

        Returns:
            Whether to compare always.
        """
        return False

    def check(self, model: Checkpoint, sites: Sequence[Site]) -> Sequence[str]:
        """Refuse a model or sites that this source does not serve, before anything is loaded.

        Args:
            model: The model.
            sites: All sites that will be read.

        Returns:
            Sentences that a user must know about activations from this source; kept in the provenance. Default: none,
            and nothing is refused.

        Raises:
            BridgeError: If the source does not serve the model or a site, with the alternatives, or if something that
                it needs is not installed, with the next step.
        """
        return ()

    @abstractmethod
    def identity(self, model: Checkpoint) -> Mapping[str, str]:
        """Return everything that decides the bits of activations besides what bridge records for every source.

        bridge records weights, site, corpus, dtype, batch size, kind of device, and the version of transformers, which
        tokenises for every source. Activations with another identity are collected again.

        Args:
            model: The model.

        Returns:
            Texts by name, as `{"vllm": "0.32.0"}`: programs with their versions, and options that change bits; no
            addresses, and no options that only change speed. Empty if nothing else decides.

        Raises:
            BridgeError: If something that it needs is not installed.
        """

    @abstractmethod
    def open(
        self, model: Checkpoint, sites: Sequence[Site], placement: Placement
    ) -> AbstractContextManager[ActivationSource]:
        """Make the model ready to give activations at some sites, while the returned context is entered.

        bridge enters the context when the first shard is made, and leaves it when collection ends or fails: whatever
        was started then stops, and memory is given back.

        Args:
            model: The model.
            sites: The sites; `activations` is called for these or some of them.
            placement: Device and dtype.

        Returns:
            A context manager of the open source. Its `activations` gets token ids as bridge made them, BOS included,
            padded on the right with id 0; it must neither add, drop nor cut tokens. A `bridge.models.LoadedModel` is
            a source.

        Raises:
            BridgeError: If the model cannot be loaded or the service not be reached.
        """


def need_point(source: str, sites: Sequence[Site], points: Sequence[str]) -> None:
    """Refuse sites at points that a source does not serve.

    Args:
        source: Name of the source in the message.
        sites: All requested sites.
        points: The points that it serves, as `("resid_post",)`.

    Raises:
        UsageError: Naming the sites, the points, and the source that serves every site.
    """
    refused = [str(site) for site in sites if site.point not in points or site.layer < 0]
    if refused:
        raise UsageError(
            f"The source of activations {source} does not serve the site{'s' * (len(refused) > 1)} "
            f"{', '.join(refused)}.",
            cause=f"It serves {', '.join(points)} of blocks only.",
            remedy="Name such a site, as @20, or use transformers, which serves every site.",
        )
