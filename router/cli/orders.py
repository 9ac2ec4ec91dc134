"""``queue hold``, ``resume``, ``retry``, ``discard``, ``redirect``, ``replay``: orders to a gateway."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from inspect import cleandoc, signature
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.common import DEFAULT_URL, WRONG_USE, UrlOption, fail, out
from router.cli.identity import asks_gateway
from router.model import DeliveryState, Reason

if TYPE_CHECKING:
    from router.views import Ordered

IdsArgument = Annotated[list[int] | None, typer.Argument(help="Numbers, as in queue ls.")]
DestinationOption = Annotated[str | None, typer.Option("--destination", "-d", help="Those of this one.")]
StateOption = Annotated[
    DeliveryState | None,
    typer.Option("--state", "-s", help=f"Those that are {', '.join(DeliveryState)}.", metavar="STATE"),
]
ReasonOption = Annotated[
    Reason | None,
    typer.Option("--reason", help="Those whose last reason this is, as queue ls shows it.", metavar="REASON"),
]
UidOption = Annotated[
    str | None, typer.Option("--sop-instance-uid", "-i", help="Those of this image.", metavar="UID")
]
CallingOption = Annotated[
    str | None, typer.Option("--calling-ae", help="Those of what this AE title sent.", metavar="AE")
]
ToOption = Annotated[
    str | None, typer.Option("--to", help="The destination that gets them instead.", metavar="NAME")
]
AllOption = Annotated[bool, typer.Option("--all", help="All whose state allows it.")]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who you are, for the audit; the user's name where not given.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which deliveries the command line names."""

    ids: list[int] | None
    destination: str | None
    state: DeliveryState | None
    reason: Reason | None
    uid: str | None
    calling_ae: str | None
    everything: bool

    def check(self) -> None:
        """Exit 2 where it is nothing, or more than one thing: all is never meant by accident."""
        given = (self.destination, self.state, self.reason, self.uid, self.calling_ae)
        has_filter = any(value is not None for value in given)
        if sum((bool(self.ids), has_filter, self.everything)) != 1:
            fail("Say which deliveries: numbers, or a filter such as --destination, or --all.", WRONG_USE)


class _To(Enum):
    """Whether an order names a destination for what it is about."""

    NONE = auto()
    MAY = auto()
    NEEDED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verb:
    """One command: what its help says, and how its report calls what was done."""

    name: str
    done: str
    help: str
    to: _To = _To.NONE


_VERBS = (
    _Verb(
        name="retry",
        done="due again",
        help="""Try dead or deferred deliveries again now; their attempts count anew.

        Examples: [bold]dicom-router queue retry 17 18[/bold],
        [bold]dicom-router queue retry -d pacs -s dead[/bold]
        """,
    ),
    _Verb(
        name="hold",
        done="held",
        help="""Keep pending deliveries back until they are resumed.

        What a lane has taken is left alone, and said.

        Example: [bold]dicom-router queue hold --calling-ae CT1[/bold]
        """,
    ),
    _Verb(
        name="resume",
        done="due again",
        help="""Let held deliveries go on, now.

        Example: [bold]dicom-router queue resume --destination pacs[/bold]
        """,
    ),
    _Verb(
        name="discard",
        done="discarded",
        help="""Give pending, held or dead deliveries up. The bytes go when no other delivery needs them.

        Example: [bold]dicom-router queue discard -d pacs -s dead --reason cannot_understand[/bold]
        """,
    ),
    _Verb(
        name="redirect",
        done="redirected",
        to=_To.NEEDED,
        help="""Give pending, held or dead deliveries to another destination, also those that no rule matched.

        Examples: [bold]dicom-router queue redirect -d pacs --to archive[/bold],
        [bold]dicom-router queue redirect -d "" --to archive[/bold] (what no rule matched)
        """,
    ),
    _Verb(
        name="replay",
        done="to be sent again",
        to=_To.MAY,
        help="""Send again what was delivered, while its bytes are kept ('retention').

        Example: [bold]dicom-router queue replay -i 1.2.840.113619.2.5.1762583153.215519.978957063.78[/bold]
        """,
    ),
)


def add_to(group: typer.Typer) -> None:
    """Register the commands."""
    for verb in _VERBS:
        _add(group, verb)


def _add(group: typer.Typer, verb: _Verb) -> None:
    def command(
        ids: IdsArgument = None,
        to: ToOption = None,
        destination: DestinationOption = None,
        state: StateOption = None,
        reason: ReasonOption = None,
        uid: UidOption = None,
        calling_ae: CallingOption = None,
        everything: AllOption = False,
        by: ByOption = None,
        url: UrlOption = DEFAULT_URL,
    ) -> None:
        if verb.to is _To.NEEDED and to is None:
            fail("Say where to: --to DESTINATION.", WRONG_USE)
        chosen = Chosen(
            ids=ids,
            destination=destination,
            state=state,
            reason=reason,
            uid=uid,
            calling_ae=calling_ae,
            everything=everything,
        )
        _order(verb, chosen, url, by, to)

    if verb.to is _To.NONE:
        whole = signature(command)
        others = [parameter for name, parameter in whole.parameters.items() if name != "to"]
        command.__signature__ = whole.replace(parameters=others)  # type: ignore[attr-defined]
    group.command(verb.name, help=cleandoc(verb.help))(asks_gateway(command))


def _order(verb: _Verb, chosen: Chosen, url: str, by: str | None, to: str | None = None) -> None:
    from router.cli.client import Client
    from router.errors import RouterError
    from router.views import Ordered, OrderRequest

    chosen.check()
    request = OrderRequest(
        ids=tuple(chosen.ids or ()),
        destination=chosen.destination,
        state=chosen.state,
        reason=chosen.reason,
        sop_instance_uid=chosen.uid,
        calling_ae=chosen.calling_ae,
        everything=chosen.everything,
        to=to,
    )
    try:
        done = Client(url, by=by).post(Ordered, "queue", verb.name, body=request)
    except RouterError as error:
        fail(str(error))
    print_done(done, verb.done)


def print_done(done: Ordered, word: str) -> None:
    """How many, and what was left alone for which reason."""
    left = ", ".join(f"{count} {obstacle}" for obstacle, count in done.left_alone.items())
    out.print(f"{done.count} {word}." + (f" Left alone: {left}." if left else ""), markup=False)
