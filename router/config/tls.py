"""The ``tls`` blocks: of a listener, of a modality, and at the top what these leave out.

Files are PEM. A path is text until the configuration has been read, and absolute from then on. Nothing here
opens a file; ``router.net.credentials`` does, and says which key names the one that cannot be used.
"""

from __future__ import annotations

import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from router.config.scalars import Duration
from router.config.yaml_nodes import Block, Listing, Problems, Scalar, walk

if TYPE_CHECKING:
    from router.config.settings import Destination, Settings

_STRICT = ConfigDict(extra="forbid")
FILES = ("certificate", "key", "ca", "client_ca")
HANDSHAKE_S = 15.0  # a handshake is two or three round trips; who takes longer does not mean it


class TlsProfile(StrEnum):
    """Which protocol versions and cipher suites are negotiated: the profiles of PS3.15 Annex B."""

    RFC8996 = "rfc8996"  # B.12, BCP 195 with RFC 8996 and 9325: TLS 1.2 and 1.3
    RFC8996_MODIFIED = "rfc8996-modified"  # B.13: more cipher suites
    NON_DOWNGRADING = "non-downgrading"  # B.10, retired: TLS 1.2 with DHE too
    LEGACY = "legacy"  # B.9 and older, retired: from TLS 1.0, for peers that can do no better


class ClientCertificate(StrEnum):
    """What a listener that asks callers for a certificate does with those that send none."""

    REQUIRED = "required"
    OPTIONAL = "optional"


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Files = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class TlsDefaults:
    """The gateway's own identity and trust, for ``tls`` blocks that do not say otherwise."""

    certificate: str | None = None
    key: str | None = None
    key_password: str | None = Field(default=None, repr=False)
    ca: str | None = None
    crl: Files = ()
    profile: TlsProfile = TlsProfile.RFC8996
    check_files: Duration = Field(default=60.0, gt=0)  # files that changed are read again after so long
    warn_before: Duration = 30 * 86400.0  # of the end of a certificate


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListenerTls:
    """TLS on a listener. ``client_ca``: callers are asked for a certificate of one of these (mutual TLS)."""

    certificate: str | None = None  # the chain, our own first
    key: str | None = None  # None: it stands in the certificate's file
    key_password: str | None = Field(default=None, repr=False)
    client_ca: str | None = None
    client_certificate: ClientCertificate = ClientCertificate.REQUIRED
    crl: Files = ()
    profile: TlsProfile | None = None
    handshake_timeout: Duration = Field(default=HANDSHAKE_S, gt=0)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ModalityTls:
    """TLS towards a modality. ``certificate`` is ours, for peers that ask for one."""

    ca: str | None = None  # whom we trust; None: what this machine trusts
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = Field(default=None, repr=False)
    crl: Files = ()
    profile: TlsProfile | None = None
    check_hostname: bool = True  # the certificate must be for ``server_name``, or else for ``host``
    server_name: str | None = None


_Block = TypeVar("_Block", TlsDefaults, ListenerTls, ModalityTls)
_Inner = TypeVar("_Inner", ListenerTls, ModalityTls)


def check_tls(settings: Settings, tree: Block, problems: Problems) -> None:
    """A listener has a certificate, a key has its certificate, and there is somebody to ask for names."""
    _check_empty(tree, problems)
    for place, listener in enumerate(settings.listeners):
        if listener.tls is not None:
            _check_own(listener.tls, ("listeners", place, "tls"), settings, tree, problems)
    for name, modality in settings.modalities.items():
        if modality.tls is not None:
            _check_key(modality.tls, ("modalities", name, "tls"), tree, problems)
        if modality.certificate_names and not any(
            listener.tls is not None and listener.tls.client_ca for listener in settings.listeners
        ):
            mark = walk(tree, ("modalities", name, "certificate_names")).mark
            problems.add(
                mark,
                f"modalities.{name}.certificate_names: no listener asks callers for a certificate "
                "(tls.client_ca), so it could never come in",
            )
    for name, destination in settings.destinations.items():
        if destination.tls is not None:
            _check_key(destination.tls, ("destinations", name, "tls"), tree, problems)
    if settings.http.tls is not None:
        _check_own(settings.http.tls, ("http", "tls"), settings, tree, problems)
    _check_key(settings.tls, ("tls",), tree, problems)


