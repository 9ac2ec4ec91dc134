"""``/api/v1``: the JSON interface, whose OpenAPI description is at ``/api/v1/openapi.json``.

Every answer is a value of ``router.admin`` encoded as it is; every refusal is ``{"error": sentence}``.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from router import __version__
from router.admin import PAGE_LIMIT, Admin
from router.api.operators import add_operators
from router.errors import NotAllowed, RouterError, UnknownItem
from router.logs import get_logger
from router.model import DeliveryState, Listing
from router.views import DeliveryView, QueuePage, Status, TraceView

_PREFIX = "/api/v1"
_log = get_logger("api")


class _Refusal(msgspec.Struct, omit_defaults=True):
    error: str
    problems: list[str] = []


def build_api(admin: Admin) -> FastAPI:
    """The application for everything under ``/api/``."""
    api = FastAPI(
        title="dicom-router",
        version=__version__,
        openapi_url=f"{_PREFIX}/openapi.json",
        docs_url=None,  # its page takes scripts from a public server
        redoc_url=None,
    )
    _add_queue(api, admin)
    _add_observation(api, admin)
    add_operators(api, admin, _PREFIX)
    api.add_exception_handler(HTTPException, _on_http_exception)
    api.add_exception_handler(RequestValidationError, _on_invalid)
    api.add_exception_handler(RouterError, _on_router_error)
    return api


def _add_queue(api: FastAPI, admin: Admin) -> None:
    @api.get(f"{_PREFIX}/queue", response_model=QueuePage, summary="Deliveries, with totals")
    async def queue(
        destination: Annotated[str | None, Query(max_length=255)] = None,
        state: DeliveryState | None = None,
        sop_instance_uid: Annotated[str | None, Query(max_length=1024)] = None,
        calling_ae: Annotated[str | None, Query(max_length=255)] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 100,
        after: Annotated[
            int | None, Query(ge=0, le=2**63 - 1, description="next_after of the page before")
        ] = None,
    ) -> Response:
        return _json(
            await admin.queue(
                Listing(
                    destination=destination,
                    state=state,
                    limit=limit,
                    after=after,
                    sop_instance_uid=sop_instance_uid,
                    calling_ae=calling_ae,
                )
            )
        )

    @api.get(f"{_PREFIX}/queue/{{delivery_id}}", response_model=DeliveryView, summary="One delivery")
    async def delivery(delivery_id: Annotated[int, Path(ge=0, le=2**63 - 1)]) -> Response:
        return _json(await admin.delivery(delivery_id))


def _add_observation(api: FastAPI, admin: Admin) -> None:
    @api.get(
        f"{_PREFIX}/trace/{{sop_instance_uid}}",
        response_model=tuple[TraceView, ...],
        summary="An image's way",
    )
    async def trace(sop_instance_uid: Annotated[str, Path(max_length=1024)]) -> Response:
        return _json(await admin.trace(sop_instance_uid))

    @api.get(f"{_PREFIX}/status", response_model=Status, summary="The gateway at a glance")
    async def status() -> Response:
        return _json(await admin.status())


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


async def _on_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
    return _json(_Refusal(error=str(error.detail)), error.status_code)


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in _problems(error)]
    return _json(_Refusal(error="the request is not valid", problems=problems), 422)


def _problems(error: RequestValidationError) -> list[dict[str, Any]]:
    return list(error.errors())


async def _on_router_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, UnknownItem):
        return _json(_Refusal(error=str(error)), 404)
    if isinstance(error, NotAllowed):
        return _json(_Refusal(error=str(error)), 409)
    _log.error("request failed", because=str(error))
    return _json(_Refusal(error=str(error)), 503)
