"""The PostgreSQL server of the model tests is the real one of the integration tests."""

from tests.integration.conftest import dsn, server, source_table

__all__ = ["dsn", "server", "source_table"]
