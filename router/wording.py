"""Instants, sizes and spans of time in words, for people; the same wherever they are shown."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def when(at: float | None) -> str:
    """An instant in local time."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: float) -> str:
    """Bytes."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1024 or unit == "TB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def span(seconds: float) -> str:
    """A duration in its two largest units: ``3 min 20 s``; below 10 s with what is behind the point."""
    if seconds < 0.001:
        return "under 1 ms"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    left, parts = round(seconds), list[str]()
    for unit_s, unit in _UNITS:
        count, left = divmod(left, unit_s)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def plural(number: int, noun: str) -> str:
    """A number with its noun, which gets an s, or -ies for its -y."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}s"
