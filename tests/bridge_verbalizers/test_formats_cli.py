"""Folders of published readers through the command: each is recognised, and what cannot be read is refused in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from bridge.readers import decoding
from published_files import (
    PLACE,
    tokenizer_of,
    write_base,
    write_easynla_ar,
    write_easynla_av,
    write_lora_nla,
    write_merged_ar,
    write_oracle,
    write_oracle_lens,
)
from small_plugins import bridge

SIDECAR = "nla_meta.yaml"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and a reader of every format on it."""
    root = tmp_path_factory.mktemp("readers")
    base = root / "base"
    write_base(base)
    write_easynla_av(root / "easynla" / "av", base)
    write_easynla_ar(root / "easynla" / "ar", base)
    write_easynla_av(root / "merged" / "av", base, merged=True)
    write_merged_ar(root / "merged" / "ar", base)
    write_oracle(root / "oracle", base, {})
    write_oracle(root / "unsaid", base)
    write_oracle_lens(root / "lens", base)
    write_lora_nla(root / "lora", base)
    return root


@pytest.fixture
def copied(kept: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(kept / name, tmp_path / name))


def explain(kept: Path, reader: object, *more: object, site: str = "1") -> tuple[int, str, str]:
    model = f"{kept / 'base'}@{site}"
    pair = ("--src", model, "--via", model, "--verbalizer", reader, "--max-documents", 40)
    code, out, err = bridge("explain", *pair, "--text", "the map of it", "--every", 40, *more)
    return code, out, " ".join(err.split())


def change(folder: Path, **changed: Any) -> Path:
    """Change keys of a sidecar; None takes one out, and a mapping changes a part."""
    path = folder / SIDECAR
    said = yaml.safe_load(path.read_text())
    for key, value in changed.items():
        said[key] = said.get(key, {}) | value if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(said))
    return folder


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("easynla", "", "easynla"),
        ("easynla/av", "", "easynla"),
        ("merged", "", "easynla"),
        ("oracle", ",ask=What is it about?", "activation_oracle"),
        ("lens", "", "oracle_lens"),
        ("lora", "", "lora_nla"),
    ],
)
def test_folders_are_recognised(name: str, options: str, kind: str, kept: Path) -> None:
    code, out, err = explain(kept, f"reader:checkpoint={kept / name},max_new_tokens=3{options}", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["bridge"]["verbalizer"].startswith(f"{kind}:") and len(found["readings"]) == 1
    assert (found["fve"] is not None) == (name in ("easynla", "merged"))


def test_a_merged_lens_is_no_released_nla(copied: Callable[[str], Path], kept: Path) -> None:
    folder = copied("base")
    shutil.copy(kept / "lens" / "lora" / SIDECAR, folder)
    code, out, err = explain(kept, f"{folder}:max_new_tokens=3", "--json")
    assert code == 0, err
    assert json.loads(out)["bridge"]["verbalizer"].startswith("oracle_lens:")


def test_an_oracle_is_asked_about_all_tokens_of_a_text(kept: Path) -> None:
    reader = f"activation_oracle:checkpoint={kept / 'oracle'},max_new_tokens=3"
    code, out, err = explain(kept, reader, "--every", 1, "--ask", "Which topic?", "--json")
    assert code == 0, err
    assert len(json.loads(out)["readings"]) == 1


def test_an_oracle_that_is_asked_nothing_refuses(kept: Path) -> None:
    code, _, err = explain(kept, f"activation_oracle:checkpoint={kept / 'oracle'}")
    assert code == 2 and "needs a question" in err and "ask" in err


def test_an_adapter_of_another_base_is_refused_and_allowed(kept: Path, copied: Callable[[str], Path]) -> None:
    folder = copied("lora")
    config = folder / "adapter_config.json"
    said = json.loads(config.read_text()) | {"base_model_name_or_path": "some/other-8b-it"}
    config.write_text(json.dumps(said))
    reader = f"lora_nla:checkpoint={folder},max_new_tokens=3,base={kept / 'base'}"
    code, _, err = explain(kept, reader)
    assert code == 1 and "some/other-8b-it" in err and "any_base=true" in err
    # Names are all that tells an instruct model from the one it was made of.
    code, _, err = explain(kept, f"{reader},any_base=true")
    assert code == 0, err


def test_an_adapter_of_another_width_is_refused(kept: Path, tmp_path: Path) -> None:
    write_base(tmp_path / "base", width=48)
    reader = f"activation_oracle:checkpoint={kept / 'oracle'},ask=What?,base={tmp_path / 'base'}"
    # Both bases lie in folders called `base`, which does not make them one model.
    code, _, err = explain(kept, reader)
    assert code == 1 and "any_base=true" in err and "Traceback" not in err
    code, _, err = explain(kept, f"{reader},any_base=true")
    assert code == 1 and "48" in err and "Traceback" not in err
    write_lora_nla(tmp_path / "wide", tmp_path / "base")
    code, _, err = explain(kept, f"lora_nla:checkpoint={tmp_path / 'wide'}")
    assert code == 1 and "48" in err and "32" in err


@pytest.mark.parametrize("name", ["lora", "oracle"])
def test_pickles_are_refused_and_never_read(
    name: str, kept: Path, copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(name)
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    code, _, err = explain(kept, f"reader:checkpoint={folder},ask=What?")
    assert code == 1 and "adapter_model.bin" in err and "pickle" in err


def test_a_mark_that_the_tokenizer_splits_is_refused(kept: Path, copied: Callable[[str], Path]) -> None:
    folder = change(copied("lora"), tokens={"injection_char": "qx", "injection_token_id": None})
    said = yaml.safe_load((folder / SIDECAR).read_text())
    del said["tokens"]["injection_token_id"]
    (folder / SIDECAR).write_text(yaml.safe_dump(said))
    code, _, err = explain(kept, f"lora_nla:checkpoint={folder}")
    assert code == 1 and "qx" in err and "token" in err


def test_one_block_off_is_said_before_anything_runs(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What reads hidden_states[2] reads block 1, and hidden_states[3] is block 2.
    monkeypatch.setattr(decoding.Speaker, "__init__", lambda *_, **__: pytest.fail("it runs"))
    for name in ("easynla", "lora"):
        code, _, err = explain(kept, f"reader:checkpoint={kept / name}", site="2")
        assert code == 1 and "1" in err and "2" in err and "any_site=true" in err
    model = f"{kept / 'base'}@2"
    flags = ("--src", "dyck:seed0@1", "--dst", model, "--dst-verbalizer", f"easynla:checkpoint={kept / 'easynla'}")
    code, out, _ = bridge("run", *flags, "--positions", 4, "--dry-run")
    assert code == 1 and "any_site=true" in " ".join(out.split())


@pytest.mark.parametrize("name", ["easynla/av", "lora", "lens/lora"])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"extraction": {"norm": "whitened_zca_v1"}}, "whitened_zca_v1"),
        ({"whitening": {"file": "stats.npz"}}, "whitening"),
        ({"extraction": {"centered": True}}, "extraction.centered"),
        ({"tokens": {"injection_slots": 4}}, "tokens.injection_slots"),
    ],
)
def test_keys_that_change_what_a_vector_means_are_refused_by_name(
    name: str, changed: dict[str, Any], said: str, kept: Path, copied: Callable[[str], Path], tmp_path: Path
) -> None:
    copied(name.partition("/")[0])
    kind = {"easynla/av": "easynla", "lora": "lora_nla", "lens/lora": "oracle_lens"}[name]
    folder = change(tmp_path / name, **changed)
    code, _, err = explain(kept, f"{kind}:checkpoint={folder}")
    assert code == 1 and said in err


