"""For ``make docs``: what docstrings may hold and the manual's tools do not understand.

Examples (``>>>``), which Markdown takes for quotations, become blocks of code; an entry of several
parameters (``low, high: ...``) becomes one entry for each. An extension of griffe, named in
``mkdocs.yml``.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

#: From an indented ``>>>`` to the next empty line or to the end.
EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)

#: A section of parameters: header, and the indented lines under it.
SECTION = re.compile(r"^( *)(?:Args|Attributes):\n(?:\1 +.*\n?|\n)+", re.MULTILINE)

#: Several names, and their text with its deeper lines.
ENTRY = re.compile(r"^( +)(\w+(?:, \w+)+):(.*(?:\n\1 +.*)*)", re.MULTILINE)


def fence_examples(text: str) -> str:
    """The docstring with its examples between fences of the same indentation."""
    return EXAMPLE.sub(r"\1```pycon\n\g<0>\n\1```", text)


def separate_entries(text: str) -> str:
    """The docstring with one entry for each parameter, all of the same text."""

    def one_each(entry: re.Match[str]) -> str:
        indent, names, rest = entry.groups()
        return "\n".join(f"{indent}{name}:{rest}" for name in names.split(", "))

    return SECTION.sub(lambda section: ENTRY.sub(one_each, section[0]), text)


class DocstringsAsMarkdown(griffe.Extension):
    """Rewrites the docstring of every object that is loaded."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fence_examples(separate_entries(obj.docstring.value))
