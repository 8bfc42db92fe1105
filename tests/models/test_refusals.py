"""What cannot be read is refused for its real reason, and no message says to fetch again what is whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import bridge
from bridge.errors import BridgeError
from bridge.models.resolve import resolve
from bridge.plugins import Registry
from bridge.progress import Silent
from bridge.store import Store


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an adapter": (adapter, r"holds an adapter .*someone/base.*Merge it .*or give its base"),
    "bitsandbytes": (
        lambda f: edit(f, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "bitsandbytes is not installed. pip install bitsandbytes",
    ),
    "gptq": (lambda f: edit(f, quantization_config={"quant_method": "gptq"}), "gptqmodel is not installed"),
    "remote code": (
        lambda f: edit(f, model_type="mine", auto_map={"AutoModelForCausalLM": "modeling.Mine"}),
        "code of its own .*never run",
    ),
    "multimodal": (lambda f: edit(f, model_type="clip"), "is a clip, for which AutoModelForCausalLM has no class"),
}


def absent(names: Iterable[str]) -> list[Any]:
    """Skip a package that is installed here: what is refused for want of it is read then."""
    there = pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed, and reads it")
    return [pytest.param(name, marks=there) if name == "bitsandbytes" else name for name in names]


@pytest.mark.parametrize("name", absent(CASES))
def test_the_real_reason_is_said(
    name: str, tiny_models: Mapping[str, list[Path]], registry: Registry, tmp_path: Path
) -> None:
    spoil, message = CASES[name]
    folder = shutil.copytree(tiny_models["llama"][0], tmp_path / "model")
    spoil(folder)
    with pytest.raises(BridgeError, match=message) as refused:
        resolve(f"{folder}@1", registry.models, Store(tmp_path / "store"), Silent())
    assert "again" not in str(refused.value)


@pytest.mark.parametrize("family", ["llama", "qwen", "gpt2"])
def test_an_empty_tokenizer_is_not_made_up(
    family: str, tiny_models: Mapping[str, list[Path]], registry: Registry, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_models[family][0], tmp_path / "m", ignore=shutil.ignore_patterns("tokenizer*"))
    found = resolve(f"{folder}@1", registry.models, Store(tmp_path / "store"), Silent())
    with pytest.raises(BridgeError, match="has no tokenizer"):
        found.adapter.tokenizer(found.weights)


QUANTISED = {
    "bitsandbytes": {"load_in_8bit": True},
    "gptq": {"quant_method": "gptq", "bits": 4},
    "fbgemm_fp8": {"quant_method": "fbgemm_fp8"},
    "fp_quant": {"quant_method": "fp_quant"},
    "quark": {"quant_method": "quark"},
    "unknown": {"quant_method": "somebody-elses"},
    "nothing": {"bits": 4},
}
"""Of each, what this machine lacks: a package, a GPU, or any reader at all."""


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU reads some of them")
@pytest.mark.parametrize("name", absent(QUANTISED))
def test_a_quantisation_that_cannot_be_read_stands_in_the_way_of_a_dry_run(
    name: str, tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_models["llama"][0], tmp_path / "model")
    edit(folder, quantization_config=QUANTISED[name])
    (problem,) = bridge.dry_run(src=f"{folder}@1", dst="tiny-qwen")["problems"]
    assert "quantised with" in problem and "original checkpoint" in problem and "again" not in problem
    with pytest.raises(BridgeError, match="quantised with"):
        bridge.fit(src="tiny-qwen", dst=f"{folder}@1")


def test_a_missing_package_is_no_damaged_file(tmp_path: Path) -> None:
    from bridge.models.weights import Weights, unavailable

    try:
        try:
            import no_such_package  # noqa: F401
        except ImportError as error:
            raise OSError("Can't load the tokenizer") from error
    except OSError as error:
        found = unavailable(Weights(str(tmp_path)), error)
    assert "no_such_package" in str(found) and "Install the package" in found.remedy and "again" not in str(found)
