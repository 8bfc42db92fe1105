"""Activations from NDIF, the National Deep Inference Fabric: forward passes on its machines, through nnsight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal, final

from bridge.errors import UsageError
from bridge.hookspecs import hookimpl
from bridge.models import Placement, TransformersAdapter
from bridge.references import POINTS, Site
from bridge.sources import ActivationBackend, ActivationSource, Checkpoint, need_point
from bridge_sources.ndif.asked import Asked, revision_of

bridge_api = "1.4"


@final
@dataclass(frozen=True)
class Ndif(ActivationBackend):
    """Models of the hub that NDIF runs on its machines, through nnsight's remote=True; no weights are loaded here.

    Attributes:
        mode: `remote`, or `local` to serialise every request as for NDIF and to run it here, on weights that are here.
        texts: Texts of one forward pass there. The passes of a batch are one session, and one request.
        patience: Seconds to wait for a server that is busy, or whose quota is used up.
        wait: Seconds to wait for the result of a request.
        deploy: Ask also for a model that is not deployed, which NDIF then deploys for keys that may.
    """

    mode: Literal["remote", "local"] = "remote"
    texts: int = 16
    patience: int = 600
    wait: int = 3600
    deploy: bool = False

    name = "ndif"
    summary = "NDIF: models of the hub on its machines, through nnsight"

    def check(self, model: Checkpoint, sites: Sequence[Site]) -> Sequence[str]:
        """Refuse what cannot be asked for remotely, and say what is not known.

        Args:
            model: The model.
            sites: The sites; points of blocks only.
        """
        if min(self.texts, self.patience + 1, self.wait) < 1:
            raise UsageError("ndif needs at least one text for each pass, and times that are not negative.")
        need_point(self.name, sites, POINTS)
        if not model.info.causal or not isinstance(model.adapter, TransformersAdapter):
            raise UsageError(
                f"NDIF does not serve {model.name} to bridge.",
                cause="Causal language models of transformers are served.",
                remedy="Leave --src-activations and --dst-activations out for this model.",
            )
        if self.mode == "local":
            return ("nnsight serialised every request as for NDIF and ran it here (mode=local).",)
        if model.weights.folder:
            raise UsageError(
                f"{model.name} is a folder of this machine, and NDIF runs models of the hub.",
                remedy="Name the model by its id on the hub; or use ndif:mode=local, or leave the option out.",
            )
        return (
            f"NDIF ran {model.weights.source} at its revision {revision_of(model)}. Which commit that was, on which "
            "devices and with which versions it ran, is not known here.",
            "Only the forward passes of collection run there: what edits the model, continues text or needs gradients "
            "loads it here.",
        )

    def identity(self, model: Checkpoint) -> Mapping[str, str]:
        """Return nnsight's version, and what is known of the weights.

        Args:
            model: The model.
        """
        found = {"nnsight": version("nnsight"), "mode": self.mode, "texts": str(self.texts)}
        return found if self.mode == "local" else found | {"revision": revision_of(model)}

    @contextmanager
    def open(self, model: Checkpoint, sites: Sequence[Site], placement: Placement) -> Iterator[ActivationSource]:
        """Build the model without weights, and see whether NDIF runs it.

        Args:
            model: The model.
            sites: The sites.
            placement: The dtype that NDIF must answer in; the device is NDIF's own, except with `mode=local`.
        """
        from bridge_sources.ndif.source import open_source

        asked = Asked(self.mode, self.texts, self.patience, self.wait, self.deploy)
        yield open_source(asked, model, sites, placement)


@hookimpl
def register_activation_sources(register: Callable[[type[ActivationBackend]], None]) -> None:
    """Offer the source `ndif`."""
    register(Ndif)
