"""A reply is compared with the declared fields and words of its vendor. No undeclared field is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.dsar.model import Action
from include.dsar.vendors import VENDORS
from include.dsar.vendors.reply_shape import Needs, ReplyShape, Route
from include.dsar.vendors.vendor import Vendor
from tests.unit.vendors.contract import contracts
from tests.unit.vendors.test_attentive import CONTRACT as ATTENTIVE
from tests.unit.vendors.test_batch import LISTING
from tests.unit.vendors.test_besitos import DELETE_STATUS

SHAPE = ReplyShape(
    (
        Needs(("job.id", "job.state", "token|key")),
        Needs(("data.found", "rows[].name"), {"job.state": "done"}, Action.ERASURE),
    ),
    {"job.state": frozenset({"done", "open"})},
    str.lower,
)
DONE = {
    "job": {"id": 1, "state": "Done"}, "key": "k", "data": {"found": 0}, "rows": [None, {"name": "n"}],
}  # fmt: skip


def without(*path: str) -> dict[str, Any]:
    """Returns DONE without the field at this path."""
    changed: dict[str, Any] = json.loads(json.dumps(DONE))
    *parents, last = path
    at: Any = changed
    for name in parents:
        at = at[int(name) if name.isdigit() else name]
    del at[last]
    return changed


@pytest.mark.parametrize(
    ("reply", "missing"),
    [
        (DONE, set()),
        (without("job", "id"), {"job.id"}),
        (DONE | {"job": {"id": None, "state": "done"}}, {"job.id"}),
        (without("job"), {"job"}),
        (without("key"), {"token|key"}),
        (without("key") | {"token": 1}, set()),
        (without("data", "found"), {"data.found"}),
        (without("rows"), {"rows"}),
        (without("rows", "1", "name"), {"rows[].name"}),
        (DONE | {"rows": {}}, {"rows[]"}),
        (without("data") | {"job": {"id": 1, "state": "open"}}, set()),
        ([], {"job", "token|key"}),
        ("text", {"job", "token|key"}),
    ],
    ids=str,
)
def test_missing_fields(reply: Any, missing: set[str]) -> None:
    """A field is missing if it is absent or null. If its object is missing, only the object is named."""
    assert SHAPE.missing(Action.ERASURE, reply) == missing
    assert all(SHAPE.declares(name) for name in missing)


def test_a_field_that_only_another_action_has_is_not_missing() -> None:
    assert SHAPE.missing(Action.ACCESS, without("data")) == set()


@pytest.mark.parametrize("state", ["closed", 7, {"done": 1}, ["done"], True])
def test_a_new_word(state: object) -> None:
    """Each value of a state field that is not declared is a new word."""
    reply = DONE | {"job": {"id": 1, "state": state}}
    assert list(SHAPE.undeclared_words(reply)) == [("job.state", 0, state)]
    assert not SHAPE.knows("job.state", str(state))


def test_a_declared_word() -> None:
    """Two spellings are the same word if the declaration says so. A missing word is not a new word."""
    assert list(SHAPE.undeclared_words(DONE)) == []
    assert SHAPE.knows("job.state", "DONE")
    assert list(SHAPE.undeclared_words(without("job"))) == []


def test_a_list() -> None:
    """Each entry of a list is compared. A reply that is not a list is not compared."""
    shape = ReplyShape((Needs(("id",)),), {"state": frozenset({"done"})}, is_list=True)
    assert shape.missing(None, [{"id": 1}, {"state": "done"}, "text"]) == {"[].id"}
    assert shape.missing(None, {"entries": []}) == {"[]"}
    assert list(shape.undeclared_words([{"state": "done"}, {"state": "new"}])) == [("[].state", 1, "new")]
    assert shape.declares("[].id") and shape.declares("[]") and not shape.declares("[].name")


@pytest.mark.parametrize("name", VENDORS)
def test_every_vendor_declares_its_replies(name: str) -> None:
    """The replies of each route that the stages use are declared."""
    known = VENDORS[name]
    routes = {Route.CREATE, Route.STATUS}
    if type(known).listing is not Vendor.listing:
        routes.add(Route.LIST)
    assert known.shapes.keys() == routes
    assert known.shapes[Route.STATUS].words


@pytest.mark.parametrize(
    ("name", "route", "action", "body"),
    [
        ("besitos", Route.STATUS, Action.ERASURE, DELETE_STATUS),
        ("batch", Route.LIST, None, LISTING),
        *((name, Route.CREATE, None, body) for name, one in contracts().items() for body in one.created),
        *(
            (name, Route.STATUS, action, body)
            for name, one in contracts().items()
            for action, body, state in one.statuses
            if name in ("id5", "opendsr") and b'"processingResult": null' not in body
        ),
        *(("attentive", Route.STATUS, action, body) for action, body, _ in ATTENTIVE.statuses),
    ],
)
def test_documented_replies_do_not_differ(name: str, route: Route, action: Action, body: bytes) -> None:
    shape, reply = VENDORS[name].shapes[route], json.loads(body)
    assert shape.missing(action, reply) == set()
    assert list(shape.undeclared_words(reply)) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["data", "request", "id"]), inner)
    ),
)


@given(JSON)
def test_only_declared_fields_are_named(reply: Any) -> None:
    """Only declared fields are named, whatever a reply contains."""
    for known in VENDORS.values():
        for shape in known.shapes.values():
            for action in (None, *Action):
                assert all(shape.declares(name) for name in shape.missing(action, reply))
            words = shape.undeclared_words(reply)
            assert {name.removeprefix("[].") for name, _, _ in words} <= shape.words.keys()
