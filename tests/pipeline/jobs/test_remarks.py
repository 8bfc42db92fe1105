"""What is read otherwise than it stands is said: in the terminal, in JSON, in the files, in the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from bridge.cli import bridge
from bridge.report.html import write_report


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(bridge, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_a_runs_remarks_are_said_everywhere(experiment: list[str], corpus_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    lines = corpus_file.read_text(encoding="utf-8").splitlines(keepends=True)[:50]
    marked = json.dumps({"text": f"{json.loads(lines[0])['text']} <eos> {json.loads(lines[1])['text']}"}) + "\n"
    (folder / "a.jsonl").write_text("".join([*lines, marked]), encoding="utf-8")
    (folder / "about.json").write_text("{}")
    out = tmp_path / "out"
    flags = [*experiment, "--corpus", folder, "--max-documents", 60]
    result = call("run", *flags, "--out", out, "--json")
    said = json.loads(result.stdout)["bridge"]["remarks"]
    assert [one.rpartition(": ")[2] for one in said] == ["1.", "1.", "1."]
    assert ".json" in said[0] and "<eos>" in said[1] and "<eos>" in said[2], "of the folder, and of each tokenizer"
    report = (out / "report.html").read_text(encoding="utf-8")
    for remark in said:
        assert remark in result.stderr.replace("\n", " ")
        assert remark.partition(" (")[0] in report and "Of the texts:" in report
    for name in ("metrics.json", "bridge.json"):
        found = json.loads((out / name).read_text(encoding="utf-8"))
        assert found.get("bridge", found.get("provenance"))["remarks"] == said
    planned = json.loads(call("run", *flags, "--dry-run", "--json").stdout)
    assert planned["corpus"]["remarks"] == said[:1]
    sweep = tmp_path / "sweep"
    swept = json.loads(call("sweep", *flags, "--out", sweep, "--json").stdout)
    assert swept["bridge"]["remarks"] == said
    assert "Of the texts:" in (sweep / "report.html").read_text(encoding="utf-8")


def test_remarks_of_standard_input_are_kept_with_its_copy(
    tiny_models: Mapping[str, list[Path]], corpus_file: Path, tmp_path: Path
) -> None:
    flags = ["--split", "last", "--max-tokens", "48", "--map", "procrustes"]
    for side, family in (("--src", "llama"), ("--dst", "gemma")):
        folder = shutil.copytree(tiny_models[family][0], tmp_path / family)
        (folder / "chat_template.jinja").write_text("{% for one in messages %}{{ one.content }}{% endfor %}")
        flags += [side, f"{folder}@1"]
    texts = [json.loads(line) for line in corpus_file.read_text(encoding="utf-8").splitlines()[:50]]
    chat = {"conversations": [{"from": "human", "value": "Where does the river begin, and where does it end?"}]}
    given = "".join(json.dumps(one) + "\n" for one in [*texts, texts[0], chat])
    out, again = tmp_path / "out", tmp_path / "again"
    asked = ["run", *flags, "--corpus", "-", "--out", str(out), "--json"]
    first = json.loads(CliRunner().invoke(bridge, asked, input=given, catch_exceptions=False).stdout)["bridge"]
    (said,) = first["remarks"]
    assert "ShareGPT" in said and first["corpus"]["duplicates"] == 1
    second = json.loads(call("run", out / "config.toml", "--out", again, "--json").stdout)["bridge"]
    assert second["remarks"] == [said] and second["corpus"]["duplicates"] == 1
    assert "ShareGPT" in (again / "report.html").read_text(encoding="utf-8")


def test_nothing_is_said_of_ordinary_text(experiment: list[str], tmp_path: Path) -> None:
    result = json.loads(call("run", *experiment, "--out", tmp_path / "out", "--json").stdout)
    assert "remarks" not in result["bridge"]
    assert "Of the texts:" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_texts_that_are_explained_in_part_are_counted(
    tiny_models: Mapping[str, list[Path]], corpus_file: Path, tmp_path: Path
) -> None:
    model = f"{tiny_models['gpt2'][0]}@1"
    texts = tmp_path / "texts.txt"
    texts.write_text("\ufeffthe map\u2028of it\n" + "it " * 400 + "\n", encoding="utf-8")
    flags = ["--src", model, "--via", model, "--corpus", corpus_file, "--verbalizer", "logit_lens:top=2"]
    out = tmp_path / "out.json"
    # The model has 128 positions, fewer than what is read by default.
    result = call("explain", *flags, "--file", texts, "--every", 9, "--out", out, "--json")
    found = json.loads(result.stdout)
    (said,) = found["bridge"]["remarks"]
    assert said == "1 of 2 texts are longer than 128 tokens and are cut there."
    assert said in result.stderr
    assert {one["text"] for one in found["readings"]} == {"the map\u2028of it", "it " * 400}
    assert said in write_report([out], tmp_path / "report.html").read_text(encoding="utf-8")


def test_activations_of_fewer_rows_than_tokens_are_collected_again(experiment: list[str], tmp_path: Path) -> None:
    """An older version left tokens out, such as full stops that serve as padding."""
    from safetensors.torch import load_file

    from bridge.store import Artifact, Store

    first = call("run", *experiment, "--out", tmp_path / "first", "--json")
    paths = sorted(Store().root.glob("activations/*/shard-00000.safetensors"))
    assert paths
    for path in paths:
        shard = load_file(path)
        Artifact(path.parent, {}).write(0, {name: rows[:-3] for name, rows in shard.items()}, {"budget": 64})
    again = call("run", *experiment, "--out", tmp_path / "again", "--json")
    assert json.loads(again.stdout)["metrics"] == json.loads(first.stdout)["metrics"]
