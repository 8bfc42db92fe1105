"""A model in memory: runs batches and reads sites, through nnsight."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, final

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
"""Texts that `generate` continues side by side."""


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
        inputs: Turns ids and mask, both (batch, tokens) int64, into the keyword arguments of the module's forward. That
            returns an object with `logits` of the next token, (batch, tokens, vocabulary), if the model is causal.
        causal: As in `ModelInfo`. Without, `logits`, `decoding` and `generate` refuse.
        max_tokens: As in `ModelInfo`. What would become longer is refused, not continued.
        ends: Token ids that end a text, wherever `generate` is given no others.
        cached_inputs: If the model keeps a cache of keys and values: as `inputs`, of ids that are new, the mask of all
            so far, the positions of the new ones (all int64; (batch, new), (batch, tokens) and (batch, new)), and
            what the last pass returned as `past_key_values`, None at first. Padding is on the left. The pass returns
            `logits` of the last token at least, and `past_key_values`, which have transformers'
            `batch_select_indices`. Without, each new token costs a pass over the whole text.
        cached_tokens: Longer texts are read whole, because the cache does not hold for them; None: it always does.

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
            # Of BERT's modules called `output`: nnsight renames them, and no layout has to point at one.
            warnings.filterwarnings("ignore", message=".* submodule named .* already serves", category=UserWarning)
            self._traced = NNsight(self.module)
        self._envoys: dict[Any, Any] | None = None
        self._probe()

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Cut documents into tokens; see `Tokenizer.encode`.

        Args:
            documents: Texts or conversations.
            max_tokens: Longer ones are cut.

        Returns:
            Ids and the characters that tokens end at, one record a document.
        """
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

        ordered = self._in_order(sites)
        steps = [(*self._envoy(site), self._view(site, (*ids.shape, self.d_model))) for site in ordered]
        with torch.inference_mode(), self._traced.trace(**self._placed(ids, mask)) as tracer:
            captured = nnsight.save([])
            for envoy, side, view in steps:
                value = envoy.output if side == "output" else envoy.input
                # A clone, because some architectures add to the residual stream in place further on.
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
        """Run a padded batch to its end, with activations rewritten on the way.

        Args:
            ids: Token ids, padded on the right, (batch, tokens) int64.
            mask: 1 for tokens and 0 for padding, (batch, tokens) int64.
            edits: For each site what to make of its activations, (batch, tokens, d_model) -> the same shape, on the
                model's device and in its dtype; what comes later in the network reads the result.

        Returns:
            Of the next token, (batch, tokens, vocabulary).

        Raises:
            UsageError: If the family has no such point, or the model is not causal.
        """
        if not self.causal:
            raise no_next_token(self.name)
        logits: Tensor = self._run(self._placed(ids, mask), edits or {}, ids).logits
        return logits

    def decoding(self, longest: int) -> Decoding:
        """Begin to read texts side by side, part by part, with the logits of what follows after each part.

        From a cache of keys and values where the family keeps one, else by reading all again: both predict the same,
        and hold edits in the same way.

        Args:
            longest: How many tokens a text will have at most, to the last one that is read.

        Returns:
            What reads the texts' parts.

        Raises:
            UsageError: If the model is not causal, or reads no text as long as that.
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
        """Continue texts, always by the likeliest token. What else stands in a batch changes nothing but rounding.

        Args:
            prompts: Token ids of each text, (tokens,) int64, one at least.
            new_tokens: How many tokens to add at most.
            edits: For each text, by site, what to make of its activations at every position, added ones too: (1,
                tokens, d_model) -> the same shape, as for `Decoding.read`; tokens are those of the prompt, then one by
                one those that are added. Empty for none. An edit of one place in the prompt needs `decoding`.
            ends: Token ids that end a text; None for the model's own, `self.ends`.

        Returns:
            For each text the ids of the added tokens, without the one that ended it.

        Raises:
            UsageError: If the model is not causal, a text is empty, or one would become longer than the model reads.
        """
        longest = max([len(prompt) for prompt in prompts], default=0) + new_tokens - 1
        self.decoding(longest)  # refuses before anything is run
        added = []
        for start in range(0, len(prompts), TEXTS_AT_ONCE):
            some = slice(start, start + TEXTS_AT_ONCE)
            stops = self.ends if ends is None else ends
            added += generate(self.decoding(longest), prompts[some], new_tokens, edits[some], stops)
        return added

    def tape(self, ids: Ids, sites: Sequence[Site], *, copies: int = 1, skip: int = 0) -> Tape:
        """Run one text up to the deepest site and keep the graph, so that gradients between sites can be taken.

        Nothing after the deepest site is computed. Parameters take no part in the graph. As many gradients as there are
        copies are taken in one pass backwards: in each copy that of another function.

        Args:
            ids: Token ids of the text, (tokens,) int64, more than `skip`.
            sites: Where; no modules that a user named by path.
            copies: How often the text stands in the batch.
            skip: How many tokens at the beginning need no gradient. They are read first, into the cache of keys and
                values, where the family keeps one that holds for such texts; else they stay part of the graph.

        Returns:
            The activations, and how many tokens at the beginning they leave out: `skip` or 0.

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
        """Return the inputs of what follows on the first `read` tokens, which are read now, without gradients."""
        import torch

        assert self._cached_inputs is not None
        device = next(self.module.parameters()).device
        ids, mask = ids.to(device), mask.to(device)
        places = torch.arange(ids.shape[1], device=device).expand_as(ids)
        # Not in inference mode: what is made there can take no part in a graph later.
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
        """Return what is done to each end of a module: sites that are the same tensor are edited one after another."""
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
        return self._inputs(ids.to(device), mask.to(device))

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
