"""One HTML page that holds everything: text, tables, and figures as embedded images."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clebsch.files import write_text

_CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  color: #1c1c1c; background: #fff; max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem;
  border-bottom: 1px solid #d9d9d9; }
p { margin: .4rem 0 .8rem; }
.lead { color: #555; }
table { border-collapse: collapse; margin: .6rem 0 1rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #555; font-size: .9rem; padding-bottom: .3rem; }
th, td { padding: .28rem 1.1rem .28rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; border-bottom: 1.5px solid #1c1c1c; }
td { border-bottom: 1px solid #ececec; }
td.number, th.number { text-align: right; }
td.number { white-space: nowrap; }
.wide { overflow-x: auto; }
figure { margin: .8rem 0 1.2rem; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: #555; font-size: .9rem; }
pre { background: #f6f6f6; padding: .7rem .9rem; font-size: .85rem; line-height: 1.4;
  overflow-x: auto; white-space: pre-wrap; }
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  pre { border: 1px solid #d9d9d9; background: none; }
}
"""


@dataclass(frozen=True)
class Table:
    """A table: the first row is the header; cells are shown as they are, numbers to the right."""

    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """An image file (PNG) with the sentence below it."""

    path: str | os.PathLike[str]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading, then text, tables, figures, blocks, preformatted text.

    ``blocks`` are HTML that is put in as it is, such as figures that can be turned.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Picture] = ()
    preformatted: str = ""
    blocks: Sequence[str] = ()


def write_report(
    path: str | os.PathLike[str], title: str, sections: Sequence[Section], lead: str = ""
) -> None:
    """Write a self-contained page to ``path``; it needs no network and prints well.

    Args:
        path: the HTML file.
        title: its heading.
        sections: its parts in order.
        lead: one paragraph below the heading.

    Raises:
        UserError: the place cannot be written or the disk is full.
    """
    body = [f"<h1>{html.escape(title)}</h1>"]
    if lead:
        body.append(f'<p class="lead">{html.escape(lead)}</p>')
    body.extend(_section(section) for section in sections)
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    write_text(path, page)


def format_number(value: float, digits: int = 4) -> str:
    """A number for a table: ``digits`` significant ones, without an exponent where readable.

    >>> format_number(12.34567), format_number(0.00001234), format_number(123456.0)
    ('12.35', '1.234e-05', '123456')
    """
    if value != 0 and abs(value) < 1e-4:
        return f"{value:.{digits}g}"
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text and abs(value) < 1e9 else text


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.extend(f"<p>{html.escape(text)}</p>" for text in section.text.split("\n\n"))
    parts.extend(_table(table) for table in section.tables)
    parts.extend(_figure(picture) for picture in section.figures)
    parts.extend(section.blocks)
    if section.preformatted:
        parts.append(f"<pre>{html.escape(section.preformatted)}</pre>")
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    header, *rows = table.rows
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] == "–" for row in rows)
        for i in range(len(header))
    ]

    def line(cells: Sequence[object], tag: str) -> str:
        inner = "".join(
            f"<{tag}{' class=number' if number else ''}>{html.escape(_cell(cell))}</{tag}>"
            for cell, number in zip(cells, numeric, strict=True)
        )
        return f"<tr>{inner}</tr>"

    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    head = f"<thead>{line(header, 'th')}</thead>" if any(header) else ""
    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>{caption}{head}<tbody>\n{body}\n</tbody></table></div>'


def _cell(value: object) -> str:
    return format_number(value) if isinstance(value, float) else str(value)


def _figure(picture: Picture) -> str:
    data = base64.b64encode(Path(picture.path).read_bytes()).decode("ascii")
    caption = html.escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
