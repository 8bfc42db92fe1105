"""The `nla` verbalizer writes the same texts as before its decoding became everybody's: byte for byte, as stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bridge_toys.zoo
from bridge.verbalizers import Blends
from bridge_verbalizers.nla import NLA
from nla_files import TrainedSubject

ZOO = Path(bridge_toys.zoo.__file__).parent / "checkpoints"
STORED = Path(__file__).with_name("nla_texts.json")
FOLDERS = {"tiny-gemma": (ZOO / "tiny-gemma/verbalizers/2", 112), "tiny-qwen": (ZOO / "tiny-qwen/verbalizers/0", 128)}


def said(name: str) -> dict[str, Any]:
    """Return what the verbalizer of one bundled model says: greedily, sampled, in contrast; and what it rebuilds."""
    folder, width = FOLDERS[name]
    rng = np.random.default_rng(0)
    x, backgrounds = (rng.normal(size=(n, width)).astype(np.float32) for n in (9, 2))
    x = x[:5]
    subject = TrainedSubject(width, seed=3)

    def texts(explanations: list[Any]) -> list[Any]:
        return [[one.text, list(one.flags)] for one in explanations]

    greedy = NLA(checkpoint=str(folder), max_new_tokens=40, any_site=True, batch=4).open(subject)
    sampled = NLA(checkpoint=str(folder), max_new_tokens=25, any_site=True, temperature=0.8, samples=2, batch=7).open(
        subject
    )
    return {
        "greedy": texts(greedy.explain(x)),
        "sampled": texts(sampled.explain(x)),
        "contrast": texts(greedy.explain_blends(Blends(backgrounds + 3 * x[:, None], backgrounds, 0.8))),
        "rebuilt": [
            [float(f"{value:.3f}") for value in row[:8]] for row in greedy.reconstruct(["a farm", "", "Tom sat"])
        ],
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_texts_are_those_that_are_stored(name: str) -> None:
    stored, found = json.loads(STORED.read_text(encoding="utf-8"))[name], said(name)
    for way in ("greedy", "sampled", "contrast"):
        assert len({text for text, _ in stored[way]}) > 3, "the vectors are meant to be heard"
        assert found[way] == stored[way], way
    np.testing.assert_allclose(found["rebuilt"], stored["rebuilt"], atol=2e-3)