def _check_own(
    tls: ListenerTls, where: tuple[object, ...], settings: Settings, tree: Block, problems: Problems
) -> None:
    """Who listens has a certificate."""
    if not (tls.certificate or settings.tls.certificate):
        name = ".".join(map(str, where))
        problems.add(walk(tree, where).mark, f"{name}: give it a certificate, or one for all in 'tls'")
    _check_key(tls, where, tree, problems)


def _check_empty(tree: Block, problems: Problems) -> None:
    """``tls:`` with nothing behind it would mean a plain connection, and look like the opposite."""
    listeners, modalities = tree.get("listeners"), tree.get("modalities")
    places = [("listeners", n) for n in range(len(listeners.items) if isinstance(listeners, Listing) else 0)]
    destinations = tree.get("destinations")
    names = [("modalities", name) for name in (modalities.keys if isinstance(modalities, Block) else ())]
    names += [
        ("destinations", name) for name in (destinations.keys if isinstance(destinations, Block) else ())
    ]
    for where in (*places, *names, ("http",)):
        block = walk(tree, where)
        tls = block.get("tls") if isinstance(block, Block) else None
        if isinstance(tls, Scalar) and tls.value is None:
            name = ".".join(map(str, where))
            problems.add(tls.mark, f"{name}.tls: write tls: {{}} for TLS with what 'tls' at the top says")


def _check_key(
    tls: TlsDefaults | ListenerTls | ModalityTls, where: tuple[object, ...], tree: Block, problems: Problems
) -> None:
    if tls.key and not tls.certificate:
        name = ".".join(map(str, where))
        problems.add(walk(tree, (*where, "key")).mark, f"{name}.key: its certificate is missing beside it")


def resolve_tls(settings: Settings, base: Path) -> Settings:
    """Every block whole, with what the top one gives, and every path absolute."""
    top = _absolute(settings.tls, base)
    listeners = tuple(
        replace(one, tls=whole_block(one.tls, top, base)) if one.tls is not None else one
        for one in settings.listeners
    )
    modalities = {
        name: replace(one, tls=whole_block(one.tls, top, base)) if one.tls is not None else one
        for name, one in settings.modalities.items()
    }
    destinations = {
        name: replace(one, tls=_of_web(one, top, base)) for name, one in settings.destinations.items()
    }
    http = settings.http
    if http.tls is not None:
        http = replace(http, tls=_inherit(_absolute(http.tls, base), top))
    return replace(
        settings, tls=top, listeners=listeners, modalities=modalities, destinations=destinations, http=http
    )


def _of_web(destination: Destination, top: TlsDefaults, base: Path) -> ModalityTls | None:
    """Of a DICOMweb service: where nothing is said, what this machine trusts, as for any web address."""
    if destination.tls is not None:
        return whole_block(destination.tls, top, base)
    is_secure = destination.dicomweb is not None and destination.dicomweb.startswith("https:")
    return ModalityTls(profile=top.profile) if is_secure else None


def whole_block(tls: _Inner, top: TlsDefaults, base: Path) -> _Inner:
    """A block whole, with paths absolute; ``top`` is so already."""
    return _inherit(_absolute(tls, base), top)


def _inherit(tls: _Inner, top: TlsDefaults) -> _Inner:
    """A certificate comes with its key, and revocation lists with the authorities that issue them."""
    whole = replace(tls, profile=tls.profile or top.profile)
    if not tls.certificate:
        whole = replace(whole, certificate=top.certificate, key=top.key, key_password=top.key_password)
    if isinstance(whole, ModalityTls) and whole.ca is None:
        whole = replace(whole, ca=top.ca, crl=whole.crl or top.crl)
    return whole


def _absolute(tls: _Block, base: Path) -> _Block:
    given = {name: getattr(tls, name) for name in FILES if getattr(tls, name, None)}
    paths: dict[str, object] = {name: absolute_path(path, base) for name, path in given.items()}
    return replace(tls, crl=tuple(absolute_path(path, base) for path in tls.crl), **paths)  # type: ignore[arg-type]


def absolute_path(path: str, base: Path) -> str:
    """Relative paths are meant from the configuration's own directory."""
    return os.path.normpath(base / Path(path).expanduser())
