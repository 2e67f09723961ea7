"""Reads the public key that seals packages from the variable `dsar_age_recipient`."""

from __future__ import annotations

from airflow.sdk import Variable

from include.dsar.delivery.seal import Seal
from include.dsar.errors import ConfigurationError
from include.dsar.ledger import deployment
from include.dsar.ledger.database import Database

RECIPIENT = "dsar_age_recipient"
UNSEALED = "none"  # the value that ends sealing


def seal(db: Database) -> Seal | None:
    """Returns the seal for packages. None if there is no seal. The ledger remembers this choice.

    Raises ConfigurationError if the key is not valid. Raises SettingDiffers if packages were sealed before
    and the variable is gone.
    """
    given = Variable.get(RECIPIENT, default=None)
    try:
        found = None if given is None or given.strip().lower() == UNSEALED else Seal(given)
    except ValueError:
        raise ConfigurationError(
            f"Variable {RECIPIENT} (or AIRFLOW_VAR_{RECIPIENT.upper()}) is not a public key. Set it to one "
            f"that starts with age1 (age-keygen prints it) or ssh-ed25519, or to {UNSEALED} to seal nothing."
        ) from None
    deployment.remember_sealing(db, sealing=None if given is None else found is not None)
    return found
