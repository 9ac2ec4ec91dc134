"""Orthanc's configuration in our words, with a report of what cannot be honoured (Orthanc 1.13).

What the two mean alike is taken over without a word. Where they differ the safer of both is taken, and said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from router.config.orthanc_file import Json, is_reference
from router.config.orthanc_notes import ALWAYS, INSTEAD, NOT_NEEDED
from router.config.settings import ALL_OPERATIONS, Operation
from router.secrets import hash_password

_OPERATIONS = (Operation.ECHO, Operation.STORE, Operation.FIND, Operation.MOVE, Operation.GET)
_ALLOWED_BY_DEFAULT = (Operation.ECHO, Operation.STORE)  # to everybody: DicomAlwaysAllowEcho, ...Store
_ARRAY = ("AET", "Host", "Port", "Manufacturer")
_TLS_FILES = {
    "certificate": "DicomTlsCertificate",
    "key": "DicomTlsPrivateKey",
    "ca": "DicomTlsTrustedCertificates",
}
_LEGACY_TLS = (1, 2, 3)  # SSLv3, TLS 1.0, TLS 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it was, and what to do about it."""

    key: str  # Orthanc's, "" where it is about the whole
    sentence: str

    def __str__(self) -> str:
        return f"{self.key}: {self.sentence}" if self.key else self.sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The configuration as it is to be written down, and the report."""

    configuration: Mapping[str, Json]
    findings: tuple[Finding, ...]
    not_needed: tuple[str, ...]  # keys that have no counterpart, and nothing is lost by it
    unknown: tuple[str, ...]


def translate(given: Mapping[str, Json], base: Path) -> Imported:
    """``given`` as ``orthanc_file.read`` found it in the folder ``base``, from which its paths are meant."""
    work = _Translation(given=given, base=base)
    work.identity()
    work.modalities()
    work.tls()
    work.http()
    work.rest()
    left = [key for key in given if key not in work.used]
    return Imported(
        configuration=work.ours,
        findings=tuple(work.findings),
        not_needed=tuple(sorted(key for key in left if key in NOT_NEEDED)),
        unknown=tuple(sorted(key for key in left if key not in NOT_NEEDED and not key.startswith("_"))),
    )


@dataclass(slots=True, kw_only=True)
class _Translation:
    given: Mapping[str, Json]
    base: Path
    ours: dict[str, Json] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    listener: dict[str, Json] = field(default_factory=dict)
    always: list[Operation] = field(default_factory=list)  # what everybody may ask
    has_tls_modality: bool = False

    def tell(self, key: str, sentence: str) -> None:
        self.findings.append(Finding(key=key, sentence=sentence))

    def take(self, key: str, default: Json = None) -> Json:
        self.used.add(key)
        return self.given.get(key, default)

    def flag(self, key: str, default: bool) -> bool:
        value = self.take(key, default)
        return self._flag(key, value, default)

    def _flag(self, key: str, value: Json, default: bool) -> bool:
        if isinstance(value, bool):
            return value
        self.tell(key, f"is {value!r}, neither true nor false: taken for {str(default).lower()}")
        return default

    def path(self, key: str) -> str | None:
        value = self.take(key)
        if not isinstance(value, str) or not value:
            return None
        return value if value.startswith("${") else os.path.normpath(self.base / value)

    # -- who we are, and who may come --------------------------------------------------------------------

    def identity(self) -> None:
        self.ours["ae_title"] = self.take("DicomAet", "ORTHANC")
        self.ours["data_dir"] = "./data"
        self.ours["listeners"] = [self.listener]
        self.listener["port"] = self.take("DicomPort", 4242)
        if not self.flag("DicomServerEnabled", True):
            self.tell("DicomServerEnabled", "a gateway always listens: here to this machine only")
            self.listener["host"] = "127.0.0.1"
        if self.flag("DicomCheckCalledAet", False):
            self.ours["check_called_ae"] = True
        limits: dict[str, Json] = {}
        if (longest := self.take("MaximumPduLength")) is not None:
            limits["max_pdu_bytes"] = longest
        if (idle := self.take("DicomScpTimeout")) is not None:
            if idle == 0:
                self.tell("DicomScpTimeout", "no association is kept for ever: it ends after 10 idle minutes")
            else:
                limits["idle_s"] = idle
        if limits:
            self.listener["limits"] = limits
        self.always = [
            one
            for one in _OPERATIONS
            if self.flag(f"DicomAlwaysAllow{one.value.title()}", one in _ALLOWED_BY_DEFAULT)
        ]
        if self.always:
            self.ours["accept_unknown"] = [one.value for one in self.always]
        self.used.add("DicomAlwaysAllowFindWorklist")  # no worklists are offered
        if not self.flag("StrictAetComparison", False):
            self.tell(
                "StrictAetComparison",
                "AE titles are compared letter by letter here: write them as the peers do, capitals too",
            )

    # -- modalities --------------------------------------------------------------------------------------

    def modalities(self) -> None:
        entries = self.take("DicomModalities", {})
        if self.flag("DicomModalitiesInDatabase", False):
            self.tell(
                "DicomModalitiesInDatabase",
                "Orthanc has its modalities in its database, and does not read DicomModalities: compare with "
                "GET /modalities?expand of the running Orthanc",
            )
        if not isinstance(entries, dict):
            self.tell("DicomModalities", "is not a mapping of names to modalities; nothing was taken of it")
            return
        check_host = self.flag("DicomCheckModalityHost", False)
        if check_host and self.always:
            self.tell(
                "DicomCheckModalityHost",
                "a modality that comes from another address is refused whole here; Orthanc lets it do what "
                "everybody may",
            )
        may_transcode = self.flag("TranscodeDicomProtocol", True)
        timeout = self.take("DicomScuTimeout")
        made: dict[str, Json] = {}
        for name, entry in entries.items():
            where = f"DicomModalities.{name}"
            one = self._modality(where, entry, timeout, may_transcode=may_transcode)
            if one is not None:
                made[name] = one | ({"check_host": True} if check_host else {})
        if made:
            self.ours["modalities"] = made

    def _modality(
        self, where: str, entry: Json, timeout: Json, *, may_transcode: bool
    ) -> dict[str, Json] | None:
        if isinstance(entry, list):
            entry = dict(zip(_ARRAY, entry, strict=False)) if len(entry) in (3, 4) else None
        if not isinstance(entry, dict) or not {"AET", "Host", "Port"} <= entry.keys():
            self.tell(where, "is neither [AET, Host, Port] nor has these keys; it was left out")
            return None
        left = dict(entry)
        one: dict[str, Json] = {
            "ae_title": left.pop("AET"), "host": left.pop("Host"), "port": left.pop("Port")
        }  # fmt: skip
        accept = self._accept(where, left)
        if len(accept) < len(ALL_OPERATIONS):
            one["accept"] = [operation.value for operation in accept]
        if local := left.pop("LocalAet", ""):
            one["local_ae_title"] = local
        if self._flag(f"{where}.UseDicomTls", left.pop("UseDicomTls", False), False):
            one["tls"] = {}
            self.has_tls_modality = True
        deliver = self._deliver(where, left, timeout, may_transcode=may_transcode)
        if deliver:
            one["deliver"] = deliver
        left.pop("Manufacturer", None)  # quirks of queries, which are not made by routing
        left.pop("RetrieveMethod", None)
        for key in left:
            self.tell(f"{where}.{key}", "is no key that Orthanc 1.13 has for a modality; it was left out")
        return one

    def _accept(self, where: str, left: dict[str, Json]) -> list[Operation]:
        """What it may ask of us. In Orthanc what everybody may ask cannot be forbidden to one."""
        accept: list[Operation] = []
        for operation in _OPERATIONS:
            key = f"Allow{operation.value.title()}"
            if self._flag(f"{where}.{key}", left.pop(key, True), True):
                accept.append(operation)
            elif operation in self.always:
                accept.append(operation)
                self.tell(
                    f"{where}.{key}",
                    f"has no effect in Orthanc, as DicomAlways{key} allows it to everybody, nor here: to "
                    f"forbid it, give the modality 'accept' without {operation.value}",
                )
        left.pop("AllowFindWorklist", None)
        asked = left.pop("AllowNAction", True), left.pop("AllowEventReport", True)
        both = left.pop("AllowStorageCommitment", None)
        if both is not None:
            asked = both, both
        if any(asked):
            accept.append(Operation.COMMIT)
            if not all(asked):
                self.tell(where, "storage commitment is one operation here, 'commit': it was left allowed")
        return accept

    def _deliver(
        self, where: str, left: dict[str, Json], timeout: Json, *, may_transcode: bool
    ) -> dict[str, Json]:
        deliver: dict[str, Json] = {}
        own = left.pop("Timeout", 0)
        seconds = own if own not in (0, None) else timeout
        if seconds == 0:
            self.tell(where, "has no timeout in Orthanc; here an answer is awaited for 60 s")
        elif seconds is not None:
            deliver |= {"connect_timeout": seconds, "response_timeout": seconds}
        allowed = self._flag(f"{where}.AllowTranscoding", left.pop("AllowTranscoding", True), True)
        if not (allowed and may_transcode):
            deliver["transcode"] = False
        return deliver

    # -- TLS ---------------------------------------------------------------------------------------------

    def tls(self) -> None:
        is_on = self.flag("DicomTlsEnabled", False)
        must_show = self.flag("DicomTlsRemoteCertificateRequired", True)
        files = {ours: self.path(key) for ours, key in _TLS_FILES.items()}
        top: dict[str, Json] = {ours: path for ours, path in files.items() if path is not None}
        version, ciphers = (
            self.take("DicomTlsMinimumProtocolVersion", 0),
            self.take("DicomTlsCiphersAccepted"),
        )
        if not (is_on or self.has_tls_modality):
            return
        if version in _LEGACY_TLS:
            top["profile"] = "legacy"
        elif version == 5:
            self.tell("DicomTlsMinimumProtocolVersion", "TLS 1.2 is accepted besides 1.3 here")
        if ciphers:
            self.tell("DicomTlsCiphersAccepted", "cipher suites come with a profile here: see docs/tls.md")
        self.ours["tls"] = top
        if is_on:
            self.listener["tls"] = {"client_ca": files["ca"]} if must_show and files["ca"] else {}
        if self.has_tls_modality:
            self.tell(
                "UseDicomTls",
                "the peer's certificate must be for its 'host' here, which Orthanc does not look at: give it "
                "tls: {server_name: NAME}, or tls: {check_hostname: false}, where it is for another name",
            )
            if not must_show:
                self.tell(
                    "DicomTlsRemoteCertificateRequired",
                    "with false Orthanc does not verify the servers that it calls; here they are verified by "
                    "tls.ca, or by what this machine trusts",
                )

    # -- HTTP --------------------------------------------------------------------------------------------

    def http(self) -> None:
        http: dict[str, Json] = {"port": self.take("HttpPort", 8042)}
        is_remote = self.flag("RemoteAccessAllowed", False)
        asks = self.take("AuthenticationEnabled", is_remote)
        users = self._users() if asks else {}
        if users:
            http["users"] = users
        if is_remote and users:
            http["host"] = "0.0.0.0"  # noqa: S104 - as it was in Orthanc
        elif is_remote:
            self.tell(
                "RemoteAccessAllowed",
                "others may reach HTTP only with users or tokens here: give it some (docs/http.md), then "
                "http.host: 0.0.0.0",
            )
        is_secure = self.flag("SslEnabled", False)
        certificate = self.path("SslCertificate")
        authorities = self.path("SslTrustedClientCertificates")
        must_show = self.flag("SslVerifyPeers", False)
        if is_secure and certificate:
            asked: dict[str, Json] = {"client_ca": authorities} if must_show and authorities else {}
            http["tls"] = {"certificate": certificate, **asked}
        if not self.flag("HttpServerEnabled", True):
            self.tell("HttpServerEnabled", "HTTP is for metrics and operators here: to this machine only")
            http.pop("host", None)
        self.ours["http"] = http

    def _users(self) -> dict[str, Json]:
        registered = self.take("RegisteredUsers", {})
        users: dict[str, Json] = {}
        for name, password in registered.items() if isinstance(registered, dict) else ():
            if not isinstance(password, str) or is_reference(password):
                self.tell(
                    f"RegisteredUsers.{name}",
                    "its password stands elsewhere: give it a password_hash ('dicom-router hash-secret')",
                )
                continue
            users[name] = {"password_hash": hash_password(password), "scopes": "admin"}
        if users:
            self.tell("RegisteredUsers", "may do everything, as in Orthanc; 'scopes: read' is for who looks")
        return users

    # -- the rest ----------------------------------------------------------------------------------------

    def rest(self) -> None:
        for key, sentence in INSTEAD.items():
            value = self.take(key)
            if key in self.given and not _is_nothing(value):
                self.tell(key, sentence)
        if self.take("OverwriteInstances", "Never") in ("Always", True):
            self.tell("OverwriteInstances", "two arrivals of one UID are two instances here, and both go on")
        for sentence in ALWAYS:
            self.tell("", sentence)


def _is_nothing(value: Json) -> bool:
    """As if it were not there."""
    return value in (None, False, "", 0) or value in ([], {})
