"""SAELens' folders, for both versions of its configuration: cfg.json and sae_weights.safetensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np

from bridge.dictionaries import Dictionary, DictionaryFormat, Gated, JumpReLU, Origin, ReLU, SparseAutoencoder, TopK
from bridge.directions import read_arrays
from bridge.errors import BridgeError
from bridge.hookspecs import hookimpl
from bridge_dictionaries.files import Config, Weights, assemble, fold_norms
from bridge_dictionaries.saelens_writer import CONFIG, WEIGHTS, write

_BATCH = ("batchtopk", "matryoshka_batchtopk")

_ARCHITECTURES = ("standard", "topk", "jumprelu", "gated", *_BATCH)
# TransformerLens' options for processing weights. All are off in HookedTransformer.from_pretrained_no_processing, and
# only the first option changes the residual stream.
_CENTRED = "center_writing_weights"
_HARMLESS = (
    *("fold_ln", "center_unembed", "fold_value_biases", "refactor_factored_attn_matrices"),
    *("device", "device_map", "n_devices", "move_to_device", "dtype", "torch_dtype", "cache_dir", "local_files_only"),
    *("token", "trust_remote_code", "attn_implementation", "low_cpu_mem_usage", "default_prepend_bos"),
    *("default_padding_side", "first_n_layers"),
)
_CHECKPOINT = ("revision", "checkpoint_index", "checkpoint_value", "checkpoint_label")


@final
class SAELens(DictionaryFormat):
    """The SAELens format, read and written."""

    name = "saelens"
    summary = "Folders written by SAELens (cfg.json, sae_weights.safetensors)."

    def recognises(self, path: Path) -> bool:
        """Look for cfg.json and sae_weights.safetensors."""
        return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()

    def load(self, path: Path) -> Dictionary:
        """Read a folder."""
        config = Config.read(path / CONFIG)
        _refuse_normalised(config)
        _refuse_reshaped(config)
        architecture = _architecture(config)
        weights = Weights(path / WEIGHTS, read_arrays(path / WEIGHTS))
        _refuse_finetuned(config, weights)
        bias, encoder, directions = weights("b_dec"), weights("W_enc", 2), weights("W_dec", 2)
        encoder_bias = np.zeros(len(directions), np.float32) if architecture == "gated" else weights("b_enc")
        rescaled = config.get("rescale_acts_by_decoder_norm", bool)
        # SAELens' default is off for inference and on for training BatchTopK dictionaries.
        if rescaled or (rescaled is None and _is_training_state(architecture, weights)):
            encoder, encoder_bias, directions = fold_norms(encoder, encoder_bias, directions)
        shift = None if config.get("apply_b_dec_to_input", bool) is False else bias
        activation = _activation(architecture, config, weights)
        return assemble(weights.path, encoder, encoder_bias, directions, bias, activation, shift, _origin(config))

    def save(self, dictionary: Dictionary, path: Path) -> None:
        """Write a folder that `sae_lens.SAE.load_from_disk` reads; a `SparseAutoencoder` only."""
        if not isinstance(dictionary, SparseAutoencoder):
            raise BridgeError(f"A {type(dictionary).__name__} cannot be written as a SAELens folder.")
        write(dictionary, path)


def _architecture(config: Config) -> str:
    name = config.get("architecture", str) or "standard"
    function = config.get("activation_fn", str) or config.get("activation_fn_str", str) or "relu"
    if name == "standard" and function == "topk":  # as releases before 6.0 wrote it
        return "topk"
    if name not in _ARCHITECTURES or function not in ("relu", "topk"):
        raise BridgeError(
            f"{config.path}: architecture {name!r} with activation {function!r} is not supported.",
            remedy=f"Supported are {', '.join(_ARCHITECTURES)}, with relu or topk.",
        )
    return name


def _activation(architecture: str, config: Config, weights: Weights) -> ReLU | TopK | JumpReLU | Gated:
    if architecture == "standard":
        return ReLU()
    if architecture == "topk":
        return TopK((config if "k" in config.values else config.inner("activation_fn_kwargs")).positive("k"))
    if architecture == "gated":
        return Gated(weights("b_gate"), np.exp(weights("r_mag")), weights("b_mag"))
    return JumpReLU(weights("topk_threshold" if _is_training_state(architecture, weights) else "threshold"))


def _is_training_state(architecture: str, weights: Weights) -> bool:
    return architecture in _BATCH and "threshold" not in weights.arrays


def _refuse_normalised(config: Config) -> None:
    value = config.values.get("normalize_activations")
    if value not in (None, False, "none"):
        raise BridgeError(
            f"{config.path} has normalize_activations = {str(value)[:80]!r}: it reads rescaled activations.",
            cause="The scale is not stored with the dictionary, or differs from row to row.",
            remedy="Fold the scale in with SAELens and save again: sae.fold_activation_norm_scaling_factor(factor), "
            "then sae.save_model(folder). layer_norm and constant_norm_rescale cannot be folded.",
        )


def _refuse_reshaped(config: Config) -> None:
    shape = config.get("reshape_activations", str)
    if shape not in (None, "", "none"):
        raise BridgeError(f"{config.path} has reshape_activations = {shape!r}: concatenated heads are not supported.")


def _refuse_finetuned(config: Config, weights: Weights) -> None:
    if config.get("finetuning_scaling_factor", bool) and (weights("scaling_factor") != 1).any():
        raise BridgeError(
            f"{config.path} has finetuning_scaling_factor: rescaling features before decoding is not supported.",
            remedy="Multiply the rows of W_dec by scaling_factor, and set the option to false.",
        )


def _origin(config: Config) -> Origin:
    metadata = config.inner("metadata") if "metadata" in config.values else config
    centred, notes = _processing(metadata)
    return Origin(
        model=metadata.get("model_name", str) or "",
        site=metadata.get("hook_name", str) or metadata.get("hook_point", str) or "",
        prepends_bos=metadata.get("prepend_bos", bool),
        init_seed=metadata.get("init_seed", int),
        centred=centred,
        notes=notes,
    )


def _processing(metadata: Config) -> tuple[bool, tuple[str, ...]]:
    """Return whether the model's writing weights were centred, and notes about the loading of the model.

    Raises:
        BridgeError: If the model was loaded with unknown options.
    """
    options = metadata.inner("model_from_pretrained_kwargs").values
    unknown = sorted(
        name for name, value in options.items() if value and name not in (*_HARMLESS, *_CHECKPOINT, _CENTRED)
    )
    if unknown:
        raise BridgeError(
            f"{metadata.path}: its model was loaded with {', '.join(unknown)} (model_from_pretrained_kwargs), whose "
            "effect on activations is unknown.",
            remedy="Use a dictionary that was trained on the model as transformers loads it.",
        )
    notes = [
        f"It was trained on the checkpoint {name} = {options[name]} of its model."
        for name in _CHECKPOINT
        if options.get(name)
    ]
    if "hook_point" in metadata.values and "model_from_pretrained_kwargs" not in metadata.values:
        notes.append(
            "Its file's release does not record whether the model's weights were centred (TransformerLens' "
            "center_writing_weights); it is read as uncentred."
        )
    return bool(options.get(_CENTRED)), tuple(notes)


@hookimpl
def register_dictionary_formats(register: Callable[[DictionaryFormat], None]) -> None:
    """Offer SAELens'."""
    register(SAELens())
