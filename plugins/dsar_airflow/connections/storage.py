"""Opens the storage of results, packages and receipts. The variable `dsar_storage_uri` names it."""

from __future__ import annotations

from airflow.sdk import ObjectStoragePath, Variable

from dsar_airflow.connections.lookup import MISSING
from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError

STORAGE = "dsar_storage_uri"


def storage() -> Storage:
    """Returns the storage. Raises ConfigurationError if the variable is missing or not valid."""
    uri = Variable.get(STORAGE, default=None)
    # A relative path would be another place on each worker.
    if not uri or "://" not in uri or (uri.startswith("file:") and not uri.startswith("file:///")):
        raise ConfigurationError(
            f"set Variable {STORAGE} (or AIRFLOW_VAR_{STORAGE.upper()}) to the place for packages, "
            "such as file:///var/lib/dsar or s3://aws_default@bucket/dsar"
        )
    try:
        path = ObjectStoragePath(uri)
        return Storage(path.fs, path.path)
    except (ValueError, ImportError, *MISSING) as error:
        raise ConfigurationError(
            f"Variable {STORAGE} cannot be used ({type(error).__name__}). It must name a folder or a bucket. "
            "Install the Airflow provider for its scheme. The text before @ must be a connection id."
        ) from None
