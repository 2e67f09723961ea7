"""Each kind of connection field is read from Extra, and its help text says what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from include.dsar.vendors.fields import ConnectionField, FieldKind


def field(kind: FieldKind, **declared: Any) -> ConnectionField:
    return ConnectionField("name", "Title", "Help.", kind, **declared)


ID, TEXT, EMAIL, OBJECT = (
    field(kind) for kind in (FieldKind.ID, FieldKind.TEXT, FieldKind.EMAIL, FieldKind.OBJECT)
)
NUMBER = field(FieldKind.NUMBER, minimum=0.5, maximum=10)
INTEGER = field(FieldKind.INTEGER, minimum=1)
CHOICE = field(FieldKind.CHOICE, choices=("one", "two"))


@pytest.mark.parametrize(
    ("declared", "given", "value"),
    [
        (ID, " a1 ", "a1"),
        (ID, 173, "173"),
        (TEXT, "two\nlines", "two\nlines"),
        (EMAIL, " DPO@Example.com", "dpo@example.com"),
        (NUMBER, "2.5", 2.5),
        (NUMBER, 10, 10.0),
        (INTEGER, "4", 4),
        (INTEGER, 4.0, 4),
        (CHOICE, " TWO", "two"),
        (OBJECT, '{"a": 1}', {"a": 1}),
        (OBJECT, {"a": 1}, {"a": 1}),
    ],
)
def test_a_value_is_read_in_its_own_type(declared: ConnectionField, given: object, value: object) -> None:
    """Numbers and objects may be given as text. Choices are accepted in upper and lower case."""
    assert declared.parse(given) == value


@pytest.mark.parametrize(
    ("declared", "given", "expected"),
    [
        (ID, "leak\nme", "a short text"),
        (ID, ["leakme"], "a short text"),
        (TEXT, "leak\0me", "a text"),
        (TEXT, 1, "a text"),
        (EMAIL, "leakme", "an e-mail address"),
        (EMAIL, 1, "an e-mail address"),
        (NUMBER, "leakme", "a number from 0.5 to 10"),
        (NUMBER, True, "a number"),
        (NUMBER, "nan", "a number"),
        (NUMBER, 0.4, "a number"),
        (NUMBER, 1e300, "a number"),
        (NUMBER, [1], "a number"),
        (INTEGER, "1.5", "a whole number from 1"),
        (INTEGER, "inf", "a whole number"),
        (CHOICE, "leakme", "one of one, two"),
        (OBJECT, "[]", "a JSON object"),
        (OBJECT, "{leakme", "a JSON object"),
    ],
)
def test_a_wrong_value_is_named_and_not_shown(
    declared: ConnectionField, given: object, expected: str
) -> None:
    """The message has the name of the field and the expected form."""
    with pytest.raises(ValueError, match=rf"^name in Extra: must be {expected}") as caught:
        declared.parse(given)
    assert "leak" not in str(caught.value)


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_value_means_the_default(blank: str | None) -> None:
    """A required field has no default value."""
    assert field(FieldKind.INTEGER, default=7).parse(blank) == 7
    with pytest.raises(ValueError, match=r"^name is missing in Extra$"):
        field(FieldKind.ID, required=True).parse(blank)


@pytest.mark.parametrize(
    ("declared", "description"),
    [
        ({}, "Help."),
        ({"required": True}, "Required. Help."),
        ({"default": 21600.0}, "Help. Empty: 21600."),
        ({"empty": "no limit"}, "Help. Empty: no limit."),
    ],
)
def test_the_help_says_what_empty_means(declared: dict[str, Any], description: str) -> None:
    """The form and the documentation show this help text."""
    assert field(FieldKind.NUMBER, **declared).description == description
