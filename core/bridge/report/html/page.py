"""The page: sections in order, in one file that works without network and scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bridge.display.measures import installed_measures
from bridge.display.words import dig, interval, number, plain, shown
from bridge.pipeline.jobs.results import ResultFile, RunFiles
from bridge.report.html.comparison import comparison, labels
from bridge.report.html.file_sections import file_section
from bridge.report.html.run_sections import run_sections
from bridge.report.html.sections import Section

GENERATOR = "residual-bridge report"
"""Content of the page's meta generator: pages with it may be overwritten."""

Group = tuple[str, str, list[Section]]
"""Key, heading and sections of one run, or of the page itself, whose heading is empty."""


def render(inputs: Sequence[RunFiles | ResultFile], page: Path) -> str:
    """Return one page of all inputs; the same inputs give the same bytes.

    Args:
        inputs: Results of commands, at least one.
        page: Path of the page.
    """
    measures = installed_measures()
    runs = [one for one in inputs if isinstance(one, RunFiles)]
    others = [file_section(one, f"file{at}", measures) for at, one in enumerate(inputs) if isinstance(one, ResultFile)]
    pairs = dict.fromkeys(f"{run.record.src} → {run.record.dst}" for run in runs)
    if len(runs) == 1:
        own = run_sections(runs[0], page, measures)
        groups: list[Group] = [("", "", [*own[:-1], *others, own[-1]])]
        title, subtitle = next(iter(pairs)), f"{runs[0].record.map} map"
    else:
        named = labels(runs)
        groups = [("", "", [comparison(named, measures)])] if runs else []
        for at, (label, run) in enumerate(named.items()):
            groups.append((f"run{at}", label, run_sections(run, page, measures, f"run{at}-")))
        groups.append(("", "", others))
        title = f"{len(runs)} runs compared" if runs else ", ".join(section.title for section in others)
        subtitle = ", ".join(pairs)
    style, script = (
        files(__package__).joinpath("templates", f"report.{kind}").read_text("utf-8") for kind in ("css", "js")
    )
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            groups=[group for group in groups if group[2]],
            generator=GENERATOR,
            style=Markup(style),
            script=Markup(script),
            script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        )
    )


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
    environment.filters |= {"number": number, "plain": plain}
    environment.globals.update(interval=interval, dig=dig, zip=zip)
    return environment


def _final(value: Any) -> Any:
    """Escape control characters of untrusted text; values of type Markup come from our templates."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value