def test_what_no_file_says_is_probed_or_told(kept: Path, copied: Callable[[str], Path]) -> None:
    folder = change(copied("lora"), training=None)
    # Random weights write no tags in either way.
    code, _, err = explain(kept, f"lora_nla:checkpoint={folder},max_new_tokens=3")
    assert code == 1 and "inject=add" in err and "inject=replace" in err
    told = {}
    for way in ("add", "replace"):
        code, out, err = explain(kept, f"lora_nla:checkpoint={folder},max_new_tokens=9,inject={way}", "--json")
        assert code == 0, err
        told[way] = [one["explanation"] for one in json.loads(out)["readings"]]
    assert told["add"] != told["replace"]
    code, _, err = explain(kept, f"lora_nla:checkpoint={kept / 'lora'},inject=add")
    assert code == 2 and "allow only inject=replace" in err


def test_oracles_without_a_config(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, injected = decoding.Speaker.__init__, []

    def recorded(self: Any, module: Any, prompt: Any, injection: Any, *rest: Any) -> None:
        injected.append(injection.how)
        made(self, module, prompt, injection, *rest)

    monkeypatch.setattr(decoding.Speaker, "__init__", recorded)
    code, _, err = explain(kept, f"reader:checkpoint={kept / 'unsaid'},ask=What?")
    assert code == 2 and "no installed kind" in err
    reader = f"activation_oracle:max_new_tokens=9,ask=What?,checkpoint={kept / 'unsaid'}"
    told = {}
    for way in ("add", "replace"):
        code, out, err = explain(kept, f"{reader},inject={way}", "--json")
        assert code == 0, err
        told[way] = [one["explanation"] for one in json.loads(out)["readings"]]
    assert injected == ["add", "replace"], "tiny random models may give one text for both"
    # Its authors' names say it of some.
    named = shutil.copytree(kept / "unsaid", tmp_path / "latentqa_addition_Qwen3-8B")
    code, out, err = explain(kept, f"activation_oracle:max_new_tokens=9,ask=What?,checkpoint={named}", "--json")
    assert code == 0, err
    assert [one["explanation"] for one in json.loads(out)["readings"]] == told["add"]


def test_hostile_answers_are_escaped(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "<explanation>\x1b[31m<script>alert(1)</script>\x07 \u202e[red]</explanation>"
    ids = tokenizer_of(kept / "base").encode(hostile, add_special_tokens=False)
    assert PLACE not in hostile
    monkeypatch.setattr(decoding.Speaker, "say", lambda self, blends, *_: [list(ids)] * len(blends.vectors))
    code, out, err = explain(kept, f"easynla:checkpoint={kept / 'easynla' / 'av'}")
    assert code == 0, err
    assert not set("\x1b\x07\u202e") & set(out) and "[red]" in out
    code, out, err = explain(kept, f"easynla:checkpoint={kept / 'easynla' / 'av'}", "--json")
    assert code == 0 and "\x1b" not in out and "\x07" not in out
