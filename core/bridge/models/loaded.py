"""A model in memory, which runs batches and reads sites through nnsight."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.collect.batches import on_device
from bridge.corpus.documents import Document
from bridge.errors import ModelError, UsageError
from bridge.models.decoding import Cached, Decoding, Whole, generate
from bridge.models.gradients import Tape, frozen, record
from bridge.models.layout import Layout
from bridge.models.reached import reached
from bridge.models.tokenizer import Tokenizer
from bridge.models.view import View
from bridge.pairing.align import Encoded
from bridge.references import POINTS, Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bridge.models.decoding import Ids
    from bridge.models.edits import Edits

    ForwardInputs = Callable[[Tensor, Tensor], dict[str, Any]]
    CachedInputs = Callable[[Tensor, Tensor, Tensor, Any], dict[str, Any]]

TEXTS_AT_ONCE = 32
"""Number of texts that `generate` continues in one batch."""


@final
class LoadedModel:
    """A torch module with its tokenizer and the layout of its sites.

    Args:
        name: Name of the model in messages.
        module: The module to run; any `torch.nn.Module`.
        layout: Locations of the sites.
        tokenizer: Tokenises documents.
        d_model: Width of the residual stream.
        n_layers: Number of blocks.
        inputs: Turns ids and mask, both (batch, tokens) int64, into the keyword arguments of the module's forward. The
            forward returns an object with `logits` of next tokens, (batch, tokens, vocabulary), if the model is causal.
        causal: As in `ModelInfo`. If False, `logits`, `decoding` and `generate` raise.
        max_tokens: As in `ModelInfo`. Texts that would become longer are refused.
        ends: Token ids that end a text; default of `generate`.
        cached_inputs: If the model keeps a cache of keys and values: as `inputs`, from the new ids, the mask of all
            tokens so far, the positions of the new ids (all int64; (batch, new), (batch, tokens) and (batch, new)), and
            the `past_key_values` that the last pass returned, None at first. Padding is on the left. The pass returns
            `logits` of at least the last token, and `past_key_values`, which have transformers'
            `batch_select_indices`. If None, each new token costs a pass over the whole text.
        cached_tokens: Maximal length of texts with a valid cache; longer texts are read whole; None: no limit.

    Raises:
        ModelError: If a site is not at its location in the layout, or has another width: tested here on three tokens.
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
        causal: bool = True,
        max_tokens: int | None = None,
        ends: Sequence[int] = (),
        cached_inputs: CachedInputs | None = None,
        cached_tokens: int | None = None,
    ) -> None:
        from nnsight import NNsight

        self.name = name
        self.module = module.eval()
        self.layout = layout
        self.tokenizer = tokenizer
        self.d_model = d_model
        self.n_layers = n_layers
        self.causal = causal
        self.max_tokens = max_tokens
        self.ends = frozenset(ends)
        self._inputs = inputs
        self._cached_inputs, self._cached_tokens = cached_inputs, cached_tokens
        with warnings.catch_warnings():
            # About BERT's modules named `output`: nnsight renames them, and no layout needs them.
            warnings.filterwarnings("ignore", message=".* submodule named .* already serves", category=UserWarning)
            self._traced = NNsight(self.module)
        self._envoys: dict[Any, Any] | None = None
        self._probe()

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Tokenise documents; see `Tokenizer.encode`.

        Args:
            documents: Texts or conversations.
            max_tokens: Number of tokens after which documents are cut.

        Returns:
            Ids and the end positions of tokens in characters, one record per document.
        """
        return self.tokenizer.encode(documents, max_tokens)

    def activations(self, ids: Tensor, mask: Tensor, sites: Sequence[Site]) -> list[Tensor]:
        """Run a padded batch up to the deepest site and read every site.

        Args:
            ids: Token ids, padded on the right, (batch, tokens) int64.
            mask: 1 for tokens and 0 for padding, (batch, tokens) int64.
            sites: Sites to read.

        Returns:
            For each site (batch, tokens, d_model), on the model's device and in its dtype.

        Raises:
            UsageError: If the family has no such point.
            ModelError: If a site's activations have an unexpected shape.
        """
        import nnsight
        import torch

        ordered = self._in_order(sites)
        steps = [(*self._envoy(site), self._view(site, (*ids.shape, self.d_model))) for site in ordered]
        with torch.inference_mode(), self._traced.trace(**self._placed(ids, mask)) as tracer:
            captured = nnsight.save([])
            for envoy, side, view in steps:
                value = envoy.output if side == "output" else envoy.input
                # A clone, because later modules of some architectures change the residual stream in place.
                captured.append(view.read(value[0] if isinstance(value, (tuple, list)) else value).clone())
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

    def logits(self, ids: Tensor, mask: Tensor, edits: Edits | None = None) -> Tensor:
        """Run a padded batch to the logits, with edits of activations.

        Args:
            ids: Token ids, padded on the right, (batch, tokens) int64.
            mask: 1 for tokens and 0 for padding, (batch, tokens) int64.
            edits: For each site a function of its activations, (batch, tokens, d_model) -> the same shape, on the
                model's device and in its dtype; later modules read the result.

        Returns:
            Logits of the next token, (batch, tokens, vocabulary).

        Raises:
            UsageError: If the family has no such point, or the model is not causal.
        """
        if not self.causal:
            raise no_next_token(self.name)
        logits: Tensor = self._run(self._placed(ids, mask), edits or {}, ids).logits
        return logits

    def decoding(self, longest: int) -> Decoding:
        """Start to read a batch of texts in parts, with the logits of the next token after each part.

        Uses a cache of keys and values if the family keeps one; otherwise reads the whole text again. Both give
        the same predictions and apply edits in the same way.

        Args:
            longest: Maximal number of tokens of a text, up to the last token that is read.

        Returns:
            The decoding, which reads the texts' parts.

        Raises:
            UsageError: If the model is not causal, or cannot read texts of this length.
        """
        if not self.causal:
            raise no_next_token(self.name)
        need_room(self.name, longest, self.max_tokens)
        if self._cached_inputs is None or (self._cached_tokens is not None and longest > self._cached_tokens):
            return Whole(longest, self.logits)
        return Cached(longest, self._continue)

    def generate(
        self,
        prompts: Sequence[Ids],
        new_tokens: int,
        edits: Sequence[Edits] = (),
        ends: Collection[int] | None = None,
    ) -> list[list[int]]:
        """Continue texts greedily, with the likeliest token. Other texts in a batch change only rounding.

        Args:
            prompts: Token ids of each text, (tokens,) int64, at least one.
            new_tokens: Maximal number of tokens to add.
            edits: For each text, by site, a function of its activations at all positions, also added ones: (1,
                tokens, d_model) -> the same shape, as for `Decoding.read`; tokens are those of the prompt, then each
                added token alone. Empty for none. An edit of one position in the prompt needs `decoding`.
            ends: Token ids that end a text; None for the model's own, `self.ends`.

        Returns:
            For each text the ids of the added tokens, without the token that ended the text.

        Raises:
            UsageError: If the model is not causal, a text is empty, or a text would become too long for the model.
        """
        longest = max([len(prompt) for prompt in prompts], default=0) + new_tokens - 1
        self.decoding(longest)  # raises before any pass
        added = []
        for start in range(0, len(prompts), TEXTS_AT_ONCE):
            some = slice(start, start + TEXTS_AT_ONCE)
            stops = self.ends if ends is None else ends
            added += generate(self.decoding(longest), prompts[some], new_tokens, edits[some], stops)
        return added

    def tape(self, ids: Ids, sites: Sequence[Site], *, copies: int = 1, skip: int = 0) -> Tape:
        """Run one text up to the deepest site and keep the graph, for gradients between sites.

        Nothing after the deepest site is computed. Parameters are not part of the graph. One backward pass computes one
        gradient per copy: each copy has its own function.

        Args:
            ids: Token ids of the text, (tokens,) int64, more than `skip`.
            sites: The sites; modules named by path are not allowed.
            copies: Number of copies of the text in the batch.
            skip: Number of tokens at the beginning that need no gradient. They are read first, into the cache of keys
                and values, if the family has a cache valid for such texts; otherwise they stay in the graph.

        Returns:
            The activations, and the number of tokens that they omit at the beginning: `skip` or 0.

        Raises:
            UsageError: If the family has no such point.
            ModelError: If a site's activations have an unexpected shape.
        """
        import torch

        ordered = self._in_order(sites)
        located = [self.layout.locate(site) for site in ordered]
        places = {
            site: (self.module.get_submodule(path), side) for site, (path, side) in zip(ordered, located, strict=True)
        }
        batch = torch.from_numpy(ids).expand(copies, -1)
        mask = torch.ones_like(batch)
        skipped = skip if self._cached_inputs and len(ids) <= (self._cached_tokens or len(ids)) else 0
        with frozen(self.module):
            values: dict[Site, Tensor] = {}
            if skipped:
                rest = self._after(batch, mask, skipped)
                values = record(places, lambda: self.module(**rest))
            # With a cache, some models compute late blocks for the last token only.
            if {value.shape[:2] for value in values.values()} != {(copies, len(ids) - skipped)}:
                skipped, whole = 0, self._placed(batch, mask)
                values = record(places, lambda: self.module(**whole))
        expected = (copies, len(ids) - skipped, self.d_model)
        for site, value in values.items():
            if tuple(value.shape) != expected:
                raise ModelError(
                    f"{self.name} gives shape {tuple(value.shape)} at site {site}, not {expected}.",
                    cause="The model family's adapter points at the wrong module.",
                )
        return Tape(values, skipped)

    def _after(self, ids: Tensor, mask: Tensor, read: int) -> dict[str, Any]:
        """Read the first `read` tokens without gradients, and return the inputs of the tokens after them."""
        import torch

        assert self._cached_inputs is not None
        device = next(self.module.parameters()).device
        ids, mask = ids.to(device), mask.to(device)
        places = torch.arange(ids.shape[1], device=device).expand_as(ids)
        # Not in inference mode: its tensors cannot be part of a graph later.
        with torch.no_grad():
            first = self._cached_inputs(ids[:, :read], mask[:, :read], places[:, :read], None)
            cache = self.module(**first).past_key_values
        return self._cached_inputs(ids[:, read:], mask, places[:, read:], cache)

    def _continue(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any, edits: Edits) -> Any:
        device = next(self.module.parameters()).device
        assert self._cached_inputs is not None
        inputs = self._cached_inputs(ids.to(device), mask.to(device), positions.to(device), cache)
        return self._run(inputs, edits, ids)

    def _run(self, inputs: dict[str, Any], edits: Edits, ids: Tensor) -> Any:
        import nnsight
        import torch

        steps = self._edits(edits, (*ids.shape, self.d_model))
        if not steps:
            with torch.inference_mode():
                return self.module(**inputs)
        with torch.inference_mode(), self._traced.trace(**inputs):
            for envoy, side, edit in steps:
                value = envoy.output if side == "output" else envoy.input
                rest = tuple(value[1:]) if isinstance(value, (tuple, list)) else None
                changed = edit(value if rest is None else value[0])
                replaced = changed if rest is None else type(value)((changed, *rest))
                if side == "output":
                    envoy.output = replaced
                else:
                    envoy.input = replaced
            found = nnsight.save(self._traced.output)
        output: Any = found
        return output

    def _edits(self, edits: Edits, shape: tuple[int, ...]) -> list[tuple[Any, str, Callable[[Tensor], Tensor]]]:
        """Return the edit of each end of a module: sites that are the same tensor are edited in order."""
        steps: dict[tuple[Any, str], list[tuple[View, Callable[[Tensor], Tensor]]]] = {}
        for site in self._in_order(list(edits)):
            view = self._view(site, shape)
            view.need_editable()
            steps.setdefault(self._envoy(site), []).append((view, edits[site]))

        def rewritten(views: list[tuple[View, Callable[[Tensor], Tensor]]]) -> Callable[[Tensor], Tensor]:
            def edit(value: Tensor) -> Tensor:
                for view, change in views:
                    # A clone, so that an edit in place cannot reach what the network still holds of the old value.
                    value = view.write(value, change(view.read(value).clone()))
                return value

            return edit

        return [(*end, rewritten(views)) for end, views in steps.items()]

    def _view(self, site: Site, shape: tuple[int, ...]) -> View:
        return View(shape, self.layout.streams(site), site.stream, site.is_module)

    def _envoy(self, site: Site) -> tuple[Any, str]:
        path, side = self.layout.locate(site)
        if self._envoys is None:
            # By the module and not by the path: nnsight renames children that it has attributes for (BERT's `output`).
            self._envoys = {envoy._module: envoy for envoy in self._traced.modules()}
        return self._envoys[self.module.get_submodule(path)], side

    def _in_order(self, sites: Sequence[Site]) -> list[Site]:
        """Sort sites as a pass reaches them: modules that the user named stand anywhere, so a pass is watched."""
        import torch

        if not any(site.is_module for site in sites):
            return sorted(sites, key=lambda site: site.order)
        places = {site: self.layout.locate(site) for site in sites}
        ids = torch.zeros((2, 3), dtype=torch.int64)
        # Not kept: which sites are asked for changes from call to call, and three tokens are few.
        inputs = self._placed(ids, torch.ones_like(ids))
        times = reached(self.module, inputs, places, (2, 3, self.d_model), self.layout.blocks)
        return sorted(sites, key=times.__getitem__)

    def _placed(self, ids: Tensor, mask: Tensor) -> dict[str, Any]:
        device = next(self.module.parameters()).device
        return self._inputs(on_device(ids, device), on_device(mask, device))

    def _probe(self) -> None:
        import torch

        modules = dict(self.module.named_modules())
        sites = [
            Site(layer, point) for layer in range(self.n_layers) for point in POINTS if point in self.layout.points
        ]
        missing = [path for path, _ in map(self.layout.locate, sites) if path not in modules]
        if missing:
            raise ModelError(
                f"{self.name} ({type(self.module).__name__}) has no module {missing[0]}.",
                cause="Its architecture is not the one that the adapter was written for.",
                remedy="Use a model family plugin that knows it; `bridge plugins --kind models` lists them.",
            )
        # The one id that the smallest vocabulary has.
        ids = torch.zeros((1, 3), dtype=torch.int64)
        kinds = set(self.layout.kinds())
        self.activations(ids, torch.ones_like(ids), [site for site in sites if site.layer in kinds])


def no_next_token(name: str) -> UsageError:
    """Return the refusal of whatever needs predictions from a model that is not causal."""
    return UsageError(
        f"{name} predicts no next token: it is an encoder.",
        cause="Its activations can be read, mapped and explained, but it has no loss and continues no text.",
        remedy="Use a causal language model here; an encoder can still be the source of a bridge to one.",
    )


def need_room(name: str, longest: int, max_tokens: int | None) -> None:
    """Refuse to continue texts until they are longer than a model reads.

    Raises:
        UsageError: If they would be.
    """
    if max_tokens is not None and longest > max_tokens:
        raise UsageError(
            f"{name} reads at most {max_tokens} tokens, and a text would come to {longest}.",
            remedy=f"Shorten the text, or add {longest - max_tokens} tokens fewer.",
        )
