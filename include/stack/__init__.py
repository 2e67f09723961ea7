"""The local stack: PostgreSQL, the sandbox and Airflow as processes of this machine.

`make demo`, `make up`, `bin/airflow` and the end-to-end tests all start it from here, so that there
is one place which knows how. A deployment does not use this package.
"""
