from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import ConfigurationError
from include.dsar.model import IdentityKind
from include.dsar.vendors import VENDORS, settings, vendor
from include.dsar.vendors.pacing_fields import connection_fields
from tests.unit.vendors.contract import contracts

BESITOS = Account("besitos", "besitos")
CONTRACTS = contracts()
FIELDS = sorted({field.name for known in VENDORS.values() for field in connection_fields(known)})
PARTNER: dict[str, object] = {"partner_id": "CwI606dZ"}


def besitos(
    extra: dict[str, object], secret: str | None = "s3cr3t", host: str | None = None
) -> AccountSettings:
    return settings(BESITOS, base_url=host, secret=secret, extra=PARTNER | extra)


def test_vendor_facts() -> None:
    """If a connection has only the required fields, the vendor's defaults apply."""
    own = besitos({})
    assert own.account == "besitos" and own.vendor == "besitos" and own.connection == "besitos_default"
    assert own.base_url == "https://wall.besitos.ai"
    assert own.secret == "s3cr3t"
    assert own.fields == {"partner_id": "CwI606dZ"}
    assert (own.users_per_call, own.daily_quota) == (100, None)
    assert (own.poll_min_seconds, own.poll_max_seconds, own.give_up_after_days) == (300, 3600, 7)
    assert own.on_uncertain == "repeat"


@pytest.mark.parametrize(
    ("name", "on_uncertain", "quota", "days"),
    [("batch", "ask", None, 20), ("id5", "next_day", 3000, 30), ("attentive", "repeat", None, 37)],
)
def test_other_vendors(name: str, on_uncertain: str, quota: int | None, days: float) -> None:
    """The default values are the facts in each vendor's declaration."""
    extra: dict[str, object] = {"api_key": "key", "partner_id": 173}
    own = settings(Account(name, name), base_url=None, secret="s3cr3t", extra=extra)
    assert (own.on_uncertain, own.daily_quota, own.give_up_after_days) == (on_uncertain, quota, days)
    assert own.fields.get("partner_id", "173") == "173"


@pytest.mark.parametrize(
    ("field", "given_value", "value"),
    [
        ("requests_per_second", "2.5", 2.5),
        ("max_concurrency", "4", 4),
        ("users_per_call", 10, 10),
        ("daily_quota", "500", 500),
        ("poll_min_seconds", "0.5", 0.5),
        ("poll_max_seconds", 7200, 7200.0),
        ("give_up_after_days", "14", 14.0),
        ("on_uncertain", "HOLD", "hold"),
        ("on_uncertain", "repeat", "repeat"),
        ("on_uncertain", "", "repeat"),
        ("users_per_call", "", 100),
        ("users_per_call", None, 100),
        ("unknown_field", object(), None),
    ],
)
def test_extra(field: str, given_value: object, value: object) -> None:
    """A field of Extra replaces the vendor's default. A blank field does not."""
    assert getattr(besitos({field: given_value}), field, None) == value


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        (None, "https://wall.besitos.ai"),
        ("", "https://wall.besitos.ai"),
        ("http://127.0.0.1:8800/besitos/", "http://127.0.0.1:8800/besitos"),
    ],
)
def test_base_url(host: str | None, base_url: str) -> None:
    """The host of a connection replaces the vendor's default host. A slash at the end is dropped."""
    assert besitos({}, host=host).base_url == base_url


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("requests_per_second", "leakme"),
        ("users_per_call", -1),
        ("poll_max_seconds", 1),  # less than poll_min_seconds
        ("give_up_after_days", "1e300"),
        ("on_uncertain", "ask"),
        ("partner_id", ".."),
    ],
)
def test_wrong_extra(field: str, value: object) -> None:
    """The error names the connection and the field. It does not contain the value."""
    with pytest.raises(ConfigurationError) as caught:
        besitos({field: value})
    assert "connection besitos_default: " in str(caught.value) and field in str(caught.value)
    assert "leak" not in str(caught.value)


@pytest.mark.parametrize("secret", [None, "", "  "])
def test_missing_secret(secret: str | None) -> None:
    """If the secret is missing, the error says where to enter it."""
    with pytest.raises(
        ConfigurationError, match="put the token into Password of the connection besitos_default"
    ):
        besitos({}, secret=secret)


@pytest.mark.parametrize("secret", ["leak\nme", "leak\x00me", "leakmé"])
def test_unusable_secret(secret: str) -> None:
    """A secret that is not valid in an HTTP header is refused and not shown."""
    with pytest.raises(ConfigurationError, match="Password") as caught:
        besitos({}, secret=secret)
    assert "leak" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["leakme.example", "ftp://leakme", "https://", "https://leakme?x", "http://[leakme"]
)
def test_unusable_host(host: str) -> None:
    """A host that is not an address is refused and not shown."""
    with pytest.raises(ConfigurationError, match="Host") as caught:
        besitos({}, host=host)
    assert "leak" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "field"), [("besitos", "partner_id"), ("id5", "partner_id"), ("batch", "api_key")]
)
@pytest.mark.parametrize("extra", [{}, {"partner_id": "", "api_key": ""}])
def test_missing_need(name: str, field: str, extra: dict[str, object]) -> None:
    """The error names the required field that is missing."""
    with pytest.raises(ConfigurationError, match=f"connection {name}_default: {field} is missing"):
        settings(Account(name, name), base_url=None, secret="s3cr3t", extra=extra)


def test_one_user_per_call() -> None:
    """A connection cannot raise users_per_call above 1 if the vendor accepts only one user per call."""
    with pytest.raises(ConfigurationError, match="users_per_call"):
        settings(
            Account("attentive", "attentive"), base_url=None, secret="s3cr3t", extra={"users_per_call": 2}
        )


def test_nothing_shown() -> None:
    """The repr of settings contains no secret, no key and no partner id."""
    extra: dict[str, object] = {"partner_id": "leakme", "api_key": "leakme"}
    shown = settings(BESITOS, base_url="https://leakme", secret="leakme", extra=extra)
    assert "leakme" not in f"{shown} {shown!r}"


def test_unknown_vendor() -> None:
    """The error about an unknown vendor lists the known vendors."""
    with pytest.raises(ConfigurationError, match=", ".join(VENDORS)):
        vendor("besito")


def test_identities() -> None:
    """An account can have only identities that its vendor accepts."""
    partner_ids = Account("id5", "id5", identities=(IdentityKind.USER_ID,))
    assert settings(partner_ids, base_url=None, secret="s3cr3t", extra=PARTNER).vendor == "id5"
    phones = Account("besitos", "besitos", identities=(IdentityKind.PHONE,))
    with pytest.raises(ConfigurationError, match="account besitos: Besitos does not accept phone"):
        settings(phones, base_url=None, secret="s3cr3t", extra=PARTNER)


@given(
    name=st.sampled_from(list(VENDORS)),
    field=st.sampled_from(FIELDS),
    value=st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.text()),
)
def test_any_extra(name: str, field: str, value: object) -> None:
    """Any Extra gives valid settings or raises ConfigurationError."""
    try:
        CONTRACTS[name].account(**{field: value})
    except ConfigurationError as error:
        assert f"{name}_default" in str(error)
