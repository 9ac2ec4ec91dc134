"""The files that the page's pages need, each under an address that has its content's hash.

They are read once. What is not among them does not exist, whatever an address says: none becomes a path.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent / "static"
PREFIX = "/static/"
_KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HASH_LETTERS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file."""

    address: str
    kind: str
    content: bytes


class Assets:
    """All of them, by address and by name."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._by_name = {
            path.name: _asset(path) for path in sorted(directory.iterdir()) if path.suffix in _KINDS
        }
        self._by_address = {asset.address: asset for asset in self._by_name.values()}

    def at(self, address: str) -> Asset | None:
        """The file at this path of a request."""
        return self._by_address.get(address)

    def address(self, name: str) -> str:
        """Where a file is to be asked for. ``KeyError`` where there is none of that name."""
        return self._by_name[name].address


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    mark = hashlib.sha256(content).hexdigest()[:_HASH_LETTERS]
    return Asset(
        address=f"{PREFIX}{path.stem}.{mark}{path.suffix}", kind=_KINDS[path.suffix], content=content
    )
