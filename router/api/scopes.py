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

_LOOKING = ("GET", "HEAD")
_NEEDED: tuple[tuple[str, str, Scope], ...] = (
    ("GET", r"instances/[^/]+/file", Scope.OPERATE),
    *(("POST", f"queue/{action}", Scope.OPERATE) for action in ALLOWED),
    ("POST", r"destinations/[^/]+/(pause|resume)", Scope.OPERATE),
    ("POST", "drain", Scope.ADMIN),
    ("POST", "undrain", Scope.ADMIN),
    ("POST", "instances/corrupt/discard", Scope.ADMIN),
)
_TABLE = tuple((method, re.compile(f"{PREFIX}/{path}"), scope) for method, path, scope in _NEEDED)


def scope_needed(method: str, path: str) -> Scope:
    """The scope that somebody needs for this request."""
    path = path.removesuffix("\n")  # Starlette's patterns end in $, which allows for one
    for named, pattern, scope in _TABLE:
        if (method == named or (method == "HEAD" and named == "GET")) and pattern.fullmatch(path):
            return scope
    return Scope.READ if method in _LOOKING else Scope.ADMIN
