"""``python -m router`` and the installed command ``dicom-router``."""

from __future__ import annotations

import os

OTHERS = 0o027  # bits that no file of ours has: what is written holds patients' images


def main() -> None:
    """Run the command line."""
    from router.cli import build

    os.umask(os.umask(OTHERS) | OTHERS)
    build()(prog_name="dicom-router")


if __name__ == "__main__":
    main()
