"""One self-contained HTML page of runs, audits, sweeps, steering and readings, made from their result files."""

from bridge.report.html.page import render
from bridge.report.html.write import REPORT, need_ours, write_report

__all__ = ["REPORT", "need_ours", "render", "write_report"]
