"""Folders and files that reports are made of, damaged or hostile, and what every page must be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from click.testing import CliRunner, Result

from bridge.cli import bridge as command
from bridge.files.sealed import write_sealed
from bridge.metrics import Metric
from bridge.pipeline.fit.record import BRIDGE_RECORD
from bridge.report.html import REPORT, write_report
from html_tree import parse, text_of
from sealed_files import bind

PAIR = ("--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--max-documents", "800", "--map", "procrustes")
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</td></table></style><base href=http://evil.example/>",
    "$\\frac{ {{ 7 * 7 }} {% raw %}",
    "\u202egpj.exe\u202c \x00\x1b[31m \ud800 \u2028",
    '\'" onmouseover="alert(1)',
]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def page_of(*inputs: Path, out: Path | None = None) -> str:
    return write_report(list(inputs), out or inputs[0] / REPORT).read_text(encoding="utf-8")


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps(change(value) or value))
    if (path.parent / BRIDGE_RECORD).is_file():
        bind(path.parent)


def edit_lines(path: Path, change: Callable[[int, Any], None]) -> None:
    records = [json.loads(line) for line in path.read_text().split("\n") if line]
    for at, record in enumerate(records):
        change(at, record)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    bind(path.parent)


def ids(root: Element) -> list[str]:
    return [node.attrib["id"] for node in root.iter() if "id" in node.attrib]


def well_formed(page: str) -> Element:
    """Parse a page, and hold it to what every page must be."""
    root = parse(page)
    named = ids(root)
    assert len(named) == len(set(named))
    for node in root.iter():
        for name, value in node.attrib.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "action", "srcset", "data"):
                assert value.startswith(("#", "data:image/png;base64,")), value
                assert not value.startswith("#") or value[1:] in named, value
            if name in ("aria-labelledby", "aria-describedby", "for"):
                assert value in named, value
            assert all(to[:1] == "#" and to[1:] in named for to in re.findall(r"url\(([^)]*)", value))
    assert {node.tag for node in root.iter()}.isdisjoint({"link", "base", "iframe", "object", "embed", "img", "form"})
    assert sum(node.tag == "script" for node in root.iter()) == 1
    style = next(root.iter("style")).text or ""
    assert "url(" not in style and "@import" not in style
    headings = [int(node.tag[1]) for node in root.iter() if re.fullmatch("h[1-6]", node.tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(headings)), headings
    for table in root.iter("table"):
        assert text_of(table.find("caption")), "a table says what it is"
        assert all(cell.get("scope") == "col" for cell in table.find("thead").iter("th"))
        assert all(cell.get("scope") == "row" for cell in table.find("tbody").iter("th"))
    for svg in root.iter("svg"):
        assert svg.get("role") == "img" and svg.get("aria-label")
        drawn = [node for node in svg.iter() if node.tag in ("use", "image")]
        assert all(node.get("href") or node.get("xlink:href") for node in drawn), "a marker or picture is lost"
    return root


def a_metric(
    name: str, arm: str, value: float, src: str = "a@0", dst: str = "b@0", scorer: str = "s"
) -> dict[str, Any]:
    low, high = value - 0.1, value + 0.1
    return Metric(scorer, name, arm, "ridge", src, dst, value, low, high, 9).__dict__ | {"control": ""}


def result_file(path: Path, about: Any, **more: Any) -> Path:
    write_sealed(path, {"schema": 1, "bridge": about, **more})
    return path


def audit_file(path: Path) -> Path:
    metrics = [a_metric("sae_ev", arm, 0.5) for arm in ("mapped", "raw", "self")]
    return result_file(path, {"pairs": [{"failed_scorers": {"firing": HOSTILE[0]}}]}, metrics=metrics)


def steering_file(path: Path) -> Path:
    about = {"src": "a@0", "dst": "b@0", "map": "ridge", "contrast": {"classes": [HOSTILE[0], "cold"]}}
    arms = {"native": 1.0, "mapped": 0.9, "random_direction": 0.1}
    metrics = [
        a_metric(f"{name}@{dose}", arm, value)
        for name in ("log_odds_shift", "transfer_ratio")
        for dose in ("0.5", "2")
        for arm, value in arms.items()
    ]
    generated = [{"prompt": HOSTILE[1], "plain": HOSTILE[3], "mapped": "warm"}]
    return result_file(path, about, metrics=metrics, generated=generated)


def readings_file(path: Path) -> Path:
    readings = [
        {"text": "t", "token": HOSTILE[0], "position": 3, "explanation": HOSTILE[1], "flags": [], "round_trip": 0.5},
        {"text": "rows[0]", "token": "", "position": -1, "explanation": "x", "flags": ["empty"], "round_trip": None},
    ]
    return result_file(path, {"src": "a@0", "dst": "b@0"}, fve=0.25, mean_cosine=0.4, readings=readings)
