"""What each request needs: a table, and the widest scope for whatever it does not name.

Reading is for everybody with a scope, but the file of an image is not: that is a patient's. A new request
that changes something needs ``admin`` until it stands here.
"""

from __future__ import annotations

import re

from router.config.http import Scope
from router.spool.orders import ALLOWED

PREFIX = "/api/v1"
PROBES = ("/healthz", "/readyz")  # for whoever decides whether we live; without credentials they say no more
METRICS = "/metrics"
ORDERS = "/orders/"  # of the page
LOGIN = "/login"  # of the page: asks for credentials where looking needs none

_LOOKING = ("GET", "HEAD")
_NEEDED: tuple[tuple[str, str, Scope], ...] = (
    ("GET", rf"{PREFIX}/instances/[^/]+/file", Scope.OPERATE),
    *(("POST", f"(?:{PREFIX}/queue/|{ORDERS}){action}", Scope.OPERATE) for action in ALLOWED),
    ("POST", rf"{PREFIX}/destinations/[^/]+/(pause|resume)", Scope.OPERATE),
    ("GET", LOGIN, Scope.OPERATE),
    ("POST", rf"{ORDERS}(pause|unpause)", Scope.OPERATE),
    ("POST", rf"(?:{PREFIX}/|{ORDERS})(drain|undrain)", Scope.ADMIN),
    ("POST", f"{PREFIX}/instances/corrupt/discard", Scope.ADMIN),
)
_TABLE = tuple((method, re.compile(path), scope) for method, path, scope in _NEEDED)


def scope_needed(method: str, path: str) -> Scope:
    """The scope that somebody needs for this request."""
    path = path.removesuffix("\n")  # Starlette's patterns end in $, which allows for one
    for named, pattern, scope in _TABLE:
        if (method == named or (method == "HEAD" and named == "GET")) and pattern.fullmatch(path):
            return scope
    return Scope.READ if method in _LOOKING else Scope.ADMIN
