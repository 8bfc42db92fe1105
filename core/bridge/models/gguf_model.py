"""A GGUF file as a model and a tokenizer of transformers, with nothing made up and nothing left out.

transformers maps names, configuration and tokenizer, and `gguf` dequantises. Alone, transformers would fill what a file
lacks with random numbers, and pass over what it has no place for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.integrations import GGUF_CONFIG_MAPPING
from transformers.integrations.gguf import is_gguf_arch_supported
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from bridge.errors import BridgeError, ModelError
from bridge.models.gguf_reader import QuickReader, dequantised, read_quickly
from bridge.progress import Advance

MB = 10**6
NO_PLACE = "holds tensors that its model has no place for"


@final
class GgufFile:
    """An open GGUF file.

    Args:
        path: The file.
        neutral: An empty folder: what else lies in the file's own (a `tokenizer_config.json`) is none of its content.

    Attributes:
        megabytes: Of its weights in float32.
        ignored: Metadata about its architecture that transformers does not look at, as `key = value`.

    Raises:
        ModelError: If it is no whole GGUF file, or of an architecture that transformers does not know.
    """

    def __init__(self, path: Path, neutral: Path) -> None:
        self._path = path
        self._where = {"pretrained_model_name_or_path": str(neutral), "gguf_file": str(path.absolute())}
        with self._readable(), read_quickly():
            self._reader = QuickReader(path)
            if self._reader.byte_order != "I":
                raise ValueError("its numbers have the other byte order")
            self._architecture = str(self._reader.fields["general.architecture"].contents())
            self._config = AutoConfig.from_pretrained(**self._where)
        self.megabytes = sum(tensor.n_elements for tensor in self._reader.tensors) * 4 // MB
        self.ignored = self._ignored()

    def read(self, advance: Advance) -> tuple[Any, Any]:
        """Return a transformers model, in float32, and its tokenizer.

        Args:
            advance: Is told of every megabyte of weights.

        Raises:
            ModelError: If transformers has no place for a tensor of the file, or finds none for a weight of the model.
        """
        with self._readable(), read_quickly():
            tokenizer = AutoTokenizer.from_pretrained(**self._where)
            ready = is_gguf_arch_supported(self._architecture)
            model, found = self._by_transformers(advance) if ready else self._by_names(advance)
        self._refuse("lacks weights that its model has", found["missing_keys"])
        self._refuse(NO_PLACE, found["unexpected_keys"])
        self._refuse("holds tensors of other shapes than its model's", (name for name, *_ in found["mismatched_keys"]))
        return model, tokenizer

    def _by_transformers(self, advance: Advance) -> tuple[Any, Mapping[str, Any]]:
        """Read an architecture that transformers reads quickly itself, telling what it could not place."""
        model, found = AutoModelForCausalLM.from_pretrained(
            **self._where,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told, and then refused
        )
        # A dequantised model still says that it is quantised, and could then not be saved.
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        advance(self.megabytes)
        return model, found

    def _by_names(self, advance: Advance) -> tuple[Any, Mapping[str, Any]]:
        """Read any other architecture tensor by tensor, each to where transformers says that it belongs."""
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(self._config, dtype=torch.float32)
        processor = TENSOR_PROCESSORS.get(self._architecture, TensorProcessor)(config=self._config.to_dict())
        places = get_gguf_hf_weights_map(empty, processor)
        self._check(places)
        weights: dict[str, torch.Tensor] = {}
        done = 0

        def count(values: int) -> None:
            nonlocal done
            advance((done + values) * 4 // MB - done * 4 // MB)
            done += values

        for tensor in self._reader.tensors:
            placed = processor.process(
                weights=dequantised(tensor, count),
                name=tensor.name,
                tensor_key_mapping=places,
                parsed_parameters={"tensors": weights},
            )
            if placed.name is None:  # the processor has put it in itself, as a part of a larger one
                continue
            self._refuse(NO_PLACE, {placed.name} - places.keys())
            place = places[placed.name]
            self._refuse("holds two tensors for one weight", {place} & weights.keys())
            weights[place] = torch.from_numpy(np.require(placed.weights, np.float32, ["C", "W"]))
        loaded: tuple[Any, Mapping[str, Any]] = type(empty).from_pretrained(
            None,
            config=self._config,
            state_dict=weights,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        return loaded

    def _check(self, places: Mapping[str, str]) -> None:
        """Refuse a file with tensors that have no place, or with some of the parts of a weight only."""
        tensors = {tensor.name for tensor in self._reader.tensors}
        # Parts of a weight (the experts' matrices) go by their names without the suffix.
        known = tensors | {name.removesuffix(".weight") for name in tensors}
        self._refuse(
            NO_PLACE,
            (name for name in tensors if name not in places and name.removesuffix(".weight") not in places),
        )
        begun = {places[name] for name in known & places.keys()}
        self._refuse("lacks tensors", (name for name in places.keys() - known if places[name] in begun))

    def _ignored(self) -> list[str]:
        mapping = GGUF_CONFIG_MAPPING.get(self._architecture) or GGUF_CONFIG_MAPPING.get(self._config.model_type)
        prefix = f"{self._architecture}."
        if mapping is None or is_gguf_arch_supported(self._architecture):
            return []  # transformers does not tell which keys it reads
        return [
            f"{key} = {field.contents()!s:.40}"
            for key, field in self._reader.fields.items()
            if key.startswith(prefix) and key.removeprefix(prefix) not in mapping
        ]

    def _refuse(self, what: str, names: Iterable[str]) -> None:
        if found := sorted(names):
            more = f" and {len(found) - 8} more" if len(found) > 8 else ""
            raise ModelError(
                f"{self._path} {what}: {', '.join(found[:8])}{more}.",
                cause="It is one part of several, was damaged, or holds a variant that transformers does not know.",
                remedy="Join its parts (llama-gguf-split --merge), or use the original checkpoint.",
            )

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except BridgeError:
            raise
        except Exception as error:  # the readers raise whatever a damaged header makes them stumble over
            raise ModelError(
                f"{self._path} cannot be read as GGUF ({type(error).__name__}: {error}).",
                cause="The file is truncated or damaged, or holds an architecture that transformers does not know.",
                remedy="Fetch it again, or use the original checkpoint.",
            ) from error
