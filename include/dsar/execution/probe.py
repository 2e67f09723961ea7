"""Probe: one harmless call that tells whether an account's connection works."""

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
from include.dsar.http.client import client
from include.dsar.vendors import vendor


async def probe(settings: AccountSettings) -> str:
    """What works, in a sentence.

    Raises ConfigurationError where the connection has to be mended, and VendorUnavailable where the
    vendor could not be asked; the text says what to do.
    """
    known = vendor(settings.vendor)
    try:
        async with client(settings) as http:
            known.read_probe(await http.send(known.probe(settings)))
    except CredentialsRefused as error:
        raise CredentialsRefused(
            f"{known.title} refused our credentials ({error}): put a secret that is valid there into Password"
        ) from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{known.title} does not know us so: {error}") from None
    except VendorBusy as error:
        raise VendorUnavailable(f"{known.title} asks for patience ({error}): try again later") from None
    except NotTaken as error:
        raise VendorUnavailable(f"{error}: check Host, Port and Schema") from None
    except DsarError as error:
        raise VendorUnavailable(
            f"what answers is not {known.title}'s API, or it is out of order ({error}): "
            "check Host, Port and Schema"
        ) from None
    return f"{known.title} takes our credentials."
