"""Renders templates, and reads the static files that pages load."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from include.dsar.board import words

HERE = Path(__file__).parent
MEDIA_TYPES = {
    "board.css": "text/css; charset=utf-8",
    "board.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "icon-dark.svg": "image/svg+xml",
}


@dataclass(frozen=True)
class StaticFile:
    content: bytes
    media_type: str
    version: str  # hash of the content. Part of the address, so that browsers can cache the file


def render(template: str, **values: Any) -> str:
    """Renders a template with escaped values. Raises jinja2.UndefinedError if a value is missing."""
    return _environment().get_template(f"{template}.html.j2").render(**values)


@cache
def static_file(name: str) -> StaticFile | None:
    """Returns the static file with this name. None if no such file exists."""
    if name not in MEDIA_TYPES:
        return None
    content = (HERE / "static" / name).read_bytes()
    return StaticFile(content, MEDIA_TYPES[name], hashlib.sha256(content).hexdigest()[:12])


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "day": words.day,
        "local_moment": words.local_moment,
        "label": words.label,
        "moment": words.moment,
        "number": words.number,
        "span": words.span,
    }
    environment.globals |= {
        "left": words.left,
        "meanings": words.MEANINGS,
        "static_file": static_file,
        "urgency": words.urgency,
    }
    return environment
