"""The environment of the local stack: what the user sets wins, and no sandbox beside real requests."""

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
    """The account connections in it that lead to the sandbox."""
    return {name for name in SANDBOX_CONNECTIONS if "sandbox-secret" in variables.get(name, "")}


def test_the_sandbox_stands_in_for_every_account(home: Home) -> None:
    """On this machine, each by a connection of its vendor's type; what is read is the stack's own table."""
    variables = environment(home, {})
    assert sandboxed(variables) == {f"AIRFLOW_CONN_{one.connection.upper()}" for one in ACCOUNTS}
    for account in ACCOUNTS:
        connection = json.loads(variables[f"AIRFLOW_CONN_{account.connection.upper()}"])
        assert connection["conn_type"] == account.vendor
        assert (connection["host"], connection["port"]) == ("127.0.0.1", home.port("sandbox"))
    # Else a dsar_source made in the UI would bring real requests to the sandbox.
    assert variables["AIRFLOW_CONN_DSAR_SOURCE"] == variables["AIRFLOW_CONN_DSAR_DB"]


@pytest.mark.parametrize("name", OF_REAL_REQUESTS)
def test_no_account_meets_the_sandbox_where_requests_may_be_real(home: Home, name: str) -> None:
    """With a ledger, a source or a secrets backend of one's own: only what the user sets is there."""
    given = {name: "postgresql://mine/dsar", BATCH: "batch://mine"}
    variables = environment(home, given)
    assert {each: variables[each] for each in SANDBOX_CONNECTIONS if each in variables} == {
        BATCH: "batch://mine"
    }
    assert simulated(given) == []
    assert variables.get("AIRFLOW_CONN_DSAR_SOURCE") == (
        "postgresql://mine/dsar" if name == "AIRFLOW_CONN_DSAR_SOURCE" else None
    )


def test_one_connection_of_ones_own_replaces_only_that_one(home: Home) -> None:
    """The sandbox stands in for the others."""
    variables = environment(home, {BATCH: "batch://mine"})
    assert variables[BATCH] == "batch://mine"
    assert sandboxed(variables) == set(SANDBOX_CONNECTIONS) - {BATCH}


def test_with_all_accounts_of_ones_own_a_source_made_in_the_ui_counts(home: Home) -> None:
    """Nothing is simulated then, and nothing is kept from the user."""
    given = dict.fromkeys(SANDBOX_CONNECTIONS, "http://mine")
    assert simulated(given) == []
    assert "AIRFLOW_CONN_DSAR_SOURCE" not in environment(home, given)


def test_what_the_user_sets_wins(home: Home) -> None:
    """Every variable that the stack chooses gives way, also to Airflow's NAME_CMD and NAME_SECRET."""
    listed = {"PATH", "PYTHONPATH", "NO_PROXY", "no_proxy"}  # these are added to
    own = environment(home, {}).keys() - listed - SANDBOX_CONNECTIONS.keys()
    given = dict.fromkeys(own, "9")
    assert {name: environment(home, given)[name] for name in own} == given
    command = {"AIRFLOW__CORE__FERNET_KEY_CMD": "cat key"}
    assert "AIRFLOW__CORE__FERNET_KEY" not in environment(home, command)
    assert environment(home, {"PATH": "/mine"})["PATH"].endswith(":/mine")
    assert environment(home, {"NO_PROXY": "mine"})["NO_PROXY"] == "127.0.0.1,localhost,mine"


def test_bin_airflow_in_another_terminal_means_the_same_stack(home: Home) -> None:
    """Ports, secrets and connections stay as they are."""
    assert environment(home, {}) == environment(Home(home.root), {})


def test_the_jwt_secret_is_long_enough(home: Home) -> None:
    """PyJWT warns where it is shorter than the hash of Airflow's algorithm, HS512."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jwt.encode({}, environment(home, {})["AIRFLOW__API_AUTH__JWT_SECRET"], algorithm="HS512")
