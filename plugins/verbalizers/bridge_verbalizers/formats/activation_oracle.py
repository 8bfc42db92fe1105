"""Activation oracles: adapters that answer any question about one vector or several.

Source: github.com/adamkarvonen/activation_oracles at 55f153f (`nl_probes/utils/steering_hooks.py`,
`nl_probes/utils/dataset_utils.py`), and arXiv 2512.15674, equation 1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from bridge.files import write_json
from bridge.hookspecs import hookimpl
from bridge.progress import Progress
from bridge.readers import Answer, Injection, Reader, ReaderFormat, ReaderStandIn, Sampling
from bridge.verbalizers import Recipe, Subject
from bridge_verbalizers.formats.files import is_adapter, weights_of
from bridge_verbalizers.formats.oracle_config import NAME, OracleConfig, prompt_of, read_config, write_example
from bridge_verbalizers.formats.stand_ins import site_of, tokenizer_of, write_adapter

ADDING = ("addition", "adding")
"""Parts of the names of adapters that were trained with added vectors (`utility_scripts/draft_training_configs.py`)."""


@final
class ActivationOracle(ReaderFormat):
    """A PEFT adapter, with or without `ao_config.json`; the vectors are added to the output of block 1."""

    name = "activation_oracle"
    summary = "activation oracles: adapters that answer a question about vectors (the option ask)"

    def recognises(self, folder: Path) -> bool:
        """Look for an adapter with `ao_config.json`; without this file, an oracle looks like any adapter."""
        return is_adapter(folder) and (folder / NAME).is_file()

    def describe(self, folder: Path, reconstructor: Path | None = None) -> Reader:
        """Read `ao_config.json`, if it exists, and `adapter_config.json`."""
        known = read_config(folder)
        config = known or OracleConfig()
        added = Injection(block=config.hook_onto_layer, how="add", length="place", times=config.steering_coefficient)
        replaced = Injection(block=config.hook_onto_layer, length="place", times=config.steering_coefficient)
        weights = weights_of(folder, config.model_name)
        said = any(word in str(folder).lower() for word in ADDING)
        return Reader(
            # Only the adapter's tensors have the width.
            d_model=0,
            sites=tuple(map(str, config.layers)),
            model=config.model_name or (weights.adapter.base if weights.adapter else ""),
            weights=weights,
            prompt=prompt_of(config),
            injection=added,
            # Until October 2025, vectors replaced the activations at their places.
            alternatives=() if known or said else (replaced,),
            answer=Answer(rule="free"),
            sampling=Sampling(max_new_tokens=50),
        )

    def example(self, folder: Path) -> None:
        """Write the small files of an oracle."""
        write_example(folder)

    def write_stand_in(self, folder: Path, like: ReaderStandIn) -> None:
        """Write a random adapter on the model's stand-in, and its configuration."""
        site = site_of(like)
        known = read_config(like.real) if like.real else None
        real = known or OracleConfig()
        sizes = {"model_name": str(like.base), "act_layer_combinations": [[site.layer]]}
        write_adapter(folder, like, like.real)
        tokenizer_of(like.base, real.special_token).save_pretrained(folder)
        if known or not like.real:
            write_json(folder / NAME, real.model_copy(update=sizes).model_dump())

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train an adapter that answers questions about the text around activations."""
        from bridge_verbalizers.formats.oracle_training import train_oracle

        return train_oracle(subject, recipe, out, progress)


@hookimpl
def register_reader_formats(register: Callable[[ReaderFormat], None]) -> None:
    """Offer activation oracles."""
    register(ActivationOracle())
