"""Runs the local stack: PostgreSQL, the sandbox and Airflow, as processes on this machine.

`make demo`, `make up`, `bin/airflow` and the end-to-end tests use it. A deployment does not.
"""
