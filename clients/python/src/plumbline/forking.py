"""What has to begin anew in a forked child, and what must not be under way in a fork.

The one thing that every process has only once: a weak set of objects with a method
``after_fork_in_child``, and a lock. Their own locks may have been held by threads that the child
does not have; so may Python's lock on a module that such a thread was importing, which nobody in
the child could ever take. Imports of other threads than the main one therefore hold ``no_fork``.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something with locks, threads or connections."""

    def after_fork_in_child(self) -> None:
        """Makes all of them new; runs in the child before anything else does."""


no_fork = threading.RLock()  # os.fork() waits while another thread holds it

_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Sees to it that ``thing`` starts anew in every child forked from now on."""
    with no_fork:
        _renewables.add(thing)


def _after_fork_in_child() -> None:
    no_fork.release()
    for thing in list(_renewables):
        thing.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=no_fork.acquire,
        after_in_parent=no_fork.release,
        after_in_child=_after_fork_in_child,
    )
