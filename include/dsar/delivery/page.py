"""Makes `index.html`: the package as a page for the data subject. The page works offline and without
scripts.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from include.dsar.delivery import display_names, outcome_texts
from include.dsar.delivery.excerpt import Excerpt, readable
from include.dsar.delivery.package_paths import PackagedFile
from include.dsar.model import AccountRecord, RequestRecord

MAX_NOTES_SHOWN = 20  # of one file

_CELL, _ROW = "\x1f", "\x1e"  # separate cells and rows. `readable` removes them from texts


@dataclass
class ShownFile:
    """A collected file: the parts that the page shows, and the number of parts that it does not show."""

    packaged: PackagedFile
    tables: list[Excerpt] = field(default_factory=list)
    tables_not_shown: int = 0
    notes: list[str] = field(default_factory=list)
    notes_not_shown: int = 0

    def add_note(self, text: str) -> None:
        if len(self.notes) < MAX_NOTES_SHOWN:
            self.notes.append(readable(text))
        else:
            self.notes_not_shown += 1

    def add_table(self, excerpt: Excerpt | None) -> None:
        if excerpt is None:
            self.tables_not_shown += 1
        else:
            self.tables.append(excerpt)

    @property
    def path(self) -> str:
        return self.packaged.path

    @property
    def size(self) -> str:
        return display_names.size(self.packaged.file.bytes)

    @property
    def identity(self) -> str:
        return readable(display_names.identity_title(self.packaged.submission.identity))


@dataclass(frozen=True)
class _ShownAccount:
    anchor: str
    title: str
    service: str
    outcome: str
    label: str
    sentence: str
    submissions: list[tuple[str, str]]
    files: list[ShownFile]


def page(request: RequestRecord, closed_at: datetime, files: list[ShownFile]) -> bytes:
    """Returns the page as UTF-8. It loads nothing, runs no script, and links only to files of the package."""
    style, style_hash = _style()
    text = _template().render(
        style=style,
        style_hash=style_hash,
        request_id=readable(request.request_id),
        asked_on=display_names.day(request.received_at),
        answered_on=display_names.day(closed_at.astimezone(request.received_at.tzinfo)),
        law=readable(request.law or request.regulation),
        accounts=[
            _account(account, request, number, [f for f in files if f.packaged.account is account])
            for number, account in enumerate(request.accounts, 1)
        ],
    )
    return text.encode("utf-8", "replace")


def _account(
    account: AccountRecord, request: RequestRecord, number: int, files: list[ShownFile]
) -> _ShownAccount:
    title, service = display_names.vendor_title(account, request.accounts)
    submissions = account.submissions if len(account.submissions) > 1 else ()
    return _ShownAccount(
        anchor=f"a{number}",
        title=readable(title),
        service=readable(service),
        outcome=account.outcome.value,
        label=outcome_texts.label(account),
        sentence=readable(outcome_texts.sentence(account, title)),
        submissions=[
            (
                readable(display_names.identity_title(s.identity)),
                readable(outcome_texts.sentence_for_identity(s.outcome, title)),
            )
            for s in submissions
        ],
        files=files,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["link"] = quote
    environment.filters["columns"] = _columns
    environment.filters["rows"] = _rows
    return environment.get_template("page.html.j2")


def _columns(table: Excerpt) -> Markup:
    names = escape(_CELL.join(table.columns)).replace(_CELL, '</th><th scope="col">')
    return Markup(f'<th scope="col">{names}</th>')  # noqa: S704 - escaped above


def _rows(table: Excerpt) -> Markup:
    """Returns the rows of a table as HTML. All cells are escaped together, because escaping each cell is
    slow.
    """
    lines = [_CELL.join([text or "–" for text in row] if "" in row else row) for row in table.rows]
    text = escape(_ROW.join(lines))
    if table.is_record:
        text = text.replace(_CELL, '</th><td dir="auto">').replace(_ROW, '</td></tr>\n<tr><th scope="row">')
        text = f'<tr><th scope="row">{text}</td></tr>'
    else:
        text = text.replace(_CELL, '</td><td dir="auto">').replace(_ROW, '</td></tr>\n<tr><td dir="auto">')
        text = f'<tr><td dir="auto">{text}</td></tr>'
    return Markup(text)  # noqa: S704 - escaped above


@cache
def _style() -> tuple[Markup, str]:
    """Returns the style sheet and its hash. The page's security policy allows only this style sheet."""
    css = (Path(__file__).parent / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return Markup(css), f"sha256-{digest}"  # noqa: S704 - a file of this package
