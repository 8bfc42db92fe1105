"""Files changed at random, for every reader: each is read or refused; nothing is executed, slow, or large in memory."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hostile_reading import Outcome, campaign

CASES = 10_000
WORKERS = 2


def report(outcomes: Sequence[Outcome]) -> None:
    kinds = Counter(one.kind for one in outcomes)
    slowest, largest = max(outcomes, key=lambda one: one.seconds), max(outcomes, key=lambda one: one.memory)
    logging.getLogger(__name__).info(
        "%d cases: %s; slowest %.1f s (%s, %s), largest %d MB (%s, %s)",
        *(len(outcomes), dict(kinds), slowest.seconds, slowest.subject, slowest.how),
        *(largest.memory // 10**6, largest.subject, largest.how),
    )
    wrong = [one for one in outcomes if one.kind not in ("accepted", "refused")]
    assert not wrong, "\n\n".join(f"{one.case} {one.subject} {one.how}: {one.kind}\n{one.said}" for one in wrong[:10])
    assert kinds["refused"] > len(outcomes) / 2 and kinds["accepted"]


def test_some_spoilt_files_are_read_or_refused(tmp_path: Path) -> None:
    report(campaign(range(200), tmp_path / "files", slow=False))


@pytest.mark.faults
def test_ten_thousand_spoilt_files_are_read_or_refused(tmp_path: Path) -> None:
    parts = [range(1000 + number, 1000 + CASES, WORKERS) for number in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda part: campaign(part, tmp_path / str(part.start), slow=True), parts)
    report([outcome for part in found for outcome in part])
