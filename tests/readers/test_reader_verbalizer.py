"""Readers as verbalizers: what is asked, what is refused, and adapters of both halves on one base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bridge.errors import BridgeError, ModelError, ShapeError, UsageError
from bridge.pipeline.verbalize.find import _recognised
from bridge.plugins.registry import Plugin, Registry
from bridge.readers import kind_of, read_adapter, refuse_unknown
from bridge.readers.answer import parse
from bridge.readers.reader import Answer
from bridge.references import Site
from bridge.testing import check_verbalizer
from bridge.verbalizers import Verbalizer
from nla_files import TrainedSubject
from reader_files import Told, tell, with_peft, write_adapter, write_base

KIND = kind_of(Told())
CASE = "LlamaForCausalLM"
ADD = {"block": 1, "how": "add", "length": "place"}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and on it an adapter that reads and one that reconstructs."""
    root = tmp_path_factory.mktemp("told")
    width = write_base(root / "base", CASE)
    tell(root / "base", d_model=width, injection=ADD)
    tell(root / "adapted", d_model=width, injection=ADD, ar=1)
    write_adapter(root / "adapted", root / "base", 1)
    write_adapter(root / "adapted" / "ar", root / "base", 2)
    torch.manual_seed(3)
    save_file({"weight": torch.randn(width, width)}, root / "adapted" / "head.safetensors")
    return root


def open_(folder: Path, **options: Any) -> Verbalizer:
    return KIND(checkpoint=str(folder), **options).open(TrainedSubject(32))


def test_it_keeps_the_laws(folder: Path) -> None:
    check_verbalizer(open_(folder / "adapted", base=str(folder / "base"), ask="what?"))
    check_verbalizer(open_(folder / "base", ask="what?"))


def test_questions(folder: Path) -> None:
    verbalizer = open_(folder / "base")
    groups = [draw(3, 32), draw(1, 32), draw(3, 32, seed=1), draw(2, 32)]
    together = verbalizer.ask(groups, "Which topic is this?")
    assert [verbalizer.ask([group], "Which topic is this?")[0] for group in groups] == together
    assert verbalizer.ask(groups, "Is this a map? {layer} {vectors}") != together
    asked = open_(folder / "base", ask="Which topic is this?")
    assert asked.explain(groups[1]) == together[1:2], "one vector in a prompt is a group of one"
    with pytest.raises(UsageError, match="needs a question"):
        verbalizer.explain(draw(1, 32))
    with pytest.raises(UsageError, match="needs a question"):
        verbalizer.ask(groups, " ")
    with pytest.raises(ShapeError, match="empty"):
        verbalizer.ask([draw(0, 32)], "What?")
    with pytest.raises(ShapeError):
        verbalizer.ask([draw(2, 31)], "What?")


def test_a_fixed_prompt_takes_no_questions(folder: Path, tmp_path: Path) -> None:
    fixed = tell(tmp_path, d_model=32, injection=ADD, template="see {vectors} here")
    for file in (folder / "base").iterdir():
        if file.name != "told.json":
            (fixed / file.name).symlink_to(file)
    assert open_(fixed).explain(draw(1, 32))
    with pytest.raises(UsageError, match="takes no questions"):
        open_(fixed).ask([draw(1, 32)], "What?")


def test_what_lengths_mean(folder: Path) -> None:
    x = draw(4, 32)
    verbalizer = open_(folder / "base", ask="what?")
    assert verbalizer.explain(x) == verbalizer.explain(x * 1000), "as long as the place, whatever it was"


def test_both_halves_run_on_one_base(folder: Path) -> None:
    verbalizer = open_(folder / "adapted", base=str(folder / "base"), ask="what?")
    first = verbalizer.explain(draw(3, 32))
    rebuilt = verbalizer.reconstruct(["a map", "a farm"])
    assert rebuilt.shape == (2, 32) and verbalizer.explain(draw(3, 32)) == first, "the halves do not disturb each other"
    np.testing.assert_array_equal(verbalizer.reconstruct(["a map", "a farm"]), rebuilt)
    from transformers import AutoTokenizer

    slow = with_peft(folder / "base", folder / "adapted" / "ar")
    ids = AutoTokenizer.from_pretrained(folder / "base")("<text>a farm</text>")["input_ids"]
    with torch.inference_mode():
        hidden = slow(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0, -1]
    head = load_file(folder / "adapted" / "head.safetensors")["weight"]
    np.testing.assert_allclose(rebuilt[1], (hidden @ head.T).numpy(), rtol=1e-4, atol=1e-4)


