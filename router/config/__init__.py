"""The configuration: YAML and environment to frozen settings, and the rules beside it.

The settings alone (``router.config.settings``) are imported everywhere; reading files pulls in the rules and
with them pydicom, a third of a second, so that happens in these doors and not before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from router.config.settings import Settings

if TYPE_CHECKING:
    from router.rules import RuleSet

__all__ = ["Check", "load", "load_all"]

Check = Callable[[Settings], Iterable[tuple[tuple[object, ...], str]]]


def load(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a file; the defaults where ``path`` is None. The rules are not looked at.

    Raises ``ConfigurationError`` with every problem as ``file:line:column: key: message``, ``OSError`` where
    the file cannot be read.
    """
    from router.config import files

    return files.load(path, environ)


def load_all(
    path: Path | None, environ: Mapping[str, str] = os.environ, checks: Sequence[Check] = ()
) -> tuple[Settings, RuleSet]:
    """Settings and rules. Raises as :func:`load` does, with the problems of all files in one error.

    ``checks`` look at what this floor cannot, such as certificates: each gives places in the settings and
    what is wrong with them.
    """
    from router.config import files

    return files.load_all(path, environ, checks)
