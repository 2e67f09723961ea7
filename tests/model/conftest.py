"""The real PostgreSQL of the integration tests."""

from tests.integration.conftest import dsn, server, source_table

__all__ = ["dsn", "server", "source_table"]
