"""Helps code that was written for ``cdsw``."""

from __future__ import annotations

from types import ModuleType


def _emulate_cdsw() -> ModuleType:
    """Returns the module ``cdsw``."""
    import cdsw

    return cdsw
