"""The open source: requests of several forward passes, and their rows put back into padded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from nnsight.modeling.transformers import TransformersModel
from nnsight.schema.config import CONFIG

from bridge.errors import BridgeError, ModelError, UsageError
from bridge.models import Layout, Placement, TransformersAdapter
from bridge.models.transformers_adapter import quiet
from bridge.pairing.align import Encoded
from bridge.references import Site
from bridge.sources import Checkpoint
from bridge_sources.ndif.asked import MAIN, Asked, revision_of
from bridge_sources.ndif.client import Job, deployments
from bridge_sources.ndif.request import ROWS, read
from bridge_sources.ndif.words import no_key, not_deployed, of_answer

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.corpus.documents import Document

RUNS = "RUNNING"
TASK = "text-generation"
PUBLIC = "api.ndif.us"


@final
class NdifSource:
    """A model on NDIF as a source of activations.

    Args:
        model: The model.
        wrapped: nnsight's wrapper of it, without weights.
        layout: Where its sites are.
        options: Options of the source.
        dtype: The dtype that answers must have.
    """

    def __init__(self, model: Checkpoint, wrapped: Any, layout: Layout, options: Asked, dtype: torch.dtype) -> None:
        self.name, self.d_model = model.name, model.info.d_model
        self._tokenizer = model.adapter.tokenizer(model.weights)
        self._wrapped, self._layout, self._options, self._dtype = wrapped, layout, options, dtype

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Tokenise documents; see `Tokenizer.encode`.

        Args:
            documents: Texts or conversations.
            max_tokens: Number of tokens after which documents are cut.
        """
        return self._tokenizer.encode(documents, max_tokens)

    def activations(self, ids: Tensor, mask: Tensor, sites: Sequence[Site]) -> list[Tensor]:
        """Run a padded batch in one request, in passes of a few texts.

        Args:
            ids: Token ids, padded on the right, (batch, tokens) int64.
            mask: 1 for tokens and 0 for padding, (batch, tokens) int64.
            sites: Sites to read.

        Returns:
            For each site (batch, tokens, d_model); padding is 0.

        Raises:
            BridgeError: If the request fails, or the answer has other shapes or another dtype.
        """
        ordered = sorted(sites, key=lambda site: site.order)
        places = [self._layout.locate(site) for site in ordered]
        batches = [
            (ids[start : start + self._options.texts], mask[start : start + self._options.texts])
            for start in range(0, len(ids), self._options.texts)
        ]
        rows = self._rows(batches, places)
        kept = [int(some.sum()) for _, some in batches]
        expected = [(count, self.d_model) for count in kept for _ in places]
        self._check(rows, expected)
        by_site = {site: torch.cat(rows[place :: len(places)]) for place, site in enumerate(ordered)}
        return [self._padded(by_site[site], mask) for site in sites]

    def _rows(self, batches: Sequence[tuple[Tensor, Tensor]], places: Sequence[tuple[str, str]]) -> Any:
        if self._options.mode == "local":
            with quiet():
                return read(self._wrapped, {"remote": "local"}, batches, places)
        size = torch.finfo(self._dtype).bits // 8
        most = sum(int(mask.sum()) for _, mask in batches) * len(places) * self.d_model * size
        env = {"attn_implementation": self._wrapped.attn_implementation}
        job = Job(_key(self._wrapped, self.name), env, self._options.patience, self._options.wait, 2 * most)
        read(self._wrapped, {"backend": job}, batches, places)
        found = job.fetch()
        if not isinstance(found, Mapping) or ROWS not in found:
            raise of_answer(job.host, "no rows")
        return found[ROWS]

    def _check(self, rows: Any, expected: Sequence[tuple[int, int]]) -> None:
        whole = isinstance(rows, list) and all(isinstance(one, torch.Tensor) for one in rows)
        if not whole or [tuple(one.shape) for one in rows] != list(expected):
            said = str([tuple(one.shape) for one in rows][:4]) if whole else type(rows).__name__
            raise of_answer(CONFIG.API.HOST, f"{said}, not {list(expected)[:4]}")
        other = next((one.dtype for one in rows if one.dtype != self._dtype), None)
        if other is not None:
            name = str(other).removeprefix("torch.")
            raise UsageError(
                f"NDIF computes {self.name} in {name}, and {str(self._dtype).removeprefix('torch.')} was asked for.",
                remedy=f"Use --dtype {name}." if name in ("bfloat16", "float32") else "Use another source.",
            )
        if not all(bool(torch.isfinite(one).all()) for one in rows):
            raise ModelError(f"NDIF gives activations of {self.name} that are not finite.")

    def _padded(self, rows: Tensor, mask: Tensor) -> Tensor:
        whole = rows.new_zeros((*mask.shape, self.d_model))
        whole[mask.bool()] = rows
        return whole


