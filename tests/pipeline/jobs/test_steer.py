"""Steering vectors across models, through the command line, on the shipped toy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import save_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

import bridge_toys.dyck
from bridge.cli import bridge
from bridge.errors import BridgeError, CorpusError, UsageError
from bridge.maps import AffineMap
from bridge.models import Placement, Weights
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.transfer.contrast import load_contrast
from bridge.plugins import Registry
from bridge.report.html import write_report
from bridge_toys.dyck.checkpoint import read
from bridge_toys.dyck.language import BOS, VOCABULARY

CONTRASTS = Path(bridge_toys.dyck.__file__).parent / "contrasts"


def fit(src: str, dst: str, out: Path) -> Path:
    flags = ["--src", src, "--dst", dst, "--map", "procrustes:scaled=false", "--max-documents", "600"]
    result = CliRunner().invoke(bridge, ["fit", *flags, "--out", str(out), "--quiet"], catch_exceptions=False)
    assert result.exit_code == 0
    return out


def unfitted(out: Path) -> Path:
    eye, zeros = np.eye(64), np.zeros(64)
    Bridge("dyck:seed0@1", "dyck:seed1@1", "identity", {}, AffineMap(eye, zeros, zeros), {}).save(out)
    return out


def steer(folder: Path, contrast: Path, *flags: str) -> dict[str, object]:
    arguments = ["steer", str(folder), str(contrast), "--json", "--quiet", *flags]
    return json.loads(CliRunner().invoke(bridge, arguments, catch_exceptions=False).stdout)


@pytest.mark.parametrize("contrast", ["full-half", "round-square"])
def test_mapped_vectors_steer_where_raw_and_random_ones_do_not(contrast: str, tmp_path: Path) -> None:
    folder = fit("dyck:seed0@1", "dyck:seed1@1", tmp_path / "bridge")
    found = steer(folder, CONTRASTS / f"{contrast}.jsonl", "--dose", "1", "--prompt", "([{", "--new-tokens", "4")
    metrics = {(m["name"], m["arm"]): m for m in found["metrics"]}
    shift = {arm: metrics["log_odds_shift@1", arm] for arm in ("native", "mapped", "raw", "random_direction")}
    assert shift["mapped"]["low"] > max(shift["raw"]["high"], shift["random_direction"]["high"])
    assert 0.95 < metrics["transfer_ratio@1", "mapped"]["value"] < 1.05
    assert metrics["transfer_ratio@1", "native"]["value"] == 1
    assert metrics["log_odds_shift@1", "mapped"]["control"] == "random_direction"
    (texts,) = found["generated"]
    assert texts["plain"].startswith("}") and set(texts) == {"prompt", "plain", *shift}


def test_prompts_together_are_gone_on_with_as_each_alone(tmp_path: Path) -> None:
    folder, contrast = unfitted(tmp_path / "bridge"), CONTRASTS / "round-square.jsonl"
    prompts = ("([{", "", "[" * 40, "(" * 40)
    flags = ["--dose", "2", "--new-tokens", "9", "--max-tokens", "32"]
    every = [flag for prompt in prompts for flag in ("--prompt", prompt)]
    result = CliRunner().invoke(bridge, ["steer", str(folder), str(contrast), "--json", *flags, *every])
    together = json.loads(result.stdout)
    assert "2 of 4 prompts are longer than 32 tokens and are cut there." in result.stderr
    apart = [steer(folder, contrast, *flags, "--prompt", prompt)["generated"][0] for prompt in prompts]
    assert together["generated"] == apart
    assert len({text for one in apart for text in one.values()}) > 8
    assert together["bridge"]["generation"] == {"new_tokens": 9, "ends": [], "prompts_cut": 2}


def test_prompts_that_cannot_be_gone_on_with_are_refused(tiny_models: Mapping[str, list[Path]], tmp_path: Path) -> None:
    folder, contrast = unfitted(tmp_path / "bridge"), CONTRASTS / "round-square.jsonl"
    with pytest.raises(UsageError, match="reads at most 64 tokens, and a text would come to 66"):
        steer(folder, contrast, "--prompt", "((((", "--new-tokens", "62")
    tiny = f"{tiny_models['qwen'][0]}@1"
    eye, zeros = np.eye(48), np.zeros(48)
    Bridge(tiny, tiny, "identity", {}, AffineMap(eye, zeros, zeros), {}).save(tmp_path / "tiny")
    with pytest.raises(UsageError, match="cannot continue the prompt ''"):
        steer(tmp_path / "tiny", contrast, "--prompt", "")


def test_raw_vectors_work_between_models_that_share_input_and_output_weights(tmp_path: Path) -> None:
    folder = fit("dyck:shared0@1", "dyck:shared1@1", tmp_path / "bridge")
    found = steer(folder, CONTRASTS / "round-square.jsonl", "--dose", "1")
    ratio = {m["arm"]: m["value"] for m in found["metrics"] if m["name"] == "transfer_ratio@1"}
    assert 0.95 < ratio["raw"] < 1.05 and ratio["random_direction"] < 0.5


def test_rows_make_the_vector_that_their_texts_would_have_made(tmp_path: Path) -> None:
    folder, path = fit("dyck:seed0@1", "dyck:seed1@1", tmp_path / "bridge"), CONTRASTS / "round-square.jsonl"
    contrast = load_contrast(path, seed=0)
    network = read(Weights(str(CONTRASTS.parent / "checkpoints" / "seed0")))
    kept: list[np.ndarray] = []
    network.blocks[1].register_forward_hook(lambda module, given, out: kept.append(out[0, -1].detach().numpy()))
    for document, tested in zip(contrast.documents, contrast.tested, strict=True):
        if not tested:
            network(torch.tensor([[BOS, *map(VOCABULARY.index, document.text)]]))
    labels = 1 - contrast.first[~contrast.tested].astype(np.int64)

    def steered(rows: np.ndarray, labels: np.ndarray) -> dict[tuple[str, str], float]:
        save_file({"rows": rows, "labels": labels}, tmp_path / "rows.safetensors")
        found = steer(folder, path, "--dose", "1", "--vector-from", str(tmp_path / "rows.safetensors"))
        assert found["bridge"]["vector_from"] == "rows.safetensors"
        return {(m["name"], m["arm"]): m["value"] for m in found["metrics"]}

    by_texts = {(m["name"], m["arm"]): m["value"] for m in steer(folder, path, "--dose", "1")["metrics"]}
    assert steered(np.stack(kept), labels) == pytest.approx(by_texts, abs=1e-4)
    against = steered(np.stack(kept), 1 - labels)
    assert against["log_odds_shift@1", "mapped"] < 0 < against["log_odds_shift@1", "native"]


@pytest.mark.parametrize(
    ("rows", "labels", "said"),
    [
        (np.ones((4, 64)), [0, 0, 0, 0], "labels of .* are 0; .* two classes"),
        (np.ones((4, 64)), [0, 1, 2, 1], "labels of .* are 0, 1, 2; .* the two classes"),
        (np.full((4, 64), np.nan), [0, 1, 0, 1], "tensor rows of .* not finite floats"),
        (np.ones((4, 64)), [0, 1, 1], r"rows of shape \(4, 64\) and labels of shape \(3,\)"),
        (np.ones((4, 63)), [0, 1, 0, 1], r"rows.safetensors has shape \(4, 63\); this map takes \(n, 64\)"),
        (np.ones((4, 64)), [0, 1, 0, 1], "two classes of rows.safetensors do not differ"),
    ],
)
def test_rows_that_make_no_vector(rows: np.ndarray, labels: list[int], said: str, tmp_path: Path) -> None:
    folder = unfitted(tmp_path / "bridge")
    save_file({"rows": rows, "labels": np.array(labels)}, tmp_path / "rows.safetensors")
    with pytest.raises(BridgeError, match=said):
        steer(folder, CONTRASTS / "round-square.jsonl", "--vector-from", str(tmp_path / "rows.safetensors"))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([json.dumps({"text": str(i), "class": "a"}) for i in range(40)], "two classes"),
        ([json.dumps({"text": str(i), "class": "ab"[i == 0]}) for i in range(40)], "two classes"),
        (["no json"], "not a readable contrast set"),
        (['{"text": 3, "class": "a"}'], "not a string"),
    ],
)
def test_a_contrast_set_that_is_none(lines: list[str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CorpusError, match=said):
        load_contrast(path, seed=0)


def steerable(folder: Path, model: Path) -> Path:
    """Save a bridge of a tiny GPT-2 to itself."""
    eye, zeros = np.eye(32), np.zeros(32)
    Bridge(f"{model}@1", f"{model}@1", "identity", {}, AffineMap(eye, zeros, zeros), {}).save(folder)
    return folder


def contrast_file(path: Path, records: list[tuple[str, str]], before: str = "", end: str = "\n") -> Path:
    lines = (json.dumps({"text": text, "class": label}, ensure_ascii=False) + end for text, label in records)
    path.write_text(before + "".join(lines), encoding="utf-8", newline="")
    return path


GLAD = [(f"the stream is {what}", "glad") for what in ("a map", "at", "me", "the", "of it", "so", "all", "one", "too")]
SORRY = [(f"no {what} between", "sorry") for what in ("map", "rotation", "it", "the", "of", "so", "all", "one", "too")]


def appending_eos(model: Path, to: Path) -> Path:
    shutil.copytree(model, to)
    tokenizer = AutoTokenizer.from_pretrained(to)
    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.save_pretrained(to)
    return to


def test_a_token_that_ends_every_text_is_not_its_last_word(
    tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    plain = tiny_models["gpt2"][0]
    ended = appending_eos(plain, tmp_path / "ended")
    path = contrast_file(tmp_path / "set.jsonl", [*GLAD, *SORRY])
    flags = ["--dose", "1", "--prompt", "the map between", "--new-tokens", "6"]
    found = [steer(steerable(tmp_path / f"of {one.name}", one), path, *flags) for one in (plain, ended)]
    named, values = ([[m[key] for m in one["metrics"]] for one in found] for key in ("name", "value"))
    # Batches of other lengths are summed in another order on some processors.
    assert named[0] == named[1] and values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-6)
    assert found[0]["generated"] == found[1]["generated"] and found[0]["generated"][0]["plain"]
    assert found[1]["bridge"]["generation"]["ends"] == [1]
    assert "remarks" not in found[0]["bridge"] | found[1]["bridge"]


def test_generation_ends_at_what_the_tokenizer_ends_texts_with(
    tiny_models: Mapping[str, list[Path]], tmp_path: Path, registry: Registry
) -> None:
    model = appending_eos(tiny_models["gpt2"][0], tmp_path / "model")
    for name in ("generation_config.json", "config.json"):
        found = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(found | {"eos_token_id": None}))
    settings = json.loads((model / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = registry.models["gpt2"].load(Weights(str(model)), Placement("cpu", "float32"))
    assert loaded.ends == {1}
    with torch.no_grad():
        loaded.module.lm_head.weight[1] = 100 * loaded.module.lm_head.weight.sum(0)
    ids = np.array([5, 6, 7])
    ends = [one for one in range(3, 40) if loaded.generate([np.array([one])], 1, ends=())[0] == [1]]
    assert ends and loaded.generate([np.array([ends[0]]), ids], 3)[0] == []


def test_texts_that_are_not_read_to_their_end_are_counted(
    tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    folder = steerable(tmp_path / "bridge", tiny_models["gpt2"][0])
    path = contrast_file(tmp_path / "set.jsonl", [*GLAD, *SORRY, (" it" * 300, "glad"), (" no" * 300, "sorry")])
    arguments = ["steer", str(folder), str(path), "--dose", "1", "--out", str(tmp_path / "out.json"), "--json"]
    result = CliRunner().invoke(bridge, arguments, catch_exceptions=False)
    (said,) = json.loads(result.stdout)["bridge"]["remarks"]
    # The model has 128 positions, fewer than what is read by default.
    assert said.startswith("2 of 20 texts of set are longer than 128 tokens")
    assert said in result.stderr
    report = write_report([tmp_path / "out.json"], tmp_path / "report.html").read_text(encoding="utf-8")
    assert said in report
    (said,) = steer(folder, path, "--dose", "1", "--max-tokens", "3")["bridge"]["remarks"]
    assert said.startswith("20 of 20")


def test_a_contrast_is_read_line_by_line(tmp_path: Path) -> None:
    records = [(f"{text}\u2028and\x85so\u2029on", label) for text, label in [*SORRY, *GLAD]]
    path = contrast_file(tmp_path / "set.jsonl", records, before="\ufeff", end="\r\n")
    found = load_contrast(path, seed=0)
    assert [one.text for one in found.documents] == [text for text, _ in records]
    assert found.classes == ("sorry", "glad") and found.remarks == ()
    again = load_contrast(contrast_file(tmp_path / "again.jsonl", [*records, *records[:3]]), seed=0)
    assert again.documents == found.documents and again.remarks[0].endswith(": 3.")
    assert (again.tested == found.tested).all()


def test_a_text_of_both_classes_is_of_none(tmp_path: Path) -> None:
    path = contrast_file(tmp_path / "set.jsonl", [*GLAD, *SORRY, (GLAD[0][0], "sorry")])
    with pytest.raises(CorpusError, match="1 texts in two classes, such as 'the stream is a map'"):
        load_contrast(path, seed=0)
