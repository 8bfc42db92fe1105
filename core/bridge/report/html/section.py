"""A part of a page: what is asked, and the template that shows the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True)
class Section:
    """One part.

    Attributes:
        key: Unique in the page; ids inside the section begin with it.
        title: Its heading.
        template: File in `templates/sections` that shows it.
        data: What that template knows; text in it is untrusted.
    """

    key: str
    title: str
    template: str
    data: Any
