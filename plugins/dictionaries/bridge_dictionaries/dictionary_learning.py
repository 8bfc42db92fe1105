"""Checkpoints of the dictionary_learning library: config.json and ae.pt."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Activation, Dictionary, DictionaryFormat, Gated, JumpReLU, Origin, ReLU, TopK
from bridge.errors import BridgeError
from bridge.files.torch import load_plain
from bridge.hookspecs import hookimpl
from bridge_dictionaries.files import Config, Floats, Weights, assemble, fold_norms, write_json

_CONFIG, _WEIGHTS = "config.json", "ae.pt"
_LAYER_OF_SITE = re.compile(r"^blocks\.(\d+)\.hook_resid_post$")
# encoder, encoder bias, directions, decoder bias, activation, shift
Parts = tuple[Floats, Floats, Floats, Floats, Activation, Floats | None]


@final
class DictionaryLearning(DictionaryFormat):
    """The classes of the library's own `load_dictionary`."""

    name = "dictionary_learning"
    summary = "Folders written by dictionary_learning (config.json, ae.pt)."

    def recognises(self, path: Path) -> bool:
        """Look for config.json and ae.pt."""
        return (path / _CONFIG).is_file() and (path / _WEIGHTS).is_file()

    def load(self, path: Path) -> Dictionary:
        """Read a folder; only plain tensors are unpickled."""
        config = Config.read(path / _CONFIG)
        trainer = config.inner("trainer")
        kind = trainer.need("dict_class", str)
        if kind not in _KINDS:
            raise BridgeError(f"{config.path}: dict_class {kind!r} is not one of {', '.join(_KINDS)}.")
        weights = Weights(path / _WEIGHTS, _read(path / _WEIGHTS))
        return assemble(weights.path, *_KINDS[kind](weights, trainer), _origin(config, trainer))

    def example(self, path: Path, like: Dictionary) -> Path:
        """Write an `AutoEncoder` (ReLU) of plain tensors."""
        import torch

        features, d_model = like.directions.shape
        state = {
            "encoder.weight": torch.from_numpy(like.directions),
            "encoder.bias": torch.zeros(features),
            "decoder.weight": torch.from_numpy(like.directions.T.copy()),
            "bias": torch.zeros(d_model),
        }
        layer = _LAYER_OF_SITE.search(like.origin.site)
        said: dict[str, Any] = {"dict_class": "AutoEncoder", "activation_dim": d_model, "dict_size": features}
        said |= {"layer": int(layer[1]), "submodule_name": f"resid_post_layer_{layer[1]}"} if layer else {}
        said |= {"lm_name": like.origin.model} if like.origin.model else {}
        path.mkdir(parents=True)
        torch.save(state, path / _WEIGHTS)
        write_json(path / _CONFIG, {"trainer": said, "buffer": {"io": "out"}})
        return path


def _read(file: Path) -> dict[str, NDArray[Any]]:
    try:
        return {
            str(name).replace("_orig_mod.", ""): (tensor.float() if tensor.is_floating_point() else tensor)
            .detach()
            .numpy()
            for name, tensor in load_plain(file).items()
        }
    except BridgeError:
        raise
    except Exception as error:  # zip, pickle and torch raise different errors for damaged files
        raise BridgeError(
            # Not the error's own words: torch advises to load a pickle with its code.
            f"{file} is not a readable file of plain tensors ({type(error).__name__}).",
            cause="The file is missing or incomplete, or is a pickle that would run code on loading.",
            remedy="Download it again; or, if you trust its author, load it in a sandbox with the author's code and "
            "save only the tensors: torch.save(dictionary.state_dict(), 'ae.pt').",
        ) from error


def _autoencoder(weights: Weights, trainer: Config) -> Parts:
    bias = weights("bias")
    parts = fold_norms(weights("encoder.weight", 2).T, weights("encoder.bias"), weights("decoder.weight", 2).T)
    return *parts, bias, ReLU(), bias


def _new(weights: Weights, trainer: Config) -> Parts:
    return *_linear(weights), weights("decoder.bias"), ReLU(), None


