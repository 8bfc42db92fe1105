"""A model in memory: runs batches and reads sites, through nnsight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.corpus import Document
from bridge.errors import ModelError
from bridge.models.layout import Layout
from bridge.models.tokenizer import Tokenizer
from bridge.pairing import Encoded
from bridge.references import POINTS, Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    ForwardInputs = Callable[[Tensor, Tensor], dict[str, Any]]


@final
class LoadedModel:
    """A torch module, its tokenizer, and where its sites are.

    Args:
        name: What to call it in messages.
        module: The module that is run; any `torch.nn.Module`.
        layout: Where the sites are.
        tokenizer: Cuts documents into ids.
        d_model: Width of the residual stream.
        n_layers: Number of blocks.
        inputs: Turns ids and mask, both (batch, tokens) int64, into the keyword arguments of the module's forward.

    Raises:
        ModelError: If a site is not where the layout says, or has another width: probed at once, on three tokens.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        layout: Layout,
        tokenizer: Tokenizer,
        *,
        d_model: int,
        n_layers: int,
        inputs: ForwardInputs,
    ) -> None:
        from nnsight import NNsight

        self.name = name
        self.module = module.eval()
        self.layout = layout
        self.tokenizer = tokenizer
        self.d_model = d_model
        self.n_layers = n_layers
        self._inputs = inputs
        self._traced = NNsight(self.module)
        self._probe()

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Cut documents into tokens; see `Tokenizer.encode`."""
        return self.tokenizer.encode(documents, max_tokens)

    def activations(self, ids: Tensor, mask: Tensor, sites: Sequence[Site]) -> list[Tensor]:
        """Run a padded batch up to the deepest site and read every site.

        Args:
            ids: Token ids, padded on the right, (batch, tokens) int64.
            mask: 1 for tokens and 0 for padding, (batch, tokens) int64.
            sites: Where to read.

        Returns:
            For each site (batch, tokens, d_model), on the model's device and in its dtype.

        Raises:
            UsageError: If the family has no such point.
            ModelError: If a site's activations have an unexpected shape.
        """
        import nnsight
        import torch

        ordered = sorted(sites, key=lambda site: site.order)
        places = [self.layout.locate(site) for site in ordered]
        envoys = [(self._traced.get(path), side) for path, side in places]
        device = next(self.module.parameters()).device
        inputs = self._inputs(ids.to(device), mask.to(device))
        with torch.inference_mode(), self._traced.trace(**inputs) as tracer:
            captured = nnsight.save([])
            for envoy, side in envoys:
                value = envoy.output if side == "output" else envoy.input
                # A clone, because some architectures add to the residual stream in place further on.
                captured.append((value[0] if isinstance(value, tuple) else value).clone())
            tracer.stop()
        by_site = dict(zip(ordered, captured, strict=True))
        expected = (*ids.shape, self.d_model)
        for site, value in by_site.items():
            if tuple(value.shape) != expected:
                raise ModelError(
                    f"{self.name} gives shape {tuple(value.shape)} at site {site}, not {expected}.",
                    cause="The model family's adapter points at the wrong module.",
                )
        return [by_site[site] for site in sites]

    def _probe(self) -> None:
        import torch

        modules = dict(self.module.named_modules())
        sites = [
            Site(layer, point) for layer in (0, self.n_layers - 1) for point in POINTS if point in self.layout.points
        ]
        missing = [path for path, _ in map(self.layout.locate, sites) if path not in modules]
        if missing:
            raise ModelError(
                f"{self.name} ({type(self.module).__name__}) has no module {missing[0]}.",
                cause="Its architecture is not the one that the adapter was written for.",
                remedy="Use a model family plugin that knows it; `bridge plugins --kind models` lists them.",
            )
        ids = torch.tensor([[1, 2, 3]])
        self.activations(ids, torch.ones_like(ids), [site for site in sites if site.layer == 0])
