"""Observes how the real replies of an account differ from what its vendor's module declares.

`dsar_upkeep` reports these differences. They must contain no data, but a new word in a state field or a new
error code could be an identifier. So a new word or code is named only if it looks like a word or a code,
and if replies about MIN_REPLIES different jobs have it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import psycopg

from include.dsar.errors import ProtocolError
from include.dsar.ledger.reply_shapes import Kind, Observation, remember
from include.dsar.vendors.replies import ErrorTable, error_object
from include.dsar.vendors.reply_shape import Route

if TYPE_CHECKING:
    from include.dsar.execution.account_work import AccountWork
    from include.dsar.http.messages import HttpReply
    from include.dsar.model import Action
    from include.dsar.vendors.vendor import Vendor

MIN_REPLIES = 3
_REPLIES = {route: Observation(route, Kind.REPLY) for route in Route}
MAX_WORDS = 50  # different undeclared words in one stage
WORD = re.compile(r"[a-z]{2,20}([_-][a-z]{1,20}){0,3}|[A-Z]{2,20}([_-][A-Z]{1,20}){0,3}")
CODE = re.compile(rf"\d{{1,4}}|[A-Za-z]\d{{1,4}}|{WORD.pattern}")
# A server or a proxy gives these to any call.
USUAL_STATUSES = frozenset({408, 425, 429, *range(500, 600)})


class ObservedReplies:
    """The differences of one stage, until they are written to the ledger."""

    def __init__(self) -> None:
        self.found: set[Observation] = set()
        self._jobs: dict[Observation, set[tuple[object, int]]] = {}

    def observe(
        self,
        vendor: Vendor,
        route: Route,
        reply: HttpReply,
        *,
        about: object = None,
        action: Action | None = None,
    ) -> None:
        """Compares one reply with the declaration. `about` identifies the job. A reply that is not
        about a job contains no data.

        Raises no error.
        """
        self.found.add(_REPLIES[route])
        if not 200 <= reply.status < 300:
            self.found.update(self._error(vendor, route, reply, about))
            return
        shape = vendor.shapes.get(route)
        with suppress(ProtocolError):
            body = reply.json()
            if shape:
                fields = shape.missing(action, body)
                self.found.update(Observation(route, Kind.FIELD, name) for name in fields)
                for name, number, word in shape.undeclared_words(body):
                    self.found.update(self._named(route, Kind.WORD, name, word, about, number))

    def _error(self, vendor: Vendor, route: Route, reply: HttpReply, about: object) -> Iterator[Observation]:
        name = f"HTTP {reply.status}"
        errors = _errors(vendor, route)
        if reply.status not in USUAL_STATUSES | {status for status, _ in errors}:
            yield Observation(route, Kind.STATUS, name)
        documented = {status for status, code in errors if code} - vendor.statuses_with_any_code
        code = error_object(reply).get(vendor.code_field)
        if reply.status in documented and code is not None and str(code) not in vendor.codes:
            yield from self._named(route, Kind.CODE, name, code, about, 0)

    def _named(
        self, route: Route, kind: Kind, name: str, value: object, about: object, number: int
    ) -> Iterator[Observation]:
        """Yields an observation without the word, and one with the word if the word cannot be data."""
        yield Observation(route, kind, name)
        pattern = CODE if kind is Kind.CODE else WORD
        word = str(value) if type(value) in (int, str) else ""
        if not pattern.fullmatch(word):
            return
        named = Observation(route, kind, name, word)
        if about is None:
            yield named
        elif named in self._jobs or len(self._jobs) < MAX_WORDS:
            jobs = self._jobs.setdefault(named, set())
            if len(jobs) < MIN_REPLIES:
                jobs.add((about, number))
            if len(jobs) == MIN_REPLIES:
                yield named


def _errors(vendor: Vendor, route: Route) -> ErrorTable:
    tables = {Route.CREATE: vendor.create_errors, Route.LIST: vendor.route_errors}
    return tables.get(route, vendor.status_errors)


@asynccontextmanager
async def replies_remembered(work: AccountWork) -> AsyncIterator[None]:
    """Writes the differences to the ledger when the block ends, even if the block raises an error."""
    try:
        yield
    except Exception:
        with suppress(psycopg.Error):  # the error of the block says more
            await _remember(work)
        raise
    await _remember(work)


async def _remember(work: AccountWork) -> None:
    await work.ledger(remember, work.account, work.replies.found, now=work.clock())
