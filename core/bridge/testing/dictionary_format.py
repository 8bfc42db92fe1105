"""The laws of dictionary formats."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

from bridge.dictionaries import Dictionary, DictionaryFormat, Origin, ReLU, SparseAutoencoder
from bridge.errors import BridgeError
from bridge.testing.laws import Laws

_TOLERANCE = 1e-4  # float32 sums over thousands of features


def check_dictionary_format(fmt: DictionaryFormat, path: Path) -> None:
    """Test the laws of `bridge.dictionaries` on one format and one dictionary in this format.

    The encoded rows are 64 sparse combinations of the dictionary's own directions, plus noise, float32.

    Args:
        fmt: The instance that the plugin registers.
        path: A file or folder in this format; it is only read.

    Raises:
        ConformanceError: If a law is broken.
    """
    laws = Laws(f"The dictionary format {fmt.name}", "bridge.dictionaries")
    with tempfile.TemporaryDirectory() as folder:
        law = "a format recognises its own files and no others"
        laws.require(fmt.recognises(path) is True, law, str(path), "it is not recognised")
        laws.require(fmt.recognises(Path(folder)) is False, law, "an empty folder", "it is recognised")
        _check_damage(laws, fmt, path, Path(folder))
        _check_example(laws, fmt, Path(folder) / "example")
    dictionary = fmt.load(path)
    given = f"the dictionary in {path.name}"
    law = "directions has one decoder direction per feature, (features, d_model) float32"
    shape = np.shape(dictionary.directions)
    laws.require(len(shape) == 2, law, given, f"it has shape {shape}")
    laws.shape(law, given, dictionary.directions, shape, np.float32)
    _check_rows(laws, dictionary, given)


def _check_example(laws: Laws, fmt: DictionaryFormat, folder: Path) -> None:
    """Test the example of a format; a format that gives none is not tested."""
    directions = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    zeros = np.zeros(20, np.float32), np.zeros(6, np.float32)
    origin = Origin(model="user/model", site="blocks.3.hook_resid_post")
    like = SparseAutoencoder(directions.T.copy(), zeros[0], directions, zeros[1], ReLU(), origin=origin)
    try:
        path = fmt.example(folder, like)
    except BridgeError:
        return
    law = "an example is recognised, and has the shape and no other origin than were asked for"
    laws.require(fmt.recognises(path) is True, law, str(path), "it is not recognised")
    found = fmt.load(path)
    shape, told = found.directions.shape, (found.origin.model, found.origin.site)
    laws.require(shape == (20, 6), law, "20 features of width 6", f"it has shape {shape}")
    same = told[0] in ("", origin.model) and told[1] in ("", origin.site)
    laws.require(same, law, f"{origin.model}, {origin.site}", f"it names {told}")


def _check_damage(laws: Laws, fmt: DictionaryFormat, path: Path, folder: Path) -> None:
    copy = folder / path.name
    if path.is_dir():
        shutil.copytree(path, copy)
    else:
        shutil.copy(path, copy)
    files = [file for file in (copy, *copy.rglob("*")) if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    law = "an incomplete file is refused with a BridgeError"
    refused, found = False, "it was loaded"
    try:
        fmt.load(copy)
    except BridgeError:
        refused = True
    except Exception as error:  # any other error breaks the law
        found = f"{type(error).__name__}: {error}"
    laws.require(refused, law, f"{largest.name} cut to half its length", found)


def _check_rows(laws: Laws, dictionary: Dictionary, given: str) -> None:
    n_features, d_model = dictionary.directions.shape
    rng = np.random.default_rng(0)
    sparse = rng.gamma(2.0, size=(64, n_features)) * (rng.random((64, n_features)) < min(1.0, 8 / n_features))
    features = sparse.astype(np.float32)
    law = "decode gives (n, d_model) float32 and processes each row independently"
    decoded = dictionary.decode(features)
    laws.shape(law, given, decoded, (64, d_model), np.float32)
    alone = np.concatenate([dictionary.decode(row[None]) for row in features])
    laws.close(law, f"{given}, 64 sparse rows one at a time", alone, decoded, _TOLERANCE)
    law = "decoding is affine in the features, with the linear part directions"
    linear = decoded - dictionary.decode(np.zeros_like(features))
    size = float(np.abs(decoded).max())
    laws.close(law, f"{given}, 64 sparse rows", linear, features @ dictionary.directions, _TOLERANCE, size)

    noise = 0.1 * decoded.std() * rng.normal(size=decoded.shape)
    x = (decoded + noise).astype(np.float32)
    law = "encode gives (n, features) float32 and processes each row independently"
    encoded = dictionary.encode(x)
    laws.shape(law, given, encoded, (64, n_features), np.float32)
    alone = np.concatenate([dictionary.encode(row[None]) for row in x])
    laws.close(law, f"{given}, 64 rows one at a time", alone, encoded, _TOLERANCE)
