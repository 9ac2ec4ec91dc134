"""Transfer syntaxes as the configuration and rules write them: a name, and for a lossy one its loss.

::

    jpeg-2000-lossless
    {to: jpeg-2000, ratio: 10}
    {to: jpeg-baseline, quality: 90}
    {to: jpeg-ls-near-lossless, max_error: 2}
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated

from pydantic import BeforeValidator

from router.dicom.syntaxes import (
    LOSSLESS_TARGETS,
    LOSSY_TARGETS,
    NAMES,
    NATIVE_TARGETS,
    Syntax,
    find,
)
from router.model import Form

AS_RECEIVED = Form(transfer_syntax_uid="")
_AS_RECEIVED_NAME = "as-received"
_LOSSLESS = frozenset((*LOSSLESS_TARGETS, *NATIVE_TARGETS))
_BOUNDS: dict[str, tuple[float, float]] = {"quality": (1, 100), "ratio": (1, 1000), "max_error": (1, 255)}


def parse_form(value: object) -> Form:
    """What a rule's ``transcode`` asks for: something that can be made. ``ValueError`` with what is wrong."""
    form, syntax = _read(value)
    if syntax is None:
        raise ValueError(f"{_AS_RECEIVED_NAME!r} is no transfer syntax to transcode to")
    loss = LOSSY_TARGETS.get(syntax.uid)
    if loss is None and syntax.uid not in _LOSSLESS:
        raise ValueError(f"{syntax.name} can be passed through but not made; these can: {_makeable()}")
    if loss is not None and not form.is_lossy:
        raise ValueError(f"{syntax.name} is lossy: say how lossy: {{to: {syntax.name}, {loss}: N}}")
    return form


def parse_preferences(value: object) -> tuple[Form, ...]:
    """A destination's ``transfer_syntaxes``, the most wanted first."""
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of transfer syntaxes, the most wanted first")
    forms: dict[str, Form] = {}
    for item in value:
        form, _ = _read(item)
        if form.transfer_syntax_uid in forms:
            raise ValueError(f"{item} stands here a second time")
        forms[form.transfer_syntax_uid] = form
    return tuple(forms.values())


def _read(value: object) -> tuple[Form, Syntax | None]:
    if isinstance(value, Form):
        return value, find(value.transfer_syntax_uid)
    given = dict(value) if isinstance(value, Mapping) else {"to": value}
    name = given.pop("to", None)
    if name == _AS_RECEIVED_NAME and not given:
        return AS_RECEIVED, None
    if not isinstance(name, str):
        raise ValueError("expected a transfer syntax's name, or {to: NAME} with how much may be lost")
    syntax = find(name)
    if syntax is None:
        near = get_close_matches(name, (*NAMES, _AS_RECEIVED_NAME), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"for example {_makeable()}"
        raise ValueError(f"unknown transfer syntax {name!r}: {hint}")
    loss = LOSSY_TARGETS.get(syntax.uid)
    for key in given:
        if key != loss:
            takes = f"it takes {loss}" if loss else "nothing is lost in it, or it cannot be made"
            raise ValueError(f"{syntax.name} has no {key!r}: {takes}")
    amount = _amount(loss, given[loss]) if loss is not None and loss in given else None
    return Form(
        transfer_syntax_uid=syntax.uid,
        quality=int(amount) if amount is not None and loss == "quality" else None,
        ratio=float(amount) if amount is not None and loss == "ratio" else None,
        max_error=int(amount) if amount is not None and loss == "max_error" else None,
    ), syntax


def _amount(loss: str, value: object) -> float:
    low, high = _BOUNDS[loss]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (loss != "ratio" and value != int(value)):  # type: ignore[operator, call-overload]
        raise ValueError(f"{loss!r} is a number from {low:g} to {high:g}")
    return float(value)  # type: ignore[arg-type]


def _makeable() -> str:
    names = (syntax.name for syntax in map(find, (*NATIVE_TARGETS, *LOSSLESS_TARGETS)) if syntax)
    return ", ".join(names)


Preferences = Annotated[tuple[Form, ...], BeforeValidator(parse_preferences)]
