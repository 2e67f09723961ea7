"""The ledger: schema `dsar` in PostgreSQL. One stage passes work to the next only through the ledger.

`migrations/versions/0001_ledger.sql` describes the tables. `transitions.py` describes the states.
"""
