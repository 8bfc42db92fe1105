"""Shared base of all families that transformers can load; a family adds its names, layout and special cases."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bridge.errors import BridgeError, ModelError
from bridge.models.adapter import ModelAdapter, ModelInfo, Placement
from bridge.models.cached_inputs import cached_inputs, cached_tokens, keeps_cache
from bridge.models.checkpoint import check_whole, load_whole
from bridge.models.layout import Layout
from bridge.models.loaded import LoadedModel
from bridge.models.quantize import loading_options
from bridge.models.reached import need_module, need_width
from bridge.models.stand_in import agree, rows_for, stand_in_config, stand_in_tokenizer
from bridge.models.tensor_parallel import parallel_options
from bridge.models.tiny_tokenizer import tiny_tokenizer
from bridge.models.tokenizer import Tokenizer, TransformersTokenizer, ends_of
from bridge.models.weights import Weights, need_small_files, unavailable
from bridge.references import Site

if TYPE_CHECKING:
    from torch import nn

    from bridge.models.loaded import CachedInputs

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.*", "*.model", "*.tiktoken", "tekken.json")
"""Files that hold a vocabulary."""


POSITIONS_AFTER_PADDING = frozenset(
    ("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")
)
"""Types of models whose first token has the position after that of padding."""


class TransformersAdapter(ModelAdapter):
    """A family of language models of transformers.

    A subclass usually defines only `name`, `model_types`, `layout` and `tiny_configs`. A family of encoders sets
    `causal` to False.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    """The `model_type`s of `config.json` that this family claims."""

    causal: ClassVar[bool] = True
    """Whether the family predicts the next token (`AutoModelForCausalLM`). Encoders do not; they are loaded
    without a head (`AutoModel`)."""

    wrapped: ClassVar[bool] = False
    """Whether types without a text-only class are loaded with the class that also reads images
    (`AutoModelForImageTextToText`), and run on text only."""

    quantizes: ClassVar[bool] = True
    """transformers quantises linear layers with bitsandbytes when it loads them."""

    unread: ClassVar[tuple[str, ...]] = ()
    """How the names of weights begin that a checkpoint of such a wrapper has beside those of its text model, where the
    text model alone is loaded: those of its image or sound encoder."""

    @abstractmethod
    def layout(self, module: nn.Module) -> Layout:
        """Return the locations of the sites of a loaded module.

        Args:
            module: The model as transformers loaded it.

        Returns:
            The paths of the blocks and of their points.
        """

    @abstractmethod
    def tiny_configs(self) -> Sequence[Any]:
        """Return a tiny transformers configuration for each real class of the family, vocabulary size 512."""

    def claims(self, weights: Weights) -> bool:
        """Claim checkpoints by `model_type`.

        Args:
            weights: The checkpoint.

        Returns:
            Whether the family can load them.
        """
        return weights.config.get("model_type") in self.model_types

    def describe(self, weights: Weights) -> ModelInfo:
        """Read width and depth from the configuration.

        Args:
            weights: The checkpoint.

        Returns:
            Width, depth, and the other properties of the model.

        Raises:
            ModelError: If transformers has no class for the model that gives activations of text.
        """
        config = self._config(weights)
        auto = self._auto(config)
        if type(config) not in auto._model_mapping:
            raise ModelError(
                f"{weights.source} is a {config.model_type}, for which {auto.__name__} has no class.",
                cause="It reads images or sound as well, has an encoder and a decoder, or is no language model.",
                remedy="Give its language model alone, or write a family plugin for it (CONTRIBUTING.md).",
            )
        text = config.get_text_config()
        return ModelInfo(
            int(text.hidden_size),
            int(text.num_hidden_layers),
            _positions(text),
            self.causal,
        )

    def parameters(self, weights: Weights) -> int:
        """Count the parameters of the configuration's model, built without memory for its weights.

        Args:
            weights: The checkpoint.

        Returns:
            How many.
        """
        return sum(weight.numel() for weight in self._without_weights(weights).parameters())

    def check_weights(self, weights: Weights) -> Sequence[str]:
        """Compare the tensors in the files with those of the model, by name and shape.

        Args:
            weights: The checkpoint.

        Returns:
            The prefixes that are removed from names, and the heads that are not read.

        Raises:
            ModelError: If tensors are missing, unexpected, of another shape, of no float type, or duplicate.
        """
        config = self._config(weights)
        with calls_of_transformers(weights):
            return check_whole(self._auto(config), weights, config, unread=self.unread)

    def point_of(self, weights: Weights, site: Site) -> Site:
        """Look at the configuration's model, built without memory for its weights.

        Args:
            weights: The checkpoint.
            site: Of a model of this family.

        Returns:
            The site, by the name of a point where it is one.
        """
        return self.outline(self._without_weights(weights)).point_of(site) if site.is_module else site

    def check_sites(self, weights: Weights, sites: Sequence[Site]) -> None:
        """Check modules that a user named by path on the configuration's model, built without its weights.

        Args:
            weights: The checkpoint.
            sites: All requested sites; `load` checks the points.

        Raises:
            UsageError: If there is no such module, or its output has another width.
        """
        named = [site for site in sites if site.is_module]
        if not named:
            return
        module = self._without_weights(weights)
        layout = self.outline(module)
        modules = dict(module.named_modules(remove_duplicate=False))
        for path, _ in map(layout.locate, named):
            need_module(path, modules, layout.blocks)
            need_width(path, modules[path], int(module.config.get_text_config().hidden_size))

    def outline(self, module: nn.Module) -> Layout:
        """Return the known part of the layout of a model without weights: at least the location of its blocks.

        A family whose `layout` runs the model overrides it.

        Args:
            module: The model, on the meta device.

        Returns:
            Default: the whole layout.
        """
        return self.layout(module)

    def _without_weights(self, weights: Weights) -> Any:
        """Build the configuration's model on the meta device, which takes no memory for its tensors."""
        import torch

        config = self._config(weights)
        with calls_of_transformers(weights), torch.device("meta"):
            module: Any = self._auto(config).from_config(config)
        return module

    def tokenizer(self, weights: Weights) -> Tokenizer:
        """Load the checkpoint's tokenizer.

        Args:
            weights: The checkpoint.

        Returns:
            The tokenizer that the model expects.
        """
        from transformers import AutoTokenizer

        if weights.folder and not any(next(weights.folder.glob(name), None) for name in TOKENIZERS):
            raise _without_tokenizer(weights)
        with calls_of_transformers(weights):
            tokenizer = AutoTokenizer.from_pretrained(
                weights.source,
                revision=weights.revision or None,
                trust_remote_code=False,
                **self.tokenizer_options(weights),
            )
            tokenizer("a")  # settings of wrong types show only when they are used
        # If files are missing, transformers creates an empty tokenizer without a vocabulary.
        if not set(tokenizer.get_vocab()) - set(tokenizer.get_added_vocab()):
            raise _without_tokenizer(weights)
        vocabulary = getattr(self._config(weights).get_text_config(), "vocab_size", None)
        return TransformersTokenizer(tokenizer, weights.source, vocabulary)

    def load(self, weights: Weights, placement: Placement) -> LoadedModel:
        """Load the model and find its sites.

        Args:
            weights: The checkpoint.
            placement: Where the model goes, and in which dtype.

        Returns:
            The model, its tokenizer and its sites.
        """
        module = self.load_module(weights, placement)
        info = self.describe(weights)
        tokenizer = self.tokenizer(weights)
        # Only causal models keep a cache: some encoders do not accept the argument.
        cacheless = {"use_cache": False} if self.causal else {}
        return LoadedModel(
            Path(weights.source).name,
            module,
            self.layout(module),
            tokenizer,
            d_model=info.d_model,
            n_layers=info.n_layers,
            inputs=lambda ids, mask: {"input_ids": ids, "attention_mask": mask} | cacheless,
            causal=self.causal,
            max_tokens=info.max_tokens,
            ends=ends_of(module, tokenizer),
            cached_inputs=self.cached_inputs(module) if self.causal else None,
            cached_tokens=cached_tokens(module.config.get_text_config()),
        )

    def load_module(self, weights: Weights, placement: Placement) -> Any:
        """Load the module alone; as a rank of a group of torch.distributed, its part of it.

        Args:
            weights: The checkpoint.
            placement: Where the model goes, and in which dtype.

        Returns:
            The model of transformers.
        """
        import torch

        device = placement.torch_device()
        spread = parallel_options()
        if not spread and "cuda" in device:
            spread = {"device_map": "auto" if device == "cuda" else {"": device}}
        with calls_of_transformers(weights):
            auto = self._auto(self._config(weights))
            options = {"dtype": getattr(torch, placement.dtype)} | spread | dict(self.load_options(weights))
            options |= loading_options(placement.quantize, placement.dtype, device)
            module = load_whole(auto, weights, unread=self.unread, **options)
        if "device_map" not in options and "distributed_config" not in options:
            module = module.to(device)
        return module

    def write_tiny_checkpoints(self, folder: Path) -> Sequence[Path]:
        """Write one random checkpoint for each of `tiny_configs`, in several shards, with a tokenizer.

        A wrapper's is the wrapper's own, as it is released, also where its text model alone is loaded.
        """
        import torch

        paths = []
        for index, config in enumerate(self.tiny_configs()):
            path = folder / f"{self.name}-{index}"
            with torch.random.fork_rng(), quiet():
                torch.manual_seed(index)
                model = self._released(config).from_config(config)
                model.save_pretrained(path, max_shard_size="100KB")
            tiny_tokenizer(bos=config.get_text_config().bos_token_id is not None).save_pretrained(path)
            paths.append(path)
        return paths

    def write_stand_in(self, weights: Weights, folder: Path, d_model: int) -> None:
        """Write a random checkpoint of the configuration's class, scaled down to the size of `tiny_configs`.

        Args:
            weights: The model; its configuration is read, and its tokenizer where that is here.
            folder: To write; it does not exist yet.
            d_model: Width of the stand-in, a multiple of 32.

        Raises:
            ModelError: If transformers cannot make a model of the scaled configuration, or the model does not run.
        """
        import torch

        tokenizer = stand_in_tokenizer(self._config(weights), weights.small_files(), self.tokenizer_options(weights))
        try:
            rows = rows_for(tokenizer)
            config = stand_in_config(self._config(weights), self.tiny_configs(), d_model, rows)
            agree(config, tokenizer)
            with torch.random.fork_rng(), quiet():
                torch.manual_seed(0)
                module = self._released(config).from_config(config).eval()
                with torch.no_grad():
                    # Sizes that do not fit together are often noticed only here.
                    module(input_ids=torch.arange(4)[None])
                module.save_pretrained(folder)
        except Exception as error:  # transformers checks sizes where it uses them, with errors of any type
            raise ModelError(
                f"No stand-in of {weights.source} could be made ({type(error).__name__}: {error}).",
                cause=f"Sizes of its configuration ({weights.config.get('model_type')}) depend on each other in a way "
                f"that the family {self.name} does not scale.",
                remedy="Override TransformersAdapter.write_stand_in, or its tiny_configs, in the family's plugin.",
            ) from error
        tokenizer.save_pretrained(folder)

    def tokenizer_options(self, weights: Weights) -> Mapping[str, Any]:
        """Return additional options of the tokenizer's `from_pretrained`.

        Args:
            weights: The checkpoint.

        Returns:
            Options by name.
        """
        return {}

    def load_options(self, weights: Weights) -> Mapping[str, Any]:
        """Return additional options of `from_pretrained` for the weights, such as to dequantise quantised weights.

        Args:
            weights: The checkpoint.

        Returns:
            Options by name.
        """
        return {}

    def cached_inputs(self, module: nn.Module) -> CachedInputs | None:
        """Return how the module continues from a cache of keys and values; see `LoadedModel`.

        Args:
            module: The model as transformers loaded it.

        Returns:
            The function that makes the inputs of a pass, or None if the module keeps no such cache.
        """
        return cached_inputs if keeps_cache(module) else None

    def _auto(self, config: Any) -> Any:
        import transformers

        if not self.causal:
            return transformers.AutoModel
        if self.wrapped and type(config) not in transformers.AutoModelForCausalLM._model_mapping:
            return transformers.AutoModelForImageTextToText
        return transformers.AutoModelForCausalLM

    def _released(self, config: Any) -> Any:
        import transformers

        wrapper = transformers.AutoModelForImageTextToText
        reads_images = self.causal and config.get_text_config() is not config and type(config) in wrapper._model_mapping
        return wrapper if reads_images else self._auto(config)

    def _config(self, weights: Weights) -> Any:
        from transformers import AutoConfig

        with calls_of_transformers(weights):
            return AutoConfig.from_pretrained(
                weights.source, revision=weights.revision or None, trust_remote_code=False
            )


def _without_tokenizer(weights: Weights) -> ModelError:
    return ModelError(
        f"{weights.source} has no tokenizer.",
        cause=f"None of its files is one ({', '.join(TOKENIZERS)}), or it is empty.",
        remedy="Put the tokenizer's files of the model that it was made from beside the weights.",
    )


def _positions(config: Any) -> int | None:
    """Return how many tokens a model has positions for: RoBERTa's and its kin's begin after that of padding."""
    count = getattr(config, "max_position_embeddings", None)
    if count is None or config.model_type not in POSITIONS_AFTER_PADDING:
        return count
    return int(count) - (config.pad_token_id or 0) - 1


@contextlib.contextmanager
def calls_of_transformers(weights: Weights) -> Iterator[None]:
    """Refuse files that transformers would read whole and that are too large; turn its errors into those of bridge.

    Raises:
        BridgeError: If a small file of the checkpoint exceeds the limit `vocabulary`, or in place of any error.
    """
    need_small_files(weights)
    with quiet():
        try:
            yield
        except BridgeError:
            raise
        except Exception as error:  # OSError, ValueError, KeyError, SafetensorError, ...: all mean it cannot load
            raise unavailable(weights, error) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' own bars and warnings: progress is told by bridge, on one line."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
