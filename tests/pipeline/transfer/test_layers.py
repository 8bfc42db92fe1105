"""Vectors of many layers in one file are not sent through one layer's map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bridge.errors import UsageError
from bridge.maps import AffineMap
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.transfer.directions import transfer_directions
from bridge.pipeline.transfer.layers import need_one_site, refuse_other_layers
from bridge.pipeline.transfer.probes import transfer_probes
from small_plugins import bridge

D, LAYERS = 8, 12
SIDE = {"site": "7", "n_layers": LAYERS}
TURNED = AffineMap(np.eye(D), np.zeros(D), np.zeros(D))
BRIDGE = Bridge("m@7", "n@7", "identity", {}, TURNED, {"src": SIDE, "dst": SIDE})


def rows(*names: str, n: int = 1) -> dict[str, np.ndarray]:
    return {name: np.ones((n, D), np.float32) for name in names}


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (rows("layer_6", "layer_7", "layer_8"), r"layer_6 \(layer 6\), layer_8 \(layer 8\)"),
        (rows("blocks.3.hook_resid_post"), r"blocks.3.hook_resid_post \(layer 3\)"),
        (rows("model.layers.3.mlp", "mine"), r"\(layer 3\)"),
        (rows("direction.1", "direction.2", "direction.3"), "3 vectors that are numbered like layers"),
        (rows("0", "1", "mine"), None),
        (rows(*map(str, range(4))), "4 vectors that are numbered"),
        (rows("persona", n=LAYERS), "persona with 12 rows, and m@7 has 12 blocks"),
        (rows("persona", n=LAYERS + 1), "persona with 13 rows"),
        (rows("layer_7", "mine", "player_3", "direction.5"), None),
        (rows("5"), None),
        (rows("features", n=LAYERS + 2), None),
    ],
)
def test_layers_are_told_by_name_number_and_shape(vectors: dict[str, np.ndarray], said: str | None) -> None:
    if said is None:
        need_one_site(BRIDGE, vectors, "a file")
        return
    with pytest.raises(UsageError, match=said):
        need_one_site(BRIDGE, vectors, "a file")


def test_small_models_and_unknown_depths() -> None:
    refuse_other_layers(rows("v", n=2), "x", "tiny@1", "1", 2)
    need_one_site(Bridge("m@7", "n@7", "identity", {}, TURNED, {}), rows("layer_7"), "x")
    with pytest.raises(UsageError, match="layer 3"):
        need_one_site(Bridge("m@7", "n@7", "identity", {}, TURNED, {}), rows("layer_3"), "x")


def test_what_goes_through_a_bridge_is_held_to_its_layer(tmp_path: Path) -> None:
    many = rows("layer.5", "layer.7")
    for carry in (transfer_directions, transfer_probes):
        with pytest.raises(UsageError, match=r"the map is for one site, m@7.*--any-layer"):
            carry(BRIDGE, many, tmp_path / "none")
        assert set(carry(BRIDGE, many, None, any_layer=True).arrays) >= set(many)
    assert not (tmp_path / "none").exists()
    BRIDGE.save(tmp_path / "b")
    save_file(many, tmp_path / "many.safetensors")
    for what in ("directions", "probes"):
        command = ("transfer", what, tmp_path / "b", tmp_path / "many.safetensors", "--out", tmp_path / what)
        code, _, err = bridge(*command)
        assert code == 2 and "layer.5 (layer 5)" in " ".join(err.split()) and not (tmp_path / what).exists()
        assert bridge(*command, "--any-layer")[0] == 0
        assert set(load_file(tmp_path / what)) >= set(many)
    lens = ("--src", "dyck:seed0@1", "--via", "dyck:seed1@1", "--verbalizer", "logit_lens")
    save_file({"layer_0": np.ones(64, np.float32)}, tmp_path / "one.safetensors")
    code, _, err = bridge("explain", *lens, "--directions", tmp_path / "one.safetensors")
    assert code == 2 and "layer_0 (layer 0)" in " ".join(err.split())
