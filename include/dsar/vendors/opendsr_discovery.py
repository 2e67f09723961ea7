"""Reads OpenDSR's discovery, which lists what a processor supports. Some processors list only a part, or do
not have this route.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from include.dsar.vendors.opendsr_connection import identity_types

if TYPE_CHECKING:
    from include.dsar.accounts import AccountSettings

WORD = re.compile(r"[\w.-]{1,40}", re.ASCII)


def supported(settings: AccountSettings, found: Mapping[str, Any]) -> str:
    """Describes what the processor supports, and what it lacks for this connection. Raises no error if the
    reply omits this information or has another shape.
    """
    sentences = [
        f"Identities: {_words(_identities(found))}.",
        f"Requests: {_words(_texts(found.get('supported_subject_request_types')))}.",
        f"Version: {_words(_texts(found.get('api_version')))}.",
        f"Certificate published at: {_words([_host(found.get('processor_certificate'))])}.",
    ]
    if missing := unsupported(settings, found):
        sentences.append(f"Not supported: {', '.join(missing)}.")
    return " ".join(sentences)


def unsupported(settings: AccountSettings, found: Mapping[str, Any]) -> Sequence[str]:
    """Returns everything that this connection needs but the processor does not list."""
    requests = _texts(found.get("supported_subject_request_types"))
    versions = _texts(found.get("api_version"))
    fields = settings.fields
    form = fields["identity_format"]
    return [
        *_missing([f"{one} {form}" for one in identity_types(settings).values()], _identities(found)),
        *_missing([fields["access_type"], "erasure"], requests),
        *_missing([fields["api_version"]] if fields["api_version"] else [], versions, "version "),
    ]


def _identities(found: Mapping[str, Any]) -> Sequence[str]:
    listed = found.get("supported_identities")
    return [
        f"{one.get('identity_type')} {one.get('identity_format')}"
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    ]


def _host(url: object) -> str | None:
    try:
        return urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        return None


def _texts(value: object) -> Sequence[str]:
    """Returns the entries of a list, or of a text with commas. Empty for any other shape."""
    if isinstance(value, str):
        return [one.strip() for one in value.split(",")]
    return [str(one) for one in value] if isinstance(value, list) else []


def _missing(wanted: Sequence[str], listed: Sequence[str], what: str = "") -> Sequence[str]:
    """Returns the wanted entries that the processor does not list. Empty if the processor lists nothing,
    because it may then support all entries.
    """
    return [f"{what}{one}" for one in wanted if listed and one not in listed]


def _words(values: Any) -> str:
    """Returns the entries that consist of plain words, sorted and joined by commas."""
    words = [str(one) for one in values if all(map(WORD.fullmatch, str(one).split())) and one]
    return ", ".join(sorted(words)[:20]) or "not listed"
