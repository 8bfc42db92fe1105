"""Audits and carried dictionaries, through the command line, on the shipped toy and its shipped dictionaries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch.nn.functional import cross_entropy

import bridge_toys.dyck
from bridge import load
from bridge.cli import bridge
from bridge.corpus import load_corpus
from bridge.corpus.split import HELD_OUT
from bridge.errors import BridgeError, UsageError
from bridge.models import Placement
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.score.live_model import LiveDocuments, RunningModel
from bridge.pipeline.transfer.dictionaries import open_dictionary
from bridge.pipeline.transfer.sae import transfer_sae
from bridge.plugins import Registry
from bridge.references import expand_references

SHIPPED = Path(bridge_toys.dyck.__file__).parent / "checkpoints"
SAE = SHIPPED / "seed0" / "dictionaries" / "1" / "relu"
ROTATION = ("--map", "procrustes:scaled=false")
FEW = ("--max-documents", "800")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(bridge, [*arguments, "--quiet"])


def fit(src: str, dst: str, out: Path) -> Path:
    flags = ("--src", src, "--dst", dst, *ROTATION, *FEW, "--out", str(out))
    assert call("fit", *flags).exit_code == 0
    return out


def test_audit_tells_a_carried_dictionary_from_its_controls() -> None:
    flags = ("--src", "dyck:seed0", "--dst", "dyck:seed1..2", "--sites", "0,1", *FEW, "--json")
    result = json.loads(call("audit", *flags).stdout)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for metric in result["metrics"]:
        found.setdefault((metric["dst"], metric["name"]), {})[metric["arm"]] = metric
    targets = [f"dyck:seed{seed}@{site}" for seed in (1, 2) for site in (0, 1)]
    assert {dst for dst, _ in found} == set(targets)
    for target in targets:
        ev = found[target, "sae_ev"]
        assert ev["raw"]["high"] < 0 < ev["mapped"]["low"] and ev["mispaired"]["high"] < ev["mapped"]["low"]
        assert ev["self"]["value"] - ev["mapped"]["value"] < 0.05
        loss = found[target, "loss_recovered"]
        assert loss["mapped"]["value"] > 0.95 * loss["native"]["value"] > loss["raw"]["value"]
        assert found[target, "rotation_haar_p"]["mapped"]["value"] > 0.05
        assert found[target, "rotation_haar_p"]["mispaired"]["value"] > 0.05
        assert found[target, "firing_r"]["mapped"]["low"] > found[target, "firing_r"]["raw"]["high"]
    match = found["dyck:seed1@1", "decoder_match_mean"]
    assert match["raw:same_init:relu-init100"]["value"] > 0.7 > 0.5 > match["raw"]["value"]


def test_standard_input_serves_every_target() -> None:
    words = (SHIPPED.parent / "corpus.jsonl").read_text().splitlines()[:400]
    flags = ("--src", "dyck:seed0@1", "--dst", "dyck:seed1..2", "--corpus", "-", *ROTATION, "--json", "--quiet")
    result = CliRunner().invoke(bridge, ["audit", *flags], input="\n".join(words))
    assert {metric["dst"] for metric in json.loads(result.stdout)["metrics"]} == {"dyck:seed1@1", "dyck:seed2@1"}


def test_tables_fit_into_100_columns_and_show_the_other_dictionaries_apart() -> None:
    result = call("audit", "--src", "dyck:seed0", "--dst", "dyck:seed1", "--sites", "1.resid_mid,1", *FEW)
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 100
    assert "dyck:seed1\n" in result.stdout.replace(" ", "")
    headings = [line.split() for line in result.stdout.splitlines() if "mapped" in line and "raw" in line]
    assert ["against", "mapped", "raw"] in headings
    assert not any(":" in arm for heading in headings for arm in heading)


def test_live_losses_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text by text, and whatever the batches and the parts in which logits become losses."""
    runtime = open_runtime()
    found = runtime.resolve("dyck:seed1@1")
    model = found.adapter.load(found.weights, Placement("cpu", "float32"))
    corpus = load_corpus(found.adapter.corpus(), max_documents=40, named=runtime.registry.corpora)
    folds = np.where(np.arange(40) % 3 == 0, HELD_OUT, 0)
    monkeypatch.setattr("bridge.pipeline.score.live_model.TOKENS_PER_BATCH", 150)
    monkeypatch.setattr("bridge.pipeline.score.losses.LOGITS_PER_LOSS", 64)
    documents = LiveDocuments(model, corpus, folds, 64, seed=0)
    live = RunningModel(documents, found.single_site())
    assert live.losses(None)[0] is live.losses(None)[0]
    for edit, scale in ((None, 1.0), (lambda rows: rows * np.float32(0.5), 0.5)):
        sums, counts = live.losses(edit)
        for group, index in enumerate(np.flatnonzero(folds == HELD_OUT)):
            encoded = model.encode([corpus.documents[index]], 64)[0]
            ids = torch.from_numpy(encoded.ids)[None]
            kept = torch.from_numpy(encoded.kept)

            def halve(value: torch.Tensor, kept: torch.Tensor = kept, scale: float = scale) -> torch.Tensor:
                value[0, kept] *= scale
                return value

            logits = model.logits(ids, torch.ones_like(ids), {found.single_site(): halve})[0]
            lost = cross_entropy(logits[1:-1], ids[0, 2:], reduction="sum")
            assert sums[group] == pytest.approx(float(lost), rel=1e-4)
            assert counts[group] == len(encoded.ids) - 2


def test_a_carried_dictionary_is_the_source_s_seen_through_the_bridge(registry: Registry, tmp_path: Path) -> None:
    folder = fit("dyck:seed0@1", "dyck:seed1@1", tmp_path / "bridge")
    out = tmp_path / "carried"
    assert call("transfer", "sae", str(folder), str(SAE), "--out", str(out)).exit_code == 0
    carried, source, rotation = open_dictionary(str(out), registry), open_dictionary(str(SAE), registry), load(folder)
    y = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    expected = rotation(source.reconstruct(rotation.inverse()(y)))
    np.testing.assert_allclose(carried.reconstruct(y), expected, atol=1e-4)
    assert carried.origin.site == "blocks.1.hook_resid_post"
    with pytest.raises(UsageError, match="already exists"):
        transfer_sae(rotation, str(SAE), out)
    with pytest.raises(UsageError, match="not from"):
        transfer_sae(rotation, str(SAE), tmp_path / "other", back=rotation)


def test_what_does_not_belong_is_refused(registry: Registry, tmp_path: Path) -> None:
    result = call("audit", "--src", "dyck:seed0@0", "--dst", "dyck:seed1@0", "--dictionary", str(SAE))
    assert "names the site blocks.1.hook_resid_post" in str(result.exception)
    result = call("audit", "--src", "dyck:seed0@7", "--dst", "dyck:seed1@0", "--dictionary", str(SAE))
    assert "no block 7" in str(result.exception)
    with pytest.raises(BridgeError, match="no installed format"):
        open_dictionary(str(tmp_path), registry)
    half = tmp_path / "half"
    shutil.copytree(SAE, half)
    weights = next(half.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BridgeError):
        open_dictionary(str(half), registry)


def test_ranges_of_variants() -> None:
    assert expand_references("dyck:seed1..3@1#step300") == [f"dyck:seed{i}@1#step300" for i in (1, 2, 3)]
    assert expand_references("dyck:seed1@*") == ["dyck:seed1@*"]
    with pytest.raises(UsageError, match="empty range"):
        expand_references("dyck:seed3..1")
