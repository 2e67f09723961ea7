"""The *Test* button: one call checks the connection, then another call asks what the API supports."""

from __future__ import annotations

from include.dsar.accounts import AccountSettings
from include.dsar.errors import (
    ConfigurationError,
    CredentialsRefused,
    DsarError,
    NotTaken,
    VendorBusy,
    VendorUnavailable,
)
from include.dsar.http.client import Client, client
from include.dsar.vendors import vendor
from include.dsar.vendors.vendor import Vendor


async def probe(settings: AccountSettings) -> str:
    """Returns a sentence for the operator if the connection works.

    Raises ConfigurationError if the connection must be fixed, and VendorUnavailable if the vendor gave no
    usable answer. The text says what to do.
    """
    known = vendor(settings.vendor)
    try:
        async with client(settings) as http:
            finding = known.read_probe(settings, await http.send(known.probe(settings)))
            supported = await _supported(known, settings, http)
    except CredentialsRefused as error:
        raise CredentialsRefused(
            f"{known.title} refused our credentials ({error}): enter a valid secret in Password"
        ) from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{known.title} does not accept this connection: {error}") from None
    except VendorBusy as error:
        raise VendorUnavailable(f"{known.title} is busy ({error}): try again later") from None
    except NotTaken as error:
        raise VendorUnavailable(f"{error}: check Host, Port and Schema") from None
    except DsarError as error:
        raise VendorUnavailable(
            f"the answer is not from {known.title}'s API, or the API is down ({error}): "
            "check Host, Port and Schema"
        ) from None
    return " ".join(filter(None, [f"{known.title} accepts our credentials.", finding, supported]))


async def _supported(known: Vendor, settings: AccountSettings, http: Client) -> str:
    """Returns a text about what the API supports. Without an answer, the connection still counts as
    working.
    """
    request = known.discovery(settings)
    if request is None:
        return ""
    try:
        return known.read_discovery(settings, await http.send(request))
    except DsarError as error:
        return f"{known.title} does not say what it supports ({error})."
