"""The HTML report: complete, harmless whatever a model wrote, the same every time, and never over another file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bridge.cli import main
from bridge.display.words import interval, number, plain, shown
from bridge.errors import BridgeError, UsageError
from bridge.report.html import REPORT, write_report
from html_tree import parse, text_of
from report_files import (
    HOSTILE,
    PAIR,
    a_metric,
    audit_file,
    call,
    edit,
    edit_lines,
    page_of,
    readings_file,
    result_file,
    steering_file,
    well_formed,
)
from sealed_files import bind, reseal


def test_a_run_leaves_a_whole_page(finished: Path) -> None:
    page = (finished / REPORT).read_text(encoding="utf-8")
    root = well_formed(page)
    assert len(page.encode()) < 6_000_000
    assert root.get("lang") == "en"
    assert [node.tag for node in root.find("body")][-3:] == ["main", "footer", "script"]
    headings = [text_of(node) for node in root.iter("h2")]
    dictionary = "Does the dictionary transfer?"
    assert headings[:4] == ["Models and data", "Does the map work?", dictionary, "Do explanations transfer?"]
    assert headings[4:6] == ["How is each feature explained?", "How are live activations explained?"]
    assert headings[-1] == "Provenance"
    rows = [[text_of(cell) for cell in row] for row in root.iter("tr")]
    for metric in json.loads((finished / "metrics.json").read_text())["metrics"]:
        expected = [metric["scorer"], metric["name"], metric["arm"], metric["src"], metric["dst"]]
        low, high = (math.nan if metric[end] is None else metric[end] for end in ("low", "high"))
        expected += [*map(number, (metric["value"], low, high)), plain(metric["n"]), metric["control"] or "–"]
        assert [*expected, " ".join(metric["note"].split())] in rows
    text = text_of(root)
    for line in (finished / "explanations.jsonl").read_text().splitlines():
        record = json.loads(line)
        for said in (record["native"], *record["foreign"].values()):
            assert said["text"] in text
    for line in (finished / "contexts.jsonl").read_text().splitlines():
        for context in json.loads(line)["contexts"]:
            assert " ".join(context["text"].split()) in text
    marked = [text_of(node) for node in root.iter("mark")]
    assert marked and set("".join(marked)) <= set("()[]{}")
    for line in (finished / "readings.jsonl").read_text().splitlines():
        for said in json.loads(line)["said"].values():
            assert said["text"] in text
    assert "The map explains" in text and "Explanations " in text
    assert "bridge run config.toml" in text
    assert (finished / "config.toml").read_text().split() == text_of(root.findall(".//pre")[1]).split()


def test_the_similarity_of_a_pair_is_the_diagonal(finished: Path) -> None:
    root = parse((finished / REPORT).read_text(encoding="utf-8"))
    matrix = load_file(finished / "scored.safetensors")["similarity.mean.mapped"]
    table = next(node for node in root.iter("table") if node.get("id") == "features-table")
    rows = list(table.find("tbody"))
    assert [float(row[3].attrib["data-value"]) for row in rows] == [float(value) for value in matrix.diagonal()]
    ranks = [1 + sum(matrix[j, i] >= matrix[i, i] for j in range(12) if j != i) for i in range(12)]
    assert [int(text_of(row[4])) for row in rows] == ranks


def test_the_policy_names_the_one_script(finished: Path) -> None:
    import base64
    import hashlib

    root = parse((finished / REPORT).read_text(encoding="utf-8"))
    policy = next(node.attrib["content"] for node in root.iter("meta") if "http-equiv" in node.attrib)
    script = next(root.iter("script")).text or ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ") and f"script-src 'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")


def test_rebuilt_anywhere_it_is_the_same(finished: Path, folder: Path, isolated: Path) -> None:
    result = call("report", folder)
    assert result.exit_code == 0, result.exception
    assert (folder / REPORT).read_bytes() == (finished / REPORT).read_bytes()
    said = json.loads(call("report", folder, "--json").stdout)
    assert said == {"report": str(folder / REPORT), "bytes": (folder / REPORT).stat().st_size}


def test_what_a_model_wrote_is_text(folder: Path) -> None:
    def spoil(at: int, record: Any) -> None:
        record["native"] = {"text": HOSTILE[at % len(HOSTILE)], "flags": [HOSTILE[(at + 1) % len(HOSTILE)]]}
        record["foreign"]["mapped"]["text"] = HOSTILE[(at + 2) % len(HOSTILE)]
        record["foreign"]["raw"]["text"] = HOSTILE[(at + 3) % len(HOSTILE)]

    def spoil_where(at: int, record: Any) -> None:
        hostile = HOSTILE[at % len(HOSTILE)]
        record["topic"] = HOSTILE[(at + 1) % len(HOSTILE)]
        record["contexts"] = [{"text": hostile, "spans": [[0, 2, 1.0], [2, 5, 0.5]]}]

    def spoil_reading(at: int, record: Any) -> None:
        hostile = [HOSTILE[(at + more) % len(HOSTILE)] for more in range(3)]
        record.update(text=hostile[0], topic=hostile[1])
        record["said"] = {arm: {"text": hostile[2], "flags": [hostile[0]]} for arm in record["said"]}

    edit_lines(folder / "explanations.jsonl", spoil)
    edit_lines(folder / "contexts.jsonl", spoil_where)
    edit_lines(folder / "readings.jsonl", spoil_reading)
    root = well_formed(page_of(folder))
    text = text_of(root)
    for hostile in HOSTILE:
        assert " ".join(shown(hostile).split()) in text
    assert not set("\u202e\x00\x1b\ud800") & set(page_of(folder))


def test_what_plugins_and_paths_wrote_is_text(folder: Path) -> None:
    def spoil(document: Any) -> None:
        document["bridge"]["corpus"]["name"] = HOSTILE[0]
        document["bridge"]["chosen"] = {HOSTILE[1]: HOSTILE[2]}
        document["bridge"]["failed_scorers"] = {HOSTILE[3]: HOSTILE[5]}
        for at, metric in enumerate(document["metrics"]):
            if metric["scorer"] == "cka":
                metric.update(name=HOSTILE[at % 3], note=HOSTILE[4], arm=HOSTILE[at % 6], control=HOSTILE[2])

    edit(folder / "metrics.json", spoil)
    about = json.loads((folder / "metrics.json").read_text())["bridge"]
    edit(folder / "bridge.json", lambda record: record | {"provenance": about, "src": HOSTILE[1], "map": HOSTILE[3]})
    edit_lines(folder / "explanations.jsonl", lambda at, record: None)
    text = text_of(well_formed(page_of(folder)))
    assert (
        "<img src=x onerror=alert(1)>" in text and "$\\frac{ {{ 7 * 7 }} {% raw %}" in text and "49" not in text[:300]
    )


def test_a_run_without_features_and_intervals(folder: Path) -> None:
    for name in ("explanations", "contexts", "readings"):
        (folder / f"{name}.jsonl").unlink()
    (folder / "scored.safetensors").unlink()
    (folder / "directions.safetensors").unlink()
    mapped = ("explained_variance", "cosine", "retrieval", "cka")

    def strip(document: Any) -> None:
        document["metrics"] = [metric for metric in document["metrics"] if metric["scorer"] in mapped]
        for metric in document["metrics"]:
            metric["low"] = metric["high"] = None

    edit(folder / "metrics.json", strip)
    root = well_formed(page_of(folder))
    assert [text_of(node) for node in root.iter("h2")] == [
        "Models and data",
        "Does the map work?",
        "Provenance",
    ]


def test_runs_are_compared(finished: Path, folder: Path, tmp_path: Path) -> None:
    def worse(document: Any) -> None:
        document["metrics"] = [
            m | {"value": m["value"] - 0.125} for m in document["metrics"] if m["scorer"] != "cosine"
        ]

    edit(folder / "metrics.json", worse)
    out = tmp_path / "compared.html"
    result = call("report", finished, folder, "--out", out)
    assert result.exit_code == 0, result.exception
    root = well_formed(out.read_text(encoding="utf-8"))
    table = next(root.iter("table"))
    heads = [text_of(cell) for cell in table.find("thead").iter("th")]
    assert heads == ["Measure", "run", "run (2)"]
    cells = {text_of(row[0]).split()[0]: [text_of(cell) for cell in row[1:]] for row in table.find("tbody")}
    value = next(
        m["value"] for m in json.loads((finished / "metrics.json").read_text())["metrics"] if m["name"] == "ev"
    )
    assert cells["ev"][0].startswith(number(value)) and cells["ev"][1].startswith(number(value - 0.125))
    assert cells["cosine"][1] == "–" and "mispaired" in cells["ev"][0]
    assert "same held-out documents" in text_of(root)
    about = json.loads((folder / "metrics.json").read_text())["bridge"] | {"corpus": {"sha256": "other"}}
    edit(folder / "metrics.json", lambda document: document | {"bridge": about})
    edit(folder / "bridge.json", lambda record: record | {"provenance": about})
    assert "differ in corpus or split" in text_of(well_formed(page_of(finished, folder, out=out)))


def sweep_folder(path: Path) -> Path:
    path.mkdir()
    (path / "sweep.toml").write_text("")
    metrics = [
        a_metric(name, "mapped", (i + j) / 10, f"a@{i}", f"b@{j}")
        for name in ("ev", "retrieval@1")
        for i in range(3)
        for j in range(2)
    ]
    result_file(path / "metrics.json", {"options": {}}, metrics=metrics)
    return bind(path)


def test_results_of_other_commands_are_sections(folder: Path, tmp_path: Path) -> None:
    files = [audit_file(tmp_path / "audit.json"), steering_file(tmp_path / "steer.json")]
    files += [readings_file(tmp_path / "readings.json"), sweep_folder(tmp_path / "sweep")]
    root = well_formed(page_of(folder, *files))
    headings = [text_of(node) for node in root.iter("h2")]
    asked = ["Does the dictionary transfer?", "Do steering vectors transfer?", "Explanations by another model"]
    assert headings[-5:] == [*asked, "Which layers match?", "Provenance"]
    text = text_of(root)
    assert "At dose 2 the mapped vector is clean (transfer ratio 0.90 [0.80, 1.00])" in text
    assert "Best retrieval@1: a@2 → b@1, 0.300 [0.200, 0.400]" in text
    assert "firing failed and is left out: <img src=x" in text
    assert "the explanations reconstruct more than the mean" in text
    for path in files:
        well_formed(page_of(path, out=tmp_path / f"{path.stem}.html"))
    # A sweep's page lies in its folder, as a run's does.
    assert call("report", tmp_path / "sweep").exit_code == 0 and (tmp_path / "sweep" / REPORT).is_file()


def test_nothing_else_is_overwritten(folder: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<p>mine</p>")
    with pytest.raises(UsageError, match="not a report of bridge"):
        write_report([folder], thesis)
    with pytest.raises(UsageError, match="not a report of bridge"):
        write_report([folder], tmp_path)
    assert thesis.read_text() == "<p>mine</p>"
    (folder / REPORT).write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(["report", str(folder)])
    assert stop.value.code == 2 and (folder / REPORT).read_text() == "mine"
    # A run finds that out before its work, not after.
    refused = call("run", *PAIR, "--out", folder, "--quiet")
    assert isinstance(refused.exception, UsageError) and REPORT in str(refused.exception)
    assert isinstance(call("report", folder, folder).exception, UsageError)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "metrics.json is cut": lambda f: (f / "metrics.json").write_text((f / "metrics.json").read_text()[:99]),
    "metrics.json is gone": lambda f: (f / "metrics.json").unlink(),
    "metrics.json is a list": lambda f: (f / "metrics.json").write_text("[1]"),
    "metrics.json is deep": lambda f: (f / "metrics.json").write_text("[" * 100_000),
    "metrics.json is newer": lambda f: edit(f / "metrics.json", lambda d: d | {"schema": 2}),
    "metrics are none": lambda f: edit(f / "metrics.json", lambda d: d | {"metrics": {"ev": 1}}),
    "a metric is short": lambda f: edit(f / "metrics.json", lambda d: d["metrics"][0].pop("arm") and None),
    "a metric is NaN": lambda f: edit(f / "metrics.json", lambda d: d["metrics"][0].update(value=math.nan)),
    "a metric is text": lambda f: edit(f / "metrics.json", lambda d: d["metrics"][0].update(value="<b>")),
    "bridge.json is gone": lambda f: (f / "bridge.json").unlink(),
    "bridge.json is another's": lambda f: edit(f / "bridge.json", lambda d: d | {"provenance": {}}),
    "bridge.json names nobody": lambda f: edit(f / "bridge.json", lambda d: d | {"src": None}),
    "config.toml is gone": lambda f: (f / "config.toml").unlink(),
    "config.toml is not TOML": lambda f: (f / "config.toml").write_text("<"),
    "config.toml is no text": lambda f: (f / "config.toml").write_bytes(b"\xff\xfe"),
    "explanations are cut": lambda f: (f / "explanations.jsonl").write_text('{"feature": 3'),
    "explanations are a list": lambda f: (f / "explanations.jsonl").write_text("[]\n"),
    "explanations are short": lambda f: (f / "explanations.jsonl").write_text(
        (f / "explanations.jsonl").read_text().split("\n")[0]
    ),
    "an arm is missing": lambda f: edit_lines(f / "explanations.jsonl", lambda at, r: r["foreign"].pop("mapped")),
    "contexts are cut": lambda f: (f / "contexts.jsonl").write_text('{"feature": 3'),
    "a span is outside": lambda f: edit_lines(
        f / "contexts.jsonl", lambda at, r: r.update(contexts=[{"text": "abc", "spans": [[1, 9, 1.0]]}])
    ),
    "spans overlap": lambda f: edit_lines(
        f / "contexts.jsonl", lambda at, r: r.update(contexts=[{"text": "abc", "spans": [[0, 2, 1.0], [1, 3, 1.0]]}])
    ),
    "a reading lacks an arm": lambda f: edit_lines(
        f / "readings.jsonl", lambda at, r: r["said"].pop("mapped") if at == 2 else None
    ),
    "scored is cut": lambda f: (f / "scored.safetensors").write_bytes(b"1234"),
    "scored is another's": lambda f: save_file(
        {"similarity.mean.mapped": np.eye(3, dtype=np.float32)}, f / "scored.safetensors"
    ),
    "scored is NaN": lambda f: save_file(
        {"similarity.mean.mapped": np.full((12, 12), np.nan, dtype=np.float32)}, f / "scored.safetensors"
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_folders_are_refused(folder: Path, damage: str) -> None:
    DAMAGE[damage](folder)
    if (folder / "bridge.json").is_file():
        bind(folder)  # whoever edits a file may list its new hash
    with pytest.raises(BridgeError) as refused:
        write_report([folder], folder / REPORT)
    assert str(folder) in str(refused.value) and not (folder / REPORT).exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: {"schema": 1},
        lambda d: d | {"bridge": {"contrast": {"classes": ["one"]}}},
        lambda d: d | {"generated": [{"plain": "no prompt"}]},
        lambda d: d["metrics"].append(a_metric("log_odds_shift@much", "mapped", 1.0)),
        lambda d: d.pop("generated") and None,
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    path = steering_file(tmp_path / "steer.json")
    reseal(path, change)
    with pytest.raises(BridgeError):
        write_report([path], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_numbers_as_people_read_them() -> None:
    assert [number(v) for v in (0.5, -0.25, 0.0, -0.0, 1e-5, -0.0004, 12.3456, math.nan, None)] == [
        *("0.500", "−0.250", "0.000", "0.000", "1e−05", "−0.0004", "12.346", "–", "–"),
    ]
    assert interval(0.1, 0.2) == "[0.100, 0.200]" and interval(0.1, 0.1) == interval(math.nan, 1) == ""
    assert shown("a\tb\n\u00e9\u4e2d\U0001f600\u200d") == "a\tb\n\u00e9\u4e2d\U0001f600\u200d"
    assert plain(12345) == "12,345" and plain({"a": [1, True, None]}) == "a 1, yes, –"
