"""What this deployment has settled, so that a setting that is lost or changed later is noticed.

Airflow says the same of a variable that is not there and of a secrets backend that does not answer for a
moment: without a memory, packages would then be written in plain, and hashes made with another key.
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
    """Remembers the first key that this ledger sees. Raises SettingDiffers for another."""
    check = hmac.digest(key, CONSTANT, "sha256").hex()
    db.execute(_REMEMBER_FIRST, {"name": HASH_KEY, "value": check})
    if _settled(db, HASH_KEY) != check:
        raise SettingDiffers(
            "Variable dsar_hash_key is not what this ledger's hashes were made with: it was set, changed or "
            "removed since, or Airflow cannot read it for the moment. Nothing was planned, since no request "
            "would have been known again. Give it the value that it had (remove it if there was none), then "
            "clear this task. docs/deployment.md says what to do if the key is lost."
        )


def remember_sealing(db: Database, *, sealing: bool | None) -> None:
    """Remembers whether packages are sealed. None: Airflow gives no setting, which leaves it as it was.

    Raises SettingDiffers for None where they are sealed.
    """
    if sealing is not None:
        db.execute(_REMEMBER, {"name": SEALING, "value": ON if sealing else OFF})
    elif _settled(db, SEALING) == ON:
        raise SettingDiffers(
            "this deployment seals its packages, and Airflow gives no Variable dsar_age_recipient: it was "
            "removed, or cannot be read for the moment. Nothing was written. Set it to a public key again "
            "(or to none, which ends the sealing), then clear this task."
        )


def _settled(db: Database, name: str) -> str | None:
    row = db.execute("SELECT value FROM dsar.deployment WHERE name = %s", [name]).fetchone()
    return row["value"] if row else None


_REMEMBER_FIRST = """
INSERT INTO dsar.deployment (name, value) VALUES (%(name)s, %(value)s) ON CONFLICT (name) DO NOTHING
"""

_REMEMBER = """
INSERT INTO dsar.deployment (name, value) VALUES (%(name)s, %(value)s)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
