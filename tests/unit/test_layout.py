"""The layout rules hold: imports point down, and Airflow does not scan plugins/dsar_airflow."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from include.dsar.model import State

PROJECT = Path(__file__).resolve().parents[2]
MAX_LINES = 305

# Modules that each folder must not import.
FORBIDDEN = {
    "include": ("airflow", "dsar_airflow", "plugins", "dags", "tests"),
    "plugins": ("dags", "tests", "include.stack", "include.sandbox"),
    "dags": ("tests", "include.stack", "include.sandbox"),
}


# The rooms of include/dsar from the top down.
ROOMS = (
    "board",
    "stages",
    "sending",
    "execution",
    "intake",
    "delivery",
    "ledger",
    "vendors",
    "http",
    "accounts",
    "regulations",
    "zones",
    "model",
    "errors",
)


def imported(file: Path) -> set[str]:
    """Returns every module that a file imports, including imports inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def wrong_imports(floor: str, file: Path) -> list[str]:
    return [
        name
        for name in sorted(imported(file))
        if any(name == above or name.startswith(f"{above}.") for above in FORBIDDEN[floor])
    ]


@pytest.mark.parametrize("floor", FORBIDDEN)
def test_imports_point_down(floor: str) -> None:
    """Files in dags may import plugins, and files in plugins may import include. No file in include imports
    Airflow.
    """
    files = list((PROJECT / floor).rglob("*.py"))
    assert files
    assert {str(file): wrong for file in files if (wrong := wrong_imports(floor, file))} == {}


def test_the_product_imports_neither_the_sandbox_nor_the_stack() -> None:
    """A deployment contains neither the sandbox nor the stack. The sandbox simulates the outside world, so
    it shares no code with the product.
    """
    for file in (PROJECT / "include/dsar").rglob("*.py"):
        assert not {name for name in imported(file) if name.startswith(("include.stack", "include.sandbox"))}
    for file in (PROJECT / "include/sandbox").rglob("*.py"):
        assert not {name for name in imported(file) if name.startswith(("include.dsar", "include.stack"))}


def room(module: str) -> str:
    """Returns the room of a module of include.dsar. The room is the module's folder or its file."""
    return module.removeprefix("include.dsar.").partition(".")[0]


def test_rooms_import_only_rooms_below_them() -> None:
    """No module of include/dsar imports a module from a room above its own room. docs/architecture.md lists
    the rooms.
    """
    upward = [
        f"{file.relative_to(PROJECT)} imports {name}"
        for file in (PROJECT / "include/dsar").rglob("*.py")
        for name in imported(file)
        if name.startswith("include.dsar.")
        and ROOMS.index(room(name))
        < ROOMS.index(file.relative_to(PROJECT / "include/dsar").with_suffix("").parts[0])
    ]
    assert upward == []


def test_sql_lists_neither_the_open_nor_the_terminal_states() -> None:
    """SQL outside migrations uses dsar.is_open(state) instead of a list of all open or terminal states."""
    names = {frozenset(s.value for s in State if s.is_open == wanted) for wanted in (True, False)}
    for floor in ("include", "plugins"):
        for file in (PROJECT / floor).rglob("*.py"):
            lists = re.findall(r"IN \(((?:'\w+'[,\s]*)+)\)", file.read_text())
            assert not names & {frozenset(re.findall(r"\w+", one)) for one in lists}, file


@pytest.mark.parametrize(
    "line", ["import airflow", "from airflow.sdk import DAG", "import dsar_airflow.params", "import dags.x"]
)
def test_the_linter_rejects_upward_imports(tmp_path: Path, line: str) -> None:
    """Ruff reports a forbidden import below include/ and gives the reason."""
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    planted = tmp_path / "include/dsar/planted.py"
    planted.parent.mkdir(parents=True)
    planted.write_text(f"{line}  # noqa: F401\n")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--no-cache", str(planted)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "TID251" in done.stdout
    assert re.search(r"is banned: (include/ is the product|Imports point down)", done.stdout)


LOAD = """
import http, json, sys
from airflow import plugins_manager
standard = http.__file__
plugins_manager._get_plugins()
print(json.dumps({
    "bare": sorted({"connections", "operators", "params", "sensors", "triggers"} & set(sys.modules)),
    "http": sys.modules["http"].__file__ == standard,
    "errors": plugins_manager.get_import_errors(),
}))
"""


def load_plugins(folder: Path, home: Path) -> dict[str, object]:
    """Loads the plugins with Airflow's own loader in a new interpreter. Returns the effects of loading."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env=keep | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": str(PROJECT),
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    effects: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return effects


def test_airflow_does_not_import_the_packages_files_as_plugins(tmp_path: Path) -> None:
    """plugins/.airflowignore excludes the package. Otherwise its files could replace standard modules."""
    assert load_plugins(PROJECT / "plugins", tmp_path) == {"bare": [], "http": True, "errors": {}}


def test_without_the_ignore_file_a_plugin_replaces_a_standard_module(tmp_path: Path) -> None:
    """Without the ignore file, Airflow's loader lets a plugin replace a standard module."""
    (tmp_path / "plugins/package").mkdir(parents=True)
    (tmp_path / "plugins/package/http.py").write_text("")
    effects = load_plugins(tmp_path / "plugins", tmp_path / "home")
    assert effects["http"] is False
    (tmp_path / "plugins/.airflowignore").write_text((PROJECT / "plugins/.airflowignore").read_text())
    (tmp_path / "plugins/package").rename(tmp_path / "plugins/dsar_airflow")
    assert load_plugins(tmp_path / "plugins", tmp_path / "home")["http"] is True


def test_every_file_outside_the_package_is_a_plugin() -> None:
    """Airflow imports every file in plugins/ outside the ignored package."""
    for file in (PROJECT / "plugins").rglob("*.py"):
        assert file.is_relative_to(PROJECT / "plugins/dsar_airflow") or "AirflowPlugin" in file.read_text()


@pytest.mark.parametrize("folder", ["include", "plugins", "dags"])
def test_no_file_is_too_long_or_has_a_vague_name(folder: str) -> None:
    """A file over the limit probably has two subjects."""
    files = list((PROJECT / folder).rglob("*.py"))
    long = {str(file): n for file in files if (n := file.read_text().count("\n")) > MAX_LINES}
    assert long == {}
    assert not {file.stem for file in files} & {"utils", "helpers", "common", "manager", "misc"}


def tracked() -> list[Path]:
    """Returns the files in the repository, including new files that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    return [
        file for name in listed.stdout.decode().split("\0") if name and (file := PROJECT / name).is_file()
    ]


MACHINE = re.compile(r"(?<![\w.])/(?:home|Users|work|root|shared)/[\w.-]+|\.\./shared")
CONTAINER_FILES = {"Dockerfile", "docker-compose.yaml"}  # paths in these files are inside an image


def test_no_file_contains_a_path_of_one_machine() -> None:
    """A clone must work on every machine, so no file contains an absolute path of one machine."""
    found = {}
    for file in tracked():
        if file.suffix in {".png", ".ico"} or file.name in CONTAINER_FILES or file == Path(__file__):
            continue
        if hits := MACHINE.findall(file.read_text(errors="replace")):
            found[str(file.relative_to(PROJECT))] = hits
    assert found == {}
