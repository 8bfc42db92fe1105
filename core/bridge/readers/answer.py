"""Parsing of answers: the explanation in the text that a reader wrote, and its defects."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.readers.reader import Answer
from bridge.verbalizers import Explanation

OPEN, CLOSE = "<explanation>", "</explanation>"
TAGGED = Answer(rule="tags", tags=(OPEN, CLOSE))

CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
"""Ideographs, kana, hangul and the enclosed forms that serve as placeholders in released prompts."""


def parse(written: str, placeholder: str, answer: Answer = TAGGED, ended: bool = True) -> Explanation:
    """Return the explanation in an answer, with flags for its defects.

    Flags: `truncated` (no closing tag; for answers without tags, the token limit was reached), `untagged` (no opening
    tag or no bullet; the whole text is kept), `empty`, and `foreign_script` (mostly CJK, or about the placeholder
    character: the reader did not see the vector).

    Args:
        written: The text that the reader wrote.
        placeholder: The placeholder of the vector in the prompt.
        answer: How the text is parsed.
        ended: Whether the reader ended the text before the token limit.
    """
    rules = {"tags": _tagged, "bullets": _bullets, "free": _free}
    text, wrong = rules[answer.rule](written, answer, ended)
    text = text.strip()
    flags = wrong | {"empty": not text, "foreign_script": _is_foreign(text, placeholder)}
    return Explanation(text, tuple(name for name, true in flags.items() if true))


def _tagged(written: str, answer: Answer, ended: bool) -> tuple[str, dict[str, bool]]:
    opening = answer.tags[0]
    _, tag, inside = written.partition(opening) if opening else ("", "the prompt's own", written)
    text, closed, _ = inside.partition(answer.tags[1])
    text = (text if closed else _without_half_a_tag(text, answer.tags[1])) if tag else written
    return text, {"untagged": not tag, "truncated": bool(tag) and not closed}


def _bullets(written: str, answer: Answer, ended: bool) -> tuple[str, dict[str, bool]]:
    bullet, found = answer.bullet.strip(), list[str]()
    for line in (line.strip() for line in written.split("\n")):
        if line.startswith(bullet):
            found.append(line.removeprefix(bullet).strip())
        elif found:
            # A bullet may continue on the next lines.
            found[-1] = f"{found[-1]} {line}".strip()
    text = "\n".join(dict.fromkeys(line for line in found if line))
    return text or written, {"untagged": not text, "truncated": not ended}


def _free(written: str, answer: Answer, ended: bool) -> tuple[str, dict[str, bool]]:
    return written, {"truncated": not ended}


def together(explanations: Sequence[Explanation]) -> Explanation:
    """Join several explanations of one vector, one per line, without duplicates; the result has the flags of all."""
    lines = dict.fromkeys(one.text for one in explanations if one.text)
    return Explanation("\n".join(lines), tuple(dict.fromkeys(flag for one in explanations for flag in one.flags)))


def _without_half_a_tag(text: str, close: str) -> str:
    """Remove an incomplete closing tag from the end of a text that was cut within the tag."""
    halves = (close[:length] for length in range(len(close) - 1, 0, -1))
    return text.removesuffix(next((half for half in halves if text.endswith(half)), ""))


def _is_foreign(text: str, placeholder: str) -> bool:
    foreign = len(CJK.findall(text))
    if 2 * foreign > sum(map(str.isalnum, text)):
        return True
    # The placeholder of other prompts may be a character that also occurs in English texts.
    about = placeholder in text or (foreign > 0 and "character" in text)
    return CJK.search(placeholder) is not None and about
