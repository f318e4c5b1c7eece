"""For users and for s3dlio itself: `StoreContract`, what every store must keep; `FaultServer`, a server that fails on demand.

`StoreContract` needs pytest; `FaultServer` needs only the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dialect import StoredObject
from .fault import Fault, Request
from .fault_server import FaultServer, refused_endpoint

if TYPE_CHECKING:
    from .contract import Capabilities, Door, StoreContract

__all__ = [
    "Capabilities",
    "Door",
    "Fault",
    "FaultServer",
    "Request",
    "StoreContract",
    "StoredObject",
    "refused_endpoint",
]


def __getattr__(name: str) -> object:
    if name in ("Capabilities", "Door", "StoreContract"):
        from . import contract

        return getattr(contract, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
