"""The report in a real headless Chromium: silent, without requests, sorted and searched, and no wider than a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromium import CHROMIUM, Browser, undisturbed
from report_files import HOSTILE, audit_file, edit_lines, page_of, readings_file, steering_file

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="chromium is not on the PATH, and BRIDGE_CHROMIUM names none"),
]

ROWS = "[...document.querySelectorAll('#features-table tbody tr')]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> Path:
    """A page with all that models may write, and every kind of section."""

    def spoil(at: int, record: Any) -> None:
        if at % 3 == 0:
            record["native"]["text"] = HOSTILE[at % len(HOSTILE)]
            record["foreign"]["mapped"]["text"] = "x" * 400

    edit_lines(folder / "explanations.jsonl", spoil)
    extra = [audit_file(tmp_path / "a.json"), steering_file(tmp_path / "s.json"), readings_file(tmp_path / "r.json")]
    page_of(folder, *extra, out=tmp_path / "page.html")
    return tmp_path / "page.html"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_is_silent_and_fits(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width, dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(21, 23, 26)" if dark else "rgb(253, 252, 250)"
    )
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= width
    rows = browser.run(f"Math.max(...{ROWS}.map(row => row.getBoundingClientRect().height))")
    assert rows < 2000, "texts have room to stand in"
    undisturbed(browser, page)


def test_sorting(browser: Browser, page: Path) -> None:
    browser.open(page)
    similarity = f"{ROWS}.map(row => Number(row.cells[3].dataset.value))"
    given = browser.run(similarity)
    click = "document.querySelectorAll('#features-table thead button')[3].click()"
    head = "document.querySelectorAll('#features-table thead th')[3].getAttribute('aria-sort')"
    assert browser.run(head) is None
    browser.run(click)
    assert (browser.run(similarity), browser.run(head)) == (sorted(given), "ascending")
    # By keyboard as by mouse.
    browser.run("document.querySelectorAll('#features-table thead button')[3].focus()")
    browser.press("Enter")
    assert (browser.run(similarity), browser.run(head)) == (sorted(given, reverse=True), "descending")
    browser.run("document.querySelectorAll('#features-table thead button')[0].click()")
    numbers = browser.run(f"{ROWS}.map(row => Number(row.cells[0].dataset.value))")
    assert numbers == sorted(numbers) and browser.run(head) is None
    undisturbed(browser, page)


def test_searching(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('#features-search').focus()")
    browser.send("Input.insertText", text="onerror IMG")
    left = browser.run(f"{ROWS}.filter(row => !row.hidden).map(row => row.textContent)")
    assert left and all("<img src=x onerror=alert(1)>" in text for text in left)
    assert browser.run("document.querySelector('#features-count').textContent") == f"{len(left)} of 12"
    browser.run("document.querySelector('#features-search').value = ''")
    browser.run("document.querySelector('#features-search').dispatchEvent(new Event('input'))")
    assert browser.run(f"{ROWS}.filter(row => !row.hidden).length") == 12
    undisturbed(browser, page)


def test_without_a_script_all_is_there(browser: Browser, page: Path) -> None:
    browser.open(page, script=False)
    document = browser.send("DOM.getDocument", depth=1)["root"]["nodeId"]
    rows = browser.send("DOM.querySelectorAll", nodeId=document, selector="#features-table tbody tr")["nodeIds"]
    assert len(rows) == 12
    box = browser.send("DOM.querySelector", nodeId=document, selector=".search[hidden]")["nodeId"]
    assert box and not browser.send("DOM.querySelectorAll", nodeId=document, selector="thead button")["nodeIds"]


def test_it_prints(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.send("Emulation.setEmulatedMedia", media="print")
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.run("getComputedStyle(document.body).maxWidth") == "none"
    assert len(browser.send("Page.printToPDF")["data"]) > 10_000
    browser.send("Emulation.setEmulatedMedia", media="")
