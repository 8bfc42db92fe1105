"""From what an AV wrote to an explanation: the text between its tags, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.verbalizers import Explanation

OPEN, CLOSE = "<explanation>", "</explanation>"

CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
"""Ideographs, kana, hangul and the enclosed forms that stand where the vector goes in released prompts."""


def parse(written: str, injection_char: str) -> Explanation:
    """Return the text between the tags, flagged.

    Flags: `truncated` (no closing tag), `untagged` (no opening tag: all that was written is kept), `empty`, and
    `foreign_script` (mostly CJK, or about the character that stands where the vector goes: the AV did not see the
    vector).

    Args:
        written: What the AV wrote.
        injection_char: What stands in its prompt where the vector goes.
    """
    _, tag, inside = written.partition(OPEN)
    text, closed, _ = inside.partition(CLOSE)
    text = (text if closed else _without_half_a_tag(text)) if tag else written
    text = text.strip()
    flags = {
        "untagged": not tag,
        "truncated": bool(tag) and not closed,
        "empty": not text,
        "foreign_script": _is_foreign(text, injection_char),
    }
    return Explanation(text, tuple(name for name, true in flags.items() if true))


def together(explanations: Sequence[Explanation]) -> Explanation:
    """Join what an AV said of one vector, a line each, without repeats; it has every flag that one of them has."""
    lines = dict.fromkeys(one.text for one in explanations if one.text)
    return Explanation("\n".join(lines), tuple(dict.fromkeys(flag for one in explanations for flag in one.flags)))


def _without_half_a_tag(text: str) -> str:
    """Take away the part of a closing tag that a text ends in, where it was cut within one."""
    halves = (CLOSE[:length] for length in range(len(CLOSE) - 1, 0, -1))
    return text.removesuffix(next((half for half in halves if text.endswith(half)), ""))


def _is_foreign(text: str, injection_char: str) -> bool:
    foreign = len(CJK.findall(text))
    if 2 * foreign > sum(map(str.isalnum, text)):
        return True
    # A home-made prompt may use a character that English texts have too.
    about = injection_char in text or (foreign > 0 and "character" in text)
    return CJK.search(injection_char) is not None and about