def _top_k(weights: Weights, trainer: Config) -> Parts:
    bias = weights("b_dec")
    _need_agreed_k(weights, trainer)
    return *_linear(weights), bias, TopK(trainer.positive("k")), bias


def _batch_top_k(weights: Weights, trainer: Config) -> Parts:
    bias = weights("b_dec")
    _need_agreed_k(weights, trainer)
    return *_linear(weights), bias, _estimated(weights), bias


def _matryoshka(weights: Weights, trainer: Config) -> Parts:
    bias = weights("b_dec")
    _need_agreed_k(weights, trainer)
    return weights("W_enc", 2), weights("b_enc"), weights("W_dec", 2), bias, _estimated(weights), bias


def _jump_relu(weights: Weights, trainer: Config) -> Parts:
    activation = JumpReLU(weights("threshold"))
    return weights("W_enc", 2), weights("b_enc"), weights("W_dec", 2), weights("b_dec"), activation, None


def _gated(weights: Weights, trainer: Config) -> Parts:
    bias, directions = weights("decoder_bias"), weights("decoder.weight", 2).T
    activation = Gated(weights("gate_bias"), np.exp(weights("r_mag")), weights("mag_bias"))
    return weights("encoder.weight", 2).T, np.zeros(len(directions), np.float32), directions, bias, activation, bias


def _linear(weights: Weights) -> tuple[Floats, Floats, Floats]:
    return weights("encoder.weight", 2).T, weights("encoder.bias"), weights("decoder.weight", 2).T


def _need_agreed_k(weights: Weights, trainer: Config) -> None:
    """Refuse a state with another k than the configuration.

    Trainers that anneal k write the k of that step into the state. The library's own loader also refuses such a state
    (`from_pretrained(path, k=...)` in trainers/top_k.py, batch_top_k.py and matryoshka_batch_top_k.py).
    """
    k, state = trainer.get("k", int), weights.arrays.get("k")
    if k is not None and state is not None and (state.size != 1 or float(state.reshape(-1)[0]) != k):
        raise BridgeError(
            f"{weights.path} has k = {str(state.reshape(-1)[:3].tolist())[1:-1]}, but {trainer.path} has {k}.",
            cause="k was annealed, and the checkpoint was written before the end. Its own library also refuses it.",
            remedy="Use the last checkpoint; or, to use the state's k, write it into the configuration.",
        )


def _estimated(weights: Weights) -> JumpReLU:
    threshold = weights("threshold")
    if (threshold < 0).any():
        raise BridgeError(
            f"{weights.path}: the threshold that replaces BatchTopK at inference was never estimated.",
            cause="The checkpoint was written before the trainer's threshold_start_step.",
            remedy="Use a later checkpoint.",
        )
    return JumpReLU(threshold)


_KINDS: dict[str, Callable[[Weights, Config], Parts]] = {
    "AutoEncoder": _autoencoder,
    "AutoEncoderNew": _new,
    "AutoEncoderTopK": _top_k,
    "BatchTopKSAE": _batch_top_k,
    "MatryoshkaBatchTopKSAE": _matryoshka,
    "JumpReluAutoEncoder": _jump_relu,
    "GatedAutoEncoder": _gated,
}


def _origin(config: Config, trainer: Config) -> Origin:
    layer, submodule = trainer.get("layer", int), trainer.get("submodule_name", str) or ""
    site = submodule
    if layer is not None:
        points = {"resid_pre": "resid_pre", "mlp": "mlp_out", "attn": "attn_out", "attention": "attn_out"}
        # The name decides; without a name, a buffer of a block's input holds the output of the previous block.
        default = "resid_pre" if config.inner("buffer").get("io", str) == "in" else "resid_post"
        point = next((point for word, point in points.items() if word in submodule), default)
        site = f"blocks.{layer}.hook_{point}"
    return Origin(model=trainer.get("lm_name", str) or "", site=site, init_seed=trainer.get("seed", int))


@hookimpl
def register_dictionary_formats(register: Callable[[DictionaryFormat], None]) -> None:
    """Offer dictionary_learning's."""
    register(DictionaryLearning())