def test_the_base_must_be_the_adapters(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_base(other, "Qwen3ForCausalLM")
    with pytest.raises(BridgeError, match=r"trained on .*base, and the option base names .*other.*any_base=true"):
        open_(folder / "adapted", base=str(other), ask="what?")
    config = json.loads((folder / "adapted" / "adapter_config.json").read_text())
    wide = tmp_path / "wide"
    write_base(wide, "Gemma3ForCausalLM")
    with pytest.raises(ModelError, match=r"base model has the shape \("):
        open_(folder / "adapted", base=str(wide), any_base=True, ask="what?").explain(draw(1, 32))
    assert config["base_model_name_or_path"].endswith("base")


SPOILERS: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"peft_type": "IA3"}, "of type IA3"),
    "unknown": ({"norm_of_the_future": True}, "has unknown keys: norm_of_the_future"),
    "DoRA": ({"use_dora": True}, "sets use_dora=True"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "sets modules_to_save"),
    "biases": ({"bias": "all"}, "sets bias=all"),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_settings_that_change_meaning_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "adapted" / "adapter_config.json").read_text())
    changes, said = SPOILERS[name]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | changes))
    with pytest.raises(BridgeError, match=said):
        read_adapter(tmp_path)


def test_damaged_adapters_are_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    def spoilt(change: Any) -> Verbalizer:
        target = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(folder / "adapted", target)
        change(target / "adapter_model.safetensors")
        return open_(target, base=str(folder / "base"), ask="what?")

    def without(file: Path) -> None:
        tensors = load_file(file)
        tensors.pop(next(name for name in tensors if "lora_B" in name))
        save_file(tensors, file)

    def deeper(file: Path) -> None:
        save_file({name.replace("layers.2", "layers.9"): one for name, one in load_file(file).items()}, file)

    def pickled(file: Path) -> None:
        torch.save(load_file(file), file.with_name("adapter_model.bin"))
        file.unlink()

    for change, said in (
        (without, "only one of the two matrices"),
        (deeper, "modules that the base model does not have"),
        (pickled, "pickles are never read"),
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "cannot be read"),
    ):
        with pytest.raises(ModelError, match=said):
            spoilt(change).explain(draw(1, 32))


def test_several_sites() -> None:
    from bridge.verbalizers import check_site

    check_site("1,2", Site(2), 3, "It")
    with pytest.raises(BridgeError, match=r"of the site 1,2, and these are of 0"):
        check_site("1,2", Site(0), 3, "It")


def test_a_folder_names_its_format(folder: Path) -> None:
    registry = Registry()
    registry.registrar("reader_formats", Plugin("reader_formats.told", "tests", "0"))(Told())
    assert registry.verbalizers["told"].format is registry.reader_formats["told"]  # type: ignore[attr-defined]
    for text in (f"reader:checkpoint={folder / 'base'},samples=1", f"{folder / 'base'}:samples=1"):
        assert _recognised(text, registry) == f"told:checkpoint={folder / 'base'},samples=1"
    with pytest.raises(UsageError, match="no installed kind"):
        _recognised(f"reader:checkpoint={folder}", registry)
    with pytest.raises(UsageError, match="needs a checkpoint"):
        _recognised("reader:samples=1", registry)


@pytest.mark.parametrize(
    ("written", "rule", "ended", "text", "flags"),
    [
        ("- a farm\n- a cow\n- a farm", "bullets", True, "a farm\na cow", ()),
        ("Concepts:\n- a farm\n-", "bullets", False, "a farm", ("truncated",)),
        ("a farm", "bullets", True, "a farm", ("untagged",)),
        (" a farm ", "free", True, "a farm", ()),
        ("", "free", False, "", ("truncated", "empty")),
    ],
)
def test_answers_without_tags(written: str, rule: Any, ended: bool, text: str, flags: tuple[str, ...]) -> None:
    found = parse(written, "?", Answer(rule=rule), ended)
    assert (found.text, found.flags) == (text, flags)


def test_unknown_keys_are_named() -> None:
    refuse_unknown(["norm"], ["norm"], "x")
    with pytest.raises(BridgeError, match=r"told\.json has unknown keys: norm, scale"):
        refuse_unknown(["scale", "norm", "d"], ["d"], "told.json")
