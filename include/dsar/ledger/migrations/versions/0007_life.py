"""The legal life of a request: rows that are no requests, holds, instructions, acknowledgements, removal."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text())
