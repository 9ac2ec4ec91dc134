"""``python -m router`` and the installed command ``dicom-router``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from router.cli import build

    build()(prog_name="dicom-router")


if __name__ == "__main__":
    main()
