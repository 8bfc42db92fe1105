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
from transformers.integrations.gguf import get_gguf_config, is_gguf_arch_supported, read_gguf_metadata
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from bridge.errors import BridgeError, ModelError
from bridge.models.gguf_config import completed
from bridge.models.gguf_reader import QuickReader, dequantised, read_quickly
from bridge.models.gguf_rope import FACTORS
from bridge.progress import Advance

MB = 10**6
NO_PLACE = "holds tensors that its model has no place for"

READ_IN_PART = {
    "gemma4": "It drops which blocks share keys, and that heads have two widths.",
    "gpt-oss": "It takes the length of a key for its value where the file says how positions are scaled (YaRN).",
}
"""Architectures that transformers claims to read, and what it does to them: known from its source (5.23)."""


@final
class GgufFile:
    """An open GGUF file.

    Args:
        path: The file.
        neutral: An empty folder: what else lies in the file's own (a `tokenizer_config.json`) is none of its content.

    Attributes:
        megabytes: Of its weights in float32.

    Raises:
        ModelError: If it is no whole GGUF file, or of an architecture that transformers does not know.
    """

    def __init__(self, path: Path, neutral: Path) -> None:
        self._path = path
        self._where = {"pretrained_model_name_or_path": str(neutral), "gguf_file": str(path.absolute())}
        with self._readable(), read_quickly():
            self._reader = QuickReader(path)
            if not self._reader.tensors:
                raise ValueError("it has no tensors")
            if self._reader.byte_order != "I":
                raise ValueError("its numbers have the other byte order")
            self._architecture = str(self._reader.fields["general.architecture"].contents())
            self._refuse_parts()
            self._refuse_read_in_part()
            self._refuse_depth()
            self._config = completed(
                AutoConfig.from_pretrained(**self._where),
                self._architecture,
                self._keys(),
                self._read_by_transformers(),
                {one.name: dequantised(one, lambda _: None) for one in self._reader.tensors if one.name in FACTORS},
                str(path),
            )
        self._weights = [tensor for tensor in self._reader.tensors if tensor.name not in FACTORS]
        self.megabytes = sum(tensor.n_elements for tensor in self._weights) * 4 // MB

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
        with torch.device("meta"):
            needed = sum(one.numel() for one in AutoModelForCausalLM.from_config(self._config).parameters())
        # What is missing, transformers would fill with random numbers first.
        if needed > 2 * sum(tensor.n_elements for tensor in self._weights):
            raise ValueError(f"its model has {needed:,} weights, and it holds less than half of them")
        model, found = AutoModelForCausalLM.from_pretrained(
            **self._where,
            config=self._config,
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

        for tensor in self._weights:
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
        tensors = {tensor.name for tensor in self._weights}
        # Parts of a weight (the experts' matrices) go by their names without the suffix.
        known = tensors | {name.removesuffix(".weight") for name in tensors}
        self._refuse(
            NO_PLACE,
            (name for name in tensors if name not in places and name.removesuffix(".weight") not in places),
        )
        begun = {places[name] for name in known & places.keys()}
        self._refuse("lacks tensors", (name for name in places.keys() - known if places[name] in begun))

    def _keys(self) -> dict[str, Any]:
        """Return the metadata of the file's architecture, without its name in front."""
        prefix = f"{self._architecture}."
        fields = self._reader.fields.items()
        return {key.removeprefix(prefix): field.contents() for key, field in fields if key.startswith(prefix)}

    def _read_by_transformers(self) -> set[str]:
        """Return the keys that transformers puts into its configuration, as far as it says which."""
        if is_gguf_arch_supported(self._architecture):
            metadata, names = read_gguf_metadata(str(self._path))
            asked = _Asked(metadata)
            get_gguf_config(asked, names)
            return {key.removeprefix(f"{self._architecture}.") for key in asked.keys_read}
        kind = self._architecture.replace("-", "_")
        kind = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe"}.get(kind, kind)
        mapping = GGUF_CONFIG_MAPPING.get(kind, {})
        # What it maps to a name that its configuration does not have, it drops.
        mapped = {key for key, name in mapping.items() if name not in (None, "feed_forward_length")}
        return mapped - {"rope.freq_base", "rope.dimension_count"}

    def _refuse_read_in_part(self) -> None:
        if self._architecture in READ_IN_PART:
            raise ModelError(
                f"{self._path} is a GGUF file of {self._architecture}, which transformers reads in part only.",
                cause=READ_IN_PART[self._architecture],
                remedy="Use the original checkpoint.",
            )

    def _refuse_depth(self) -> None:
        """Refuse more blocks than there are tensors, before a model of so many blocks is built."""
        for key in ("block_count", "leading_dense_block_count", "nextn_predict_layers"):
            field = self._reader.fields.get(f"{self._architecture}.{key}")
            if field is not None and not 0 <= int(field.contents()) <= len(self._reader.tensors):
                raise ValueError(
                    f"its {key} is {field.contents()!s:.20}, and it has {len(self._reader.tensors)} tensors"
                )

    def _refuse_parts(self) -> None:
        """Refuse a file that is not a whole model."""
        fields = self._reader.fields
        count = int(fields["split.count"].contents()) if "split.count" in fields else 1
        if count > 1:
            number = int(fields["split.no"].contents()) + 1 if "split.no" in fields else 1
            raise ModelError(
                f"{self._path} is part {number} of {count} of a model.",
                remedy="Join the parts first: llama-gguf-split --merge FIRST-PART WHOLE.gguf.",
            )
        kind = str(fields["general.type"].contents()) if "general.type" in fields else "model"
        if kind != "model":
            raise ModelError(
                f"{self._path} holds no model, but what its general.type calls {kind!r}.",
                cause="Adapters, projectors of images (mmproj) and importance matrices are kept in such files, too.",
                remedy="Give the file of the language model; merge an adapter into it first.",
            )

    def _refuse(self, what: str, names: Iterable[str]) -> None:
        if found := sorted(names):
            more = f" and {len(found) - 8} more" if len(found) > 8 else ""
            raise ModelError(
                f"{self._path} {what}: {', '.join(found[:8])}{more}.",
                cause="It was damaged, or holds a variant that transformers does not know.",
                remedy="Use the original checkpoint.",
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


@final
class _Asked(dict[str, Any]):
    """Remembers which of its keys were asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.keys_read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.keys_read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.keys_read.add(key)
        return super().get(key, default)
