"""The hooks of the vendors' connection types. Airflow calls them when an operator presses Test.

`provider.py` makes the forms. The stages accept a connection of any of these types, or of type http.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from airflow.sdk import BaseHook

from dsar_airflow.provider import hook_name
from include.dsar.vendors import VENDORS
from include.dsar.vendors.vendor import Vendor


class AccountHook(BaseHook):
    """A connection to one account of a vendor."""

    conn_name_attr: ClassVar[str] = "conn_id"
    conn_type: ClassVar[str]
    hook_name: ClassVar[str]

    def __init__(self, conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Makes one call that changes nothing. Returns whether it worked, and a text for the operator."""
        from dsar_airflow.connections.accounts import account_settings
        from include.dsar.accounts import Account
        from include.dsar.errors import DsarError
        from include.dsar.execution.probe import probe

        # Airflow tests under a random name. It would mean nothing to the operator who reads the answer.
        account = Account(self.conn_type, self.conn_type, connection="under test")
        try:
            return True, asyncio.run(probe(account_settings(account, self.get_connection(self.conn_id))))
        except DsarError as error:
            return False, f"{str(error)[:1].upper()}{str(error)[1:]}."


def _hook(vendor: Vendor) -> type[AccountHook]:
    return type(hook_name(vendor), (AccountHook,), {"conn_type": vendor.name, "hook_name": vendor.title})


# Airflow imports each class by its name, as `provider.py` gives it.
globals().update({hook_name(vendor): _hook(vendor) for vendor in VENDORS.values()})
