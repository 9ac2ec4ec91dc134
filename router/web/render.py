"""Templates to HTML: everything is escaped, nothing is undefined, and rendering happens in a thread."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from anyio import to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from router import __version__
from router.web.assets import Assets
from router.web.words import ORDERS, SCOPES, STATES
from router.wording import plural, size, span, when

TEMPLATES = Path(__file__).parent / "templates"


class Renderer:
    """The templates, compiled when they are first asked for."""

    def __init__(self, assets: Assets) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(when=when, size=size, span=span, plural=plural, instant=_instant)
        self._templates.globals.update(
            asset=assets.address, version=__version__, ORDERS=ORDERS, SCOPES=SCOPES, STATES=STATES, zone=_zone
        )

    async def __call__(self, template: str, content: dict[str, object]) -> bytes:
        """A template filled in. A long list takes milliseconds, in which others are served."""
        return await to_thread.run_sync(self._render, template, content)

    def _render(self, template: str, content: dict[str, object]) -> bytes:
        return self._templates.get_template(template).render(content).encode()


def _instant(at: float | None) -> Markup:
    """An instant for people and for programs."""
    if at is None:
        return Markup("")
    exact = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return Markup('<time datetime="{}">{}</time>').format(exact, escape(when(at)))


def _zone() -> str:
    return datetime.now(UTC).astimezone().strftime("%Z")
