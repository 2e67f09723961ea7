"""The ledger: the spine of the project, in PostgreSQL, schema `dsar`.

Each stage reads what is ready for it and writes what it did; nothing else passes between stages.
`migrations/versions/0001_ledger.sql` describes the tables, `transitions.py` the states.
"""
