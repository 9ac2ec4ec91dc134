"""What is ordered on the page: asked again where that is wise, given to ``router.admin``, and told."""

from __future__ import annotations

from dataclasses import replace

from router.admin_actions import Actions
from router.api.scopes import ORDERS as PREFIX
from router.errors import UnknownItem
from router.spool.orders import Action
from router.views import Ordered
from router.web import asked
from router.web.pages import Page, Request, page
from router.web.words import ORDERS, done_words

LOOK = ((b"hx-trigger", b"look"),)  # the page shows at once what came of it


def confirmation(request: Request) -> Page:
    """The question whether an order is meant, with what it is about. Changes nothing."""
    action = _action_of(request.path)
    what = _what(action, request)
    fields = asked.kept(request.fields, "which", "ids")
    return page("confirm.html", action=action, what=what, fields=fields, back=_back(action), here=None)


async def carry_out(request: Request, actions: Actions) -> Page:
    """Give the order. Raises what ``Actions`` does, ``BadRequest`` and ``ForeignPage``."""
    action, by = _action_of(request.path), request.by()
    target = asked.text(request.fields, "destination") or ""
    done: Ordered
    if action == "pause":
        done = await actions.pause(target, by)
    elif action == "unpause":
        done = await actions.resume(target, by)
    elif action == Action.DRAIN:
        done = await actions.drain(by)
    elif action == Action.UNDRAIN:
        done = await actions.undrain(by)
    else:
        order = Action(action)
        done = await actions.order(order, asked.order_of(order, request.fields), by)
    return replace(told(request, done_words(action, target, done), back=_back(action)), headers=LOOK)


def told(request: Request, sentence: str, *, back: str, is_bad: bool = False, status: int = 200) -> Page:
    """One sentence: to the script that gave an order as it is, otherwise as a page with a way back."""
    template = "notice.html" if request.is_part and request.method == "POST" else "done.html"
    return page(template, status=status, sentence=sentence, is_bad=is_bad, back=back, here=None)


def _action_of(path: str) -> str:
    action = path.removeprefix(PREFIX)
    if action not in ORDERS:
        raise UnknownItem(f"there is no order {action!r}")
    return action


def _back(action: str) -> str:
    return "/" if action in ("pause", "unpause", Action.DRAIN, Action.UNDRAIN) else "/queue"


def _what(action: str, request: Request) -> str:
    """What an order is about. ``BadRequest`` where that is not said."""
    if action in ("pause", "unpause"):
        return asked.text(request.fields, "destination") or ""
    if action in (Action.DRAIN, Action.UNDRAIN):
        return ""
    order = asked.order_of(Action(action), request.fields)
    if order.ids:
        return "this delivery" if len(order.ids) == 1 else f"these {len(order.ids)} deliveries"
    given = (
        ("for", asked.UNMATCHED if order.destination == "" else order.destination),
        ("in the state", order.state),
        ("of the image", order.sop_instance_uid),
        ("from", order.calling_ae),
    )
    return "all deliveries " + " ".join(f"{word} {value}" for word, value in given if value is not None)
