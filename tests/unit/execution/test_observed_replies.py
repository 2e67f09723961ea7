"""A new word or error code is named only if it cannot be data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.dsar.execution.observed_replies import MAX_WORDS, ObservedReplies
from include.dsar.http.messages import HttpReply
from include.dsar.ledger.reply_shapes import Kind, Observation
from include.dsar.vendors import VENDORS
from include.dsar.vendors.reply_shape import Route

ID5, BATCH, ATTENTIVE = VENDORS["id5"], VENDORS["batch"], VENDORS["attentive"]


def reply(body: Any, status: int = 200) -> HttpReply:
    return HttpReply(status, json.dumps(body).encode())


def state(word: object) -> HttpReply:
    return reply({"id": "j", "jobStatus": word, "processingResult": "NONE"})


def words(observed: ObservedReplies) -> set[str]:
    """Returns the named words. The empty text stands for a word that is not named."""
    return {one.word for one in observed.found if one.kind in (Kind.WORD, Kind.CODE)}


def test_a_new_word_is_named_after_replies_about_three_jobs() -> None:
    """Three replies about one job may all quote its data subject."""
    observed = ObservedReplies()
    for _ in range(5):
        observed.observe(ID5, Route.STATUS, state("PAUSED"), about="job-1")
    observed.observe(ID5, Route.STATUS, state("PAUSED"), about="job-2")
    assert words(observed) == {""}
    observed.observe(ID5, Route.STATUS, state("PAUSED"), about="job-3")
    assert words(observed) == {"", "PAUSED"}


@pytest.mark.parametrize(
    "word",
    [
        "Ann",
        "ann@example.com",
        "ann smith",
        "+4915112345678",
        "u-17",
        "a" * 30,
        "",
        4711,
        {"ann": 1},
        ["ann"],
    ],
    ids=str,
)
def test_what_does_not_look_like_a_word_is_never_named(word: object) -> None:
    observed = ObservedReplies()
    for job in range(9):
        observed.observe(ID5, Route.STATUS, state(word), about=job)
    assert words(observed) == {""}


def test_the_number_of_words_is_limited() -> None:
    observed = ObservedReplies()
    for n in range(MAX_WORDS + 9):
        word = "new" + "".join(chr(ord("a") + int(digit)) for digit in str(n))
        for job in range(3):
            observed.observe(ID5, Route.STATUS, state(word), about=job)
    assert len(words(observed)) == MAX_WORDS + 1


def test_a_map_of_ids_is_not_named() -> None:
    """An undeclared key may be the id of a user."""
    observed = ObservedReplies()
    marker = {"zq7x-user": {"zq7x-state": "zq7x"}}
    for vendor in VENDORS.values():
        for route in vendor.shapes:
            for body in (marker, [marker], {"request": marker}, {"data": {"data": marker}}):
                observed.observe(vendor, route, reply(body), about="job")
    assert observed.found
    assert "zq7x" not in repr(observed.found)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"code": 31}, set()),
        (400, {"code": 33}, {(Kind.CODE, "HTTP 400", "")}),
        (400, {"code": "ann@example.com"}, {(Kind.CODE, "HTTP 400", "")}),
        (404, {"code": 21}, set()),  # Batch does not document the code for an unknown job
        (409, {"code": 21}, set()),  # nor any code of this status
        (409, {"message": "ann"}, set()),
        (402, {}, {(Kind.STATUS, "HTTP 402", "")}),
        (301, {}, {(Kind.STATUS, "HTTP 301", "")}),
        (502, {}, set()),
        (429, {}, set()),
    ],
)
def test_new_errors(status: int, body: Any, expected: set[tuple[Kind, str, str]]) -> None:
    """A status or a code that the vendor does not document is new. Any server may answer 429 or 502."""
    observed = ObservedReplies()
    observed.observe(BATCH, Route.CREATE, reply(body, status), about=1)
    assert observed.found - {Observation(Route.CREATE, Kind.REPLY)} == {
        Observation(Route.CREATE, *one) for one in expected
    }


def test_a_new_code_is_named() -> None:
    """If a reply is about no job, its code cannot be data."""
    observed = ObservedReplies()
    for job in range(3):
        observed.observe(BATCH, Route.CREATE, reply({"code": 33}, 400), about=job)
    observed.observe(ID5, Route.STATUS, reply({"error": {"code": "gone_for_good"}}, 400))
    assert words(observed) == {"", "33", "gone_for_good"}


def test_a_vendor_without_documented_codes_has_no_new_code() -> None:
    observed = ObservedReplies()
    observed.observe(ATTENTIVE, Route.STATUS, reply({"code": 5}, 404))
    assert observed.found == {Observation(Route.STATUS, Kind.REPLY)}


def test_a_reply_that_is_not_json() -> None:
    """Any server may send such a reply, so it says nothing about the vendor's API."""
    observed = ObservedReplies()
    for status in (200, 404):
        observed.observe(ID5, Route.STATUS, HttpReply(status, b"<html>"), about=1)
    assert observed.found == {Observation(Route.STATUS, Kind.REPLY)}
