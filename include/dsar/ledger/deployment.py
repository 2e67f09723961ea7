"""Remembers settings of this deployment, so that a missing or changed setting is noticed.

Airflow reports a missing variable and an unavailable secrets backend in the same way. If the settings were
not remembered, packages could be written without encryption, and hashes could be made with another key.
"""

from __future__ import annotations

import hmac

from include.dsar.errors import SettingDiffers
from include.dsar.ledger.database import Database

HASH_KEY = "hash_key"  # its check value, never the key
SEALING = "sealing"
ON, OFF = "on", "off"
CONSTANT = b"the hash key of this ledger"


def require_hash_key(db: Database, key: bytes) -> None:
    """Remembers the first key that this ledger gets. Raises SettingDiffers if the ledger has another key."""
    check = hmac.digest(key, CONSTANT, "sha256").hex()
    db.execute(_REMEMBER_FIRST, {"name": HASH_KEY, "value": check})
    if _remembered(db, HASH_KEY) != check:
        raise SettingDiffers(
            "Variable dsar_hash_key is not the key of this ledger's hashes. It was set, changed or removed, "
            "or Airflow cannot read it now. Nothing was planned: known requests would not be recognised. "
            "Restore the earlier value (remove the variable if there was none), then clear this task. "
            "If the key is lost, see docs/deployment.md."
        )


def remember_sealing(db: Database, *, sealing: bool | None) -> None:
    """Remembers whether packages are sealed. With None (Airflow has no setting), nothing is changed.

    Raises SettingDiffers if Airflow has no setting, but packages were sealed before.
    """
    if sealing is not None:
        db.execute(_REMEMBER, {"name": SEALING, "value": ON if sealing else OFF})
    elif _remembered(db, SEALING) == ON:
        raise SettingDiffers(
            "this deployment seals its packages, but Variable dsar_age_recipient is missing: it was "
            "removed, or Airflow cannot read it now. Nothing was written. Set it to a public key, or to "
            "none to stop sealing. Then clear this task."
        )


def _remembered(db: Database, name: str) -> str | None:
    row = db.execute("SELECT value FROM dsar.deployment WHERE name = %s", [name]).fetchone()
    return row["value"] if row else None


_REMEMBER_FIRST = """
INSERT INTO dsar.deployment (name, value) VALUES (%(name)s, %(value)s) ON CONFLICT (name) DO NOTHING
"""

_REMEMBER = """
INSERT INTO dsar.deployment (name, value) VALUES (%(name)s, %(value)s)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
