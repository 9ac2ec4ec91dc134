"""``/api/v1``: what operators may do, who did what, and the stored files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from router.admin import Admin
from router.admin_actions import AUDIT_LIMIT
from router.api import callers
from router.spool.orders import ALLOWED, Action, Operator
from router.views import (
    AuditPage,
    ContextView,
    CorruptRequest,
    DestinationStatus,
    Ordered,
    OrderRequest,
    StoredView,
)

_SUMMARIES = {
    Action.HOLD: "Keep deliveries back until they are resumed",
    Action.RESUME: "Let held deliveries go on",
    Action.RETRY: "Try deliveries again now",
    Action.DISCARD: "Give deliveries up",
    Action.REDIRECT: "Give deliveries to another destination",
    Action.REPLAY: "Send again what was delivered, while its bytes are kept",
}
_Name = Annotated[str, Path(max_length=255)]
_Number = Annotated[int, Path(ge=0, le=2**63 - 1)]


def add_operators(api: FastAPI, admin: Admin, prefix: str) -> None:
    """Add the requests that change something, and the audit."""
    for action in ALLOWED:
        api.post(
            f"{prefix}/queue/{action}", response_model=Ordered, summary=_SUMMARIES[action], name=action.value
        )(_make_order(admin, action))
    _add_destinations(api, admin, prefix)
    _add_drain(api, admin, prefix)
    _add_instances(api, admin, prefix)


def _make_order(admin: Admin, action: Action) -> Callable[[OrderRequest, Request], Awaitable[Response]]:
    async def order(order: OrderRequest, request: Request) -> Response:
        return _json(await admin.actions.order(action, order, operator_of(request)))

    return order


def _add_destinations(api: FastAPI, admin: Admin, prefix: str) -> None:
    @api.get(
        f"{prefix}/destinations",
        response_model=tuple[DestinationStatus, ...],
        summary="Destinations, and what waits for each",
    )
    async def destinations() -> Response:
        return _json(await admin.destinations())

    @api.get(
        f"{prefix}/destinations/{{name}}/contexts",
        response_model=tuple[ContextView, ...],
        summary="Which presentation contexts it has accepted and refused lately",
    )
    async def contexts(name: _Name) -> Response:
        return _json(admin.contexts(name))

    @api.post(
        f"{prefix}/destinations/{{name}}/pause", response_model=Ordered, summary="Send it nothing, for now"
    )
    async def pause(name: _Name, request: Request) -> Response:
        return _json(await admin.actions.pause(name, operator_of(request)))

    @api.post(f"{prefix}/destinations/{{name}}/resume", response_model=Ordered, summary="Go on sending")
    async def resume(name: _Name, request: Request) -> Response:
        return _json(await admin.actions.resume(name, operator_of(request)))


def _add_drain(api: FastAPI, admin: Admin, prefix: str) -> None:
    @api.post(f"{prefix}/drain", response_model=Ordered, summary="Take nobody new in, deliver what is here")
    async def drain(request: Request) -> Response:
        return _json(await admin.actions.drain(operator_of(request)))

    @api.post(f"{prefix}/undrain", response_model=Ordered, summary="Take associations again")
    async def undrain(request: Request) -> Response:
        return _json(await admin.actions.undrain(operator_of(request)))

    @api.get(f"{prefix}/audit", response_model=AuditPage, summary="Who did what, the latest first")
    async def audit(
        limit: Annotated[int, Query(ge=1, le=AUDIT_LIMIT)] = 100,
        before: Annotated[int | None, Query(ge=0, description="next_before of the page before")] = None,
    ) -> Response:
        return _json(await admin.actions.audit(limit, before))


def _add_instances(api: FastAPI, admin: Admin, prefix: str) -> None:
    @api.get(
        f"{prefix}/instances/corrupt",
        response_model=tuple[StoredView, ...],
        summary="Instances whose bytes do not match their hash",
    )
    async def corrupt(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        after: Annotated[int, Query(ge=0, le=2**63 - 1, description="the last key of the page before")] = 0,
    ) -> Response:
        return _json(await admin.actions.corrupt(limit, after))

    @api.post(
        f"{prefix}/instances/corrupt/discard", response_model=Ordered, summary="Let damaged instances go"
    )
    async def discard_corrupt(chosen: CorruptRequest, request: Request) -> Response:
        return _json(await admin.actions.discard_corrupt(chosen, operator_of(request)))

    @api.get(
        f"{prefix}/instances/{{key}}/file",
        response_class=Response,
        responses={200: {"content": {"application/dicom": {}}}},
        summary="A stored instance as a DICOM file",
    )
    async def file(key: _Number, request: Request) -> Response:
        instance, content = await admin.actions.open_file(key, operator_of(request))
        headers = {
            "content-length": str(instance.place.length_bytes),
            "content-disposition": f'attachment; filename="{key}.dcm"',
            "cache-control": "no-store",
        }
        return StreamingResponse(content, media_type="application/dicom", headers=headers)


def operator_of(request: Request) -> Operator:
    """Who asks, and from where. 403 for a page of another site in an operator's browser."""
    try:
        return callers.operator_of(request.scope)
    except callers.ForeignPage as error:
        raise HTTPException(403, str(error)) from error


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
