"""The ledger: schema `dsar` in PostgreSQL. Stages pass work to each other only through it.

`migrations/versions/0001_ledger.sql` describes the tables, `transitions.py` the states.
"""
