"""The page: sections in order, in one file that needs no network and no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bridge.report.html.comparison import comparison, labels
from bridge.report.html.file_sections import audit_section, readings_section, steering_section, sweep_section
from bridge.report.html.inputs import AuditFile, Input, ReadingsFile, RunFiles, SteeringFile, SweepFiles
from bridge.report.html.run_sections import run_sections
from bridge.report.html.section import Section
from bridge.report.html.words import dig, interval, number, plain, shown
from bridge.report.measures import Measures, installed_measures

GENERATOR = "residual-bridge report"
"""Content of the page's meta generator: pages with it may be overwritten."""

Group = tuple[str, str, list[Section]]
"""Key, heading and sections of one run, or of the page itself, whose heading is empty."""


def render(inputs: Sequence[Input], page: Path) -> str:
    """Return one page of all inputs; the same inputs give the same bytes.

    Args:
        inputs: What commands left, at least one.
        page: Where it will lie.
    """
    runs = [one for one in inputs if isinstance(one, RunFiles)]
    measures = installed_measures()
    others = [
        _file_section(one, f"file{at}", measures) for at, one in enumerate(inputs) if not isinstance(one, RunFiles)
    ]
    if len(runs) == 1:
        own = run_sections(runs[0], page, measures)
        groups: list[Group] = [("", "", [*own[:-1], *others, own[-1]])]
        title, subtitle = _title(runs[0]), f"{runs[0].record['map']} map"
    else:
        named = labels(runs)
        groups = [("", "", [comparison(named, measures)])] if runs else []
        for at, (label, run) in enumerate(named.items()):
            groups.append((f"run{at}", label, run_sections(run, page, measures, f"run{at}-")))
        groups.append(("", "", others))
        title = f"{len(runs)} runs compared" if runs else ", ".join(section.title for section in others)
        subtitle = ", ".join(dict.fromkeys(map(_title, runs)))
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            groups=[group for group in groups if group[2]],
            generator=GENERATOR,
            style=Markup(_asset("report.css")),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
        )
    )


def _title(run: RunFiles) -> str:
    return f"{run.record['src']} → {run.record['dst']}"


def _file_section(found: Input, key: str, measures: Measures) -> Section:
    match found:
        case AuditFile():
            return audit_section(found, key, measures)
        case SteeringFile():
            return steering_section(found, key, measures)
        case SweepFiles():
            return sweep_section(found, key, measures)
        case ReadingsFile():
            return readings_section(found, key)
        case RunFiles():
            raise AssertionError("runs have sections of their own")


def _asset(name: str) -> str:
    return Path(__file__).with_name("templates").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bridge.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_final,
    )
    known: Mapping[str, Any] = {"number": number, "plain": plain}
    environment.filters.update(known)
    environment.globals.update(interval=interval, dig=dig)
    return environment


def _final(value: Any) -> Any:
    """Make untrusted text harmless; what is markup has been made so by us."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value
