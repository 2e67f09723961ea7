"""Finds the simulated vendors by importing every module of ``include.sandbox.vendors``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from include.sandbox import vendors
from include.sandbox.decision import Decision
from include.sandbox.settings import SandboxSettings
from include.sandbox.vendor import SandboxVendor


def _registered() -> dict[str, SandboxVendor]:
    found: dict[str, SandboxVendor] = {}
    for each in iter_modules(vendors.__path__, f"{vendors.__name__}."):
        declared = getattr(import_module(each.name), "VENDOR", None)
        if isinstance(declared, SandboxVendor):
            found[declared.name] = declared
    return found


VENDORS: Mapping[str, SandboxVendor] = MappingProxyType(_registered())


def decide(
    vendor: str, action: str, values: Sequence[str], settings: SandboxSettings | None = None
) -> Decision:
    """Returns what a vendor does with a job for the identifiers ``values``, exactly as the vendor receives
    them.

    Raises KeyError for an unknown vendor, and ValueError if the vendor does not support the action.
    """
    return VENDORS[vendor].decide(action, values, settings or SandboxSettings())
