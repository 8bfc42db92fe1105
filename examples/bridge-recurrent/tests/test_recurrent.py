"""The family keeps the laws of its kind, its recurrence is the formula, and it learns."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bridge.corpus import Document
from bridge.errors import ModelError
from bridge.models import Placement, Weights
from bridge.references import Site
from bridge.testing import conformance

test_laws = conformance("models", "recurrent")
CPU = Placement("cpu", "float32")


def test_the_recurrence_is_its_formula() -> None:
    import torch
    from bridge_recurrent.network import Recurrence

    torch.manual_seed(0)
    layer = Recurrence(5).double()
    x = torch.randn(1, 7, 5, dtype=torch.float64)
    keep, value, gate = (getattr(layer, name)(x)[0].detach().numpy() for name in ("keep", "value", "gate"))
    keep, gate = 1 / (1 + np.exp(-keep)), gate / (1 + np.exp(-gate))
    # Unrolled: what was taken up at s is still there at t by the product of what was kept in between.
    states = [sum(np.prod(keep[s + 1 : t + 1], 0) * (1 - keep[s]) * value[s] for s in range(t + 1)) for t in range(7)]
    expected = (np.array(states) * gate) @ layer.out.weight.detach().numpy().T
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_training_lowers_the_loss_and_leaves_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from bridge_recurrent import Recurrent
    from bridge_recurrent.train import main

    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"{word} " * 80}) + "\n" for word in ("round", "and", "about")))
    sizes = ["--steps", "12", "--d-model", "16", "--layers", "2"]
    for name in ("one", "again"):
        main([str(texts), "--out", str(tmp_path / name), *sizes])
    assert float(capsys.readouterr().out.split()[-4]) < 5.3  # ln 257 = 5.55 is what knows nothing
    weights = Weights(str(tmp_path / "one"))
    assert Recurrent().claims(weights)
    model = Recurrent().load(weights, CPU)
    (encoded,) = model.encode([Document("round and round", "")], 64)
    ids = torch.from_numpy(encoded.ids)[None]
    (rows,) = model.activations(ids, torch.ones_like(ids), [Site(1)])
    again = Recurrent().load(Weights(str(tmp_path / "again")), CPU).activations(ids, torch.ones_like(ids), [Site(1)])
    assert rows.shape == (1, 16, 16)
    assert torch.equal(rows, again[0])


def test_bytes_of_one_character_end_together() -> None:
    from bridge_recurrent.tokenizer import Bytes

    (encoded,) = Bytes().encode([Document("né🙂", "")], 64)
    assert encoded.ends.tolist() == [-1, 1, 2, 2, 3, 3, 3, 3]
    assert Bytes().decode(encoded.ids.tolist()) == "né🙂"


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    from bridge_recurrent import Recurrent

    (path,) = Recurrent().write_tiny_checkpoints(tmp_path)
    (path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Recurrent().load(Weights(str(path)), CPU)
    (path / "config.json").write_text('{"model_type": "bridge-recurrent", "d_model": "wide", "n_layers": 3}')
    with pytest.raises(ModelError, match="no d_model and n_layers"):
        Recurrent().describe(Weights(str(path)))


def test_the_module_imports_without_torch() -> None:
    import subprocess

    code = "import sys, bridge_recurrent; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
