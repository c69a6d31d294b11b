"""What has to begin anew in a forked child.

The one thing that every process has only once: a weak set of objects with a method
``after_fork_in_child``. Their locks may have been held by threads that the child does not have.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something with locks, threads or connections."""

    def after_fork_in_child(self) -> None:
        """Makes all of them new; runs in the child before anything else does."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Sees to it that ``thing`` starts anew in every child forked from now on."""
    _renewables.add(thing)


def _after_fork_in_child() -> None:
    for thing in list(_renewables):
        thing.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
