"""The vendors' connection types: what Airflow calls when a person presses Test.

The form's fields stand in `provider.py`. The stages themselves take a connection of any of these
types, or of type http.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from airflow.sdk import BaseHook


class AccountHook(BaseHook):
    """A connection to one account of a vendor."""

    conn_name_attr: ClassVar[str] = "conn_id"
    conn_type: ClassVar[str]
    hook_name: ClassVar[str]

    def __init__(self, conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Makes one call that changes nothing; says what works, or what to mend."""
        from dsar_airflow.connections import account_settings
        from include.dsar.accounts import Account
        from include.dsar.errors import DsarError
        from include.dsar.execution.probe import probe

        # Airflow tests under a random name, which would mean nothing to whoever reads the answer.
        account = Account(self.conn_type, self.conn_type, connection="under test")
        try:
            return True, asyncio.run(probe(account_settings(account, self.get_connection(self.conn_id))))
        except DsarError as error:
            return False, f"{str(error)[:1].upper()}{str(error)[1:]}."


class BesitosHook(AccountHook):
    conn_type = "besitos"
    hook_name = "Besitos"


class BatchHook(AccountHook):
    conn_type = "batch"
    hook_name = "Batch"


class Id5Hook(AccountHook):
    conn_type = "id5"
    hook_name = "ID5"


class AttentiveHook(AccountHook):
    conn_type = "attentive"
    hook_name = "Attentive"