def open_source(options: Asked, model: Checkpoint, sites: Sequence[Site], placement: Placement) -> NdifSource:
    """Build a model on the meta device, find its sites, and see whether NDIF runs it.

    Raises:
        UsageError: If a site cannot be read remotely.
        ModelError: If its sites cannot be found without weights.
        BridgeError: If NDIF cannot be reached, has no such model, or there is no key.
    """
    adapter = model.adapter
    assert isinstance(adapter, TransformersAdapter)  # `check` refuses other models
    if options.mode == "remote":
        _need_service(options, model)
    wrapped = _wrapped(options, model, placement)
    try:
        layout = adapter.layout(wrapped._module)
        several = [str(site) for site in sites if layout.streams(site) is not None]
    except BridgeError:
        raise
    except Exception as error:  # a family that finds its sites by running the model
        raise ModelError(
            f"The sites of {model.name} cannot be found without its weights ({type(error).__name__}: {error}).",
            remedy="Use transformers (leave the option out), or a family with a fixed layout.",
        ) from error
    if several:
        raise UsageError(f"{model.name} has several residual streams, which cannot be read remotely: {several[0]}.")
    return NdifSource(model, wrapped, layout, options, getattr(torch, placement.dtype))


def _wrapped(options: Asked, model: Checkpoint, placement: Placement) -> Any:
    tokenizer = model.adapter.tokenizer(model.weights)
    given: dict[str, Any] = {"dtype": placement.dtype, "task": TASK, "tokenizer": getattr(tokenizer, "tokenizer", None)}
    device = placement.torch_device() if options.mode == "local" else "cpu"
    given |= {"device_map": device} if device != "cpu" else {}
    revision = model.weights.revision if options.mode == "local" else revision_of(model)
    given |= {"revision": revision} if revision and revision != MAIN else {}
    try:
        with quiet():
            return TransformersModel(model.weights.source, **given)
    except Exception as error:  # transformers and the hub raise many kinds of errors
        raise ModelError(
            f"nnsight cannot build {model.name} without weights ({type(error).__name__}: {error}).",
            cause="transformers has no causal language model of this type, or its configuration cannot be fetched.",
        ) from error


def _need_service(options: Asked, model: Checkpoint) -> None:
    host = CONFIG.API.HOST
    if not CONFIG.API.APIKEY and PUBLIC in host:
        raise no_key(host)
    there, wanted, revision = deployments(), model.weights.source, revision_of(model)
    names = {str(one.get("repo_id", "")) for one in there if one.get("application_state") == RUNS}
    same = [one for one in there if str(one.get("repo_id", "")).casefold() == wanted.casefold()]
    served = any(one.get("application_state") == RUNS and (one.get("revision") or MAIN) == revision for one in same)
    if not served and not options.deploy:
        raise not_deployed(host, wanted if revision == MAIN else f"{wanted} at {revision}", sorted(names))


def _key(wrapped: Any, name: str) -> str:
    try:
        return str(wrapped.to_model_key())
    except Exception as error:  # nnsight asks the hub how it writes the model's name
        raise BridgeError(
            f"The hub could not be asked for the name of {name} ({type(error).__name__}: {error}).",
            cause="nnsight names models as the hub writes them, and needs the network for that.",
            remedy="Check the network and HF_TOKEN.",
        ) from error
