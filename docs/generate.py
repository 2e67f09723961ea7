"""Writes the generated tables and diagrams of the documentation: `make docs`.

In a page, a generated block begins with `<!-- generated: <name> -->` and ends with `<!-- end -->`. In
`ledger/transitions.py`, the generated block is the diagram in the docstring. A test fails if a block differs
from the text that this module writes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS.parent / "plugins")]

from dsar_airflow.metrics import METRICS  # noqa: E402
from include.dsar.ledger.transitions import FIRST_STATES, TRANSITIONS, render_states  # noqa: E402
from include.dsar.model import Action, State  # noqa: E402
from include.dsar.regulations import Period, Regulation  # noqa: E402
from include.dsar.vendors import VENDORS  # noqa: E402
from include.dsar.vendors.fields import ConnectionField  # noqa: E402
from include.dsar.vendors.pacing_fields import connection_fields  # noqa: E402
from include.dsar.vendors.reply_shape import ReplyShape  # noqa: E402
from include.dsar.vendors.vendor import Vendor  # noqa: E402
from include.regulations import REGULATIONS  # noqa: E402

STATES_MODULE = DOCS.parent / "include/dsar/ledger/transitions.py"
STATES_DIAGRAM = re.compile(r"(?<=\n\n)    start .*?(?=\n\n)", re.DOTALL)
BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z ]+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def main() -> None:
    for page in pages():
        page.write_text(generated(page.read_text()))
    STATES_MODULE.write_text(with_diagram(STATES_MODULE.read_text()))


def pages() -> list[Path]:
    return sorted(DOCS.glob("*.md"))


def generated(text: str) -> str:
    """Returns the page with the current text in each of its blocks. Raises KeyError for an unknown block."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{BLOCKS[block['name']]()}\n{block[3]}", text)


def with_diagram(source: str) -> str:
    """Returns the source of `ledger/transitions.py` with the current diagram in its docstring."""
    lines = [f"    {'start':<14} -> {', '.join(FIRST_STATES)}"]
    for state in State:
        next_states = [to for leave, to in TRANSITIONS if leave is state] + ["end"] * state.is_terminal
        lines.append(f"    {state:<14} -> {', '.join(next_states)}")
    return STATES_DIAGRAM.sub("\n".join(lines), source, count=1)


def vendors() -> str:
    head = ("vendor", "type", "actions", "identities", "per call", "a second job for the same data subject",
            "uncertain calls", "gives up after")  # fmt: skip
    return _table(head, map(_vendor_row, VENDORS.values()))


def fields() -> str:
    known = VENDORS.values()
    rows = [
        ("Password", "", "; ".join(f"{one.title}: {one.credential}" for one in known) + ". Required"),
        ("Host, Port, Schema", "", "Empty: " + ", ".join(one.base_url for one in known if one.base_url)),
    ]
    names = [f.name for one in known for f in one.fields]
    names += [f.name for one in known for f in connection_fields(one)]
    rows += map(_field_row, dict.fromkeys(names))
    return _table(("field", "in the form", "content"), rows)


def contract() -> str:
    rows = [
        (one.title, f"`{route}`", *_shape_cells(shape))
        for one in VENDORS.values()
        for route, shape in one.shapes.items()
    ]
    return _table(("vendor", "route", "fields", "values of state fields"), rows)


def metrics() -> str:
    return _table(("metric", "kind", "meaning"), ((f"`{name}`", *rest) for name, *rest in METRICS))


def regulations() -> str:
    head = ("name", "law", "answer within", "extension", "confirmation of receipt", "source of the periods")
    return _table(head, map(_regulation_row, REGULATIONS.values()))


BLOCKS: dict[str, Callable[[], str]] = {
    "vendors": vendors,
    "contract": contract,
    "connection fields": fields,
    "metrics": metrics,
    "regulations": regulations,
    "states": render_states,
}


def _regulation_row(one: Regulation) -> tuple[str, ...]:
    if isinstance(one.response, Period):
        answer = _period(one.response)
    else:
        answer = ", ".join(f"{action}: {_period(one.response[action])}" for action in Action)
    names = ", ".join(f"`{name}`" for name in (one.name, *one.aliases))
    return (names, one.title, answer, _period(one.extension), _period(one.acknowledgement), one.cites)


def _period(period: Period | None) -> str:
    if period is None:
        return "–"
    units = {"month": period.months, "day": period.days, "working day": period.working_days}
    return next(f"{n} {unit}{'s' if n > 1 else ''}" for unit, n in units.items() if n)


def _vendor_row(one: Vendor) -> tuple[str, ...]:
    identities = ", ".join(f"`{kind}`" for kind in one.identities)
    if one.optional_identities:
        optional = ", ".join(f"`{kind}`" for kind in one.optional_identities)
        identities += f"; if the account lists it: {optional}"
    per_call = "1, all kinds together" if one.joins_identities else f"up to {one.users_per_call}"
    return (
        one.title,
        f"`{one.name}`",
        ", ".join(sorted(one.actions)),
        identities,
        "1" if per_call == "up to 1" else per_call,
        "waits" if one.one_job_per_subject else "allowed",
        f"`{one.on_uncertain}`",
        f"{one.give_up_after / timedelta(days=1):g} days",
    )


def _shape_cells(shape: ReplyShape) -> tuple[str, str]:
    fields = []
    for needs in shape.needs:
        given = [f"`{name}` is `{json.dumps(value)}`" for name, value in needs.given.items()]
        given += [f"the request is an {needs.action} request"] if needs.action else []
        names = ", ".join(" or ".join(f"`{one}`" for one in name.split("|")) for name in needs.fields)
        fields.append(f"if {' and '.join(given)}: {names}" if given else names)
    words = [
        f"`{name}`: {', '.join(f'`{json.dumps(word)}`' for word in sorted(known, key=str))}"
        for name, known in shape.words.items()
    ]
    return "; ".join(fields), "; ".join(words)


def _field_row(name: str) -> tuple[str, ...]:
    """Returns the row of one field, with the vendors that have it and the differences between them."""
    found = [(one, f) for one in VENDORS.values() for f in connection_fields(one) if f.name == name]
    texts: dict[str, list[Vendor]] = {}
    for one, each in found:
        texts.setdefault(each.help, []).append(one)
    parts = []
    for text, those in texts.items():
        names = "" if len(those) == len(VENDORS) else ", ".join(one.title for one in those) + ": "
        parts.append(f"{names}{text}")
    if any(each.required for _, each in found):
        parts.append("Required.")
    parts.append(_defaults(found))
    return f"Extra `{name}`", f"*{found[0][1].title}*", " ".join(filter(None, parts))


def _defaults(found: Iterable[tuple[Vendor, ConnectionField]]) -> str:
    values: dict[str, list[str]] = {}
    for one, each in found:
        if each.shown_default:
            values.setdefault(each.shown_default, []).append(one.title)
    if len(values) == 1:
        return f"Empty: {next(iter(values))}."
    if not values:
        return ""
    return "Empty: " + "; ".join(f"{', '.join(titles)} {value}" for value, titles in values.items()) + "."


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


if __name__ == "__main__":
    main()
