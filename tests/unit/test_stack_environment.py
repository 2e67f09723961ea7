"""Tests the environment of the local stack. The user's variables have priority, and the sandbox is not used
if requests may be real.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import jwt
import pytest

from include.accounts import ACCOUNTS
from include.stack.environment import OF_REAL_REQUESTS, SANDBOX_CONNECTIONS, environment, simulated
from include.stack.home import Home

BATCH = "AIRFLOW_CONN_BATCH_DEFAULT"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def sandboxed(variables: dict[str, str]) -> set[str]:
    """Returns the variables of account connections that lead to the sandbox."""
    return {name for name in SANDBOX_CONNECTIONS if "sandbox-secret" in variables.get(name, "")}


def test_the_sandbox_simulates_every_account(home: Home) -> None:
    """Each connection has its vendor's type and leads to this machine. The source is the stack's table."""
    variables = environment(home, {})
    assert sandboxed(variables) == {f"AIRFLOW_CONN_{one.connection.upper()}" for one in ACCOUNTS}
    for account in ACCOUNTS:
        connection = json.loads(variables[f"AIRFLOW_CONN_{account.connection.upper()}"])
        assert connection["conn_type"] == account.vendor
        assert (connection["host"], connection["port"]) == ("127.0.0.1", home.port("sandbox"))
    # Otherwise a dsar_source made in the UI could add real requests.
    assert variables["AIRFLOW_CONN_DSAR_SOURCE"] == variables["AIRFLOW_CONN_DSAR_DB"]


@pytest.mark.parametrize("name", OF_REAL_REQUESTS)
def test_no_account_uses_the_sandbox_if_requests_may_be_real(home: Home, name: str) -> None:
    """If the user sets a ledger, a source or a secrets backend, the stack sets no account connection."""
    given = {name: "postgresql://mine/dsar", BATCH: "batch://mine"}
    variables = environment(home, given)
    assert {each: variables[each] for each in SANDBOX_CONNECTIONS if each in variables} == {
        BATCH: "batch://mine"
    }
    assert simulated(given) == []
    assert variables.get("AIRFLOW_CONN_DSAR_SOURCE") == (
        "postgresql://mine/dsar" if name == "AIRFLOW_CONN_DSAR_SOURCE" else None
    )


def test_a_users_connection_replaces_only_that_account(home: Home) -> None:
    """A user's connection replaces only its own account. The sandbox simulates the other accounts."""
    variables = environment(home, {BATCH: "batch://mine"})
    assert variables[BATCH] == "batch://mine"
    assert sandboxed(variables) == set(SANDBOX_CONNECTIONS) - {BATCH}


def test_a_source_made_in_the_ui_is_used_if_nothing_is_simulated(home: Home) -> None:
    """If the user sets every account connection, the stack sets no source connection."""
    given = dict.fromkeys(SANDBOX_CONNECTIONS, "http://mine")
    assert simulated(given) == []
    assert "AIRFLOW_CONN_DSAR_SOURCE" not in environment(home, given)


def test_the_users_variables_take_precedence(home: Home) -> None:
    """The user can replace every variable of the stack, also by NAME_CMD and NAME_SECRET."""
    listed = {"PATH", "PYTHONPATH", "NO_PROXY", "no_proxy"}  # lists, which the stack extends
    own = environment(home, {}).keys() - listed - SANDBOX_CONNECTIONS.keys()
    given = dict.fromkeys(own, "9")
    assert {name: environment(home, given)[name] for name in own} == given
    command = {"AIRFLOW__CORE__FERNET_KEY_CMD": "cat key"}
    assert "AIRFLOW__CORE__FERNET_KEY" not in environment(home, command)
    assert environment(home, {"PATH": "/mine"})["PATH"].endswith(":/mine")
    assert environment(home, {"NO_PROXY": "mine"})["NO_PROXY"] == "127.0.0.1,localhost,mine"


def test_another_terminal_gets_the_same_environment(home: Home) -> None:
    """Ports, secrets and connections come from the state directory."""
    assert environment(home, {}) == environment(Home(home.root), {})


def test_the_jwt_secret_is_long_enough(home: Home) -> None:
    """PyJWT warns if the secret is shorter than a hash of HS512, which Airflow uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jwt.encode({}, environment(home, {})["AIRFLOW__API_AUTH__JWT_SECRET"], algorithm="HS512")
