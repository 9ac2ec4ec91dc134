"""Files that cannot be used are named with what is wrong; those that can are read again when they change."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from router.config.settings import Listener, Modality, Settings
from router.config.tls import ListenerTls, ModalityTls, TlsProfile
from router.errors import TlsUnusable
from router.net.certificates import describe, names_of
from router.net.credentials import SESSIONS_KEPT, Credentials, complaints
from router.net.keyring import Keyring
from tests.peers.certificates import Authority, Issued

SECRET, WRONG = "s3cret", "wr0ng"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def encrypt(issued: Issued, password: str) -> str:
    """The key again, encrypted, in a file of its own."""
    key = serialization.load_pem_private_key(Path(issued.key).read_bytes(), None)
    path = Path(issued.key + ".encrypted")
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password.encode()),
        )
    )
    return str(path)


def write(path: str, content: str) -> str:
    Path(path).write_text(content)
    return path


Broken = Callable[[Authority, Issued], ListenerTls]
BROKEN: dict[str, tuple[Broken, str, str]] = {  # which key of the block, and what is said
    "no file": (
        lambda a, i: ListenerTls(certificate="/nowhere.pem"),
        "certificate",
        "cannot be read: No such",
    ),
    "no certificate in it": (
        lambda a, i: ListenerTls(certificate=i.key, key=i.key),
        "certificate",
        "is no PEM file",
    ),
    "DER": (
        lambda a, i: ListenerTls(certificate=_der(a, i), key=i.key),
        "certificate",
        "openssl x509 -inform DER",
    ),
    "broken certificate": (
        lambda a, i: ListenerTls(
            certificate=write(f"{i.certificate}.x", Path(i.certificate).read_text().replace("MII", "NII"))
        ),
        "certificate",
        "a certificate in",
    ),
    "no key in it": (
        lambda a, i: ListenerTls(certificate=i.certificate, key=i.certificate),
        "key",
        "has no private key",
    ),
    "no key at all": (lambda a, i: ListenerTls(certificate=i.certificate), "key", "has no private key"),
    "another key": (
        lambda a, i: ListenerTls(certificate=i.certificate, key=a.issue("b").key),
        "key",
        "does not match the certificate",
    ),
    "no password": (
        lambda a, i: ListenerTls(certificate=i.certificate, key=encrypt(i, SECRET)),
        "key",
        "is encrypted: give its key_password",
    ),
    "wrong password": (
        lambda a, i: ListenerTls(certificate=i.certificate, key=encrypt(i, SECRET), key_password=WRONG),
        "key_password",
        "does not open the key",
    ),
    "password for nothing": (
        lambda a, i: ListenerTls(certificate=i.certificate, key=i.key, key_password=WRONG),
        "key_password",
        "is not encrypted",
    ),
    "no authority": (
        lambda a, i: ListenerTls(certificate=i.certificate, key=i.key, client_ca="/nowhere.pem"),
        "client_ca",
        "cannot be read",
    ),
    "no revocation list": (
        lambda a, i: ListenerTls(certificate=i.certificate, key=i.key, client_ca=a.ca, crl=(a.ca,)),
        "crl",
        "is no revocation list in PEM form",
    ),
}


def _der(authority: Authority, issued: Issued) -> str:
    path = authority.directory / "server.der"
    path.write_bytes(issued.der)
    return str(path)


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_used_is_named(authority: Authority, name: str) -> None:
    make, key, sentence = BROKEN[name]
    tls = make(authority, authority.issue("server"))
    with pytest.raises(TlsUnusable) as caught:
        Credentials(tls, "listener")
    assert caught.value.key == key
    assert sentence in str(caught.value)
    assert SECRET not in str(caught.value) and WRONG not in str(caught.value)
    assert SECRET not in repr(tls) and WRONG not in repr(tls)


def test_a_key_in_the_certificates_file_and_one_with_a_password(authority: Authority) -> None:
    issued = authority.issue("server")
    both = write(
        f"{issued.certificate}.both", Path(issued.certificate).read_text() + Path(issued.key).read_text()
    )
    Credentials(ListenerTls(certificate=both), "listener")
    encrypted = encrypt(issued, SECRET)
    Credentials(ListenerTls(certificate=issued.certificate, key=encrypted, key_password=SECRET), "listener")


def test_all_that_is_wrong_is_told_with_its_place(authority: Authority) -> None:
    issued = authority.issue("server")
    settings = Settings(
        listeners=(
            Listener(port=1),
            Listener(port=2, tls=ListenerTls(certificate="/nowhere.pem")),
            Listener(port=3, tls=ListenerTls(certificate=issued.certificate, key=issued.key)),
        ),
        modalities={"a": Modality(ae_title="A", host="h", port=1, tls=ModalityTls(ca="/nowhere.pem"))},
    )
    found = list(complaints(settings))
    assert [location for location, _ in found] == [
        ("listeners", 1, "tls", "certificate"),
        ("modalities", "a", "tls", "ca"),
    ]
    with pytest.raises(TlsUnusable, match=r"listener 2: /nowhere\.pem cannot be read"):
        Keyring(settings)


@pytest.mark.parametrize("profile", TlsProfile)
def test_profiles(authority: Authority, profile: TlsProfile) -> None:
    context = Credentials(ModalityTls(ca=authority.ca, profile=profile), "modality").context
    suites = {cipher["name"] for cipher in context.get_ciphers()}
    is_legacy = profile is TlsProfile.LEGACY
    assert "ECDHE-RSA-AES256-GCM-SHA384" in suites
    assert (context.minimum_version < ssl.TLSVersion.TLSv1_2) is is_legacy
    assert any("-SHA" in name and "GCM" not in name and "CHACHA" not in name for name in suites) is is_legacy
    assert any(name.startswith("DHE-") for name in suites) is (profile is not TlsProfile.RFC8996)
    assert not any("NULL" in name or "RC4" in name for name in suites)
    assert (context.security_level == 0) is is_legacy


def test_the_default_profile_is_bcp_195s(authority: Authority) -> None:
    context = Credentials(ModalityTls(ca=authority.ca), "modality").context
    older = {c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"}
    assert older == {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
    }
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_change_is_taken_and_a_broken_one_is_not(authority: Authority) -> None:
    issued = authority.issue("server")
    keys = Credentials(ListenerTls(certificate=issued.certificate, key=issued.key), "listener")
    before = keys.context
    assert not keys.has_changed()
    content = Path(issued.key).read_text()
    Path(issued.key).write_text("half a file")
    assert keys.has_changed()
    with pytest.raises(TlsUnusable):
        keys.reload()
    assert keys.context is before
    assert not keys.has_changed()  # it is tried again when it changes again, not every minute
    Path(issued.key).write_text(content)
    assert keys.has_changed()
    keys.reload()
    assert keys.context is not before


def test_a_link_that_leads_elsewhere_is_a_change(authority: Authority, tmp_path: Path) -> None:
    """As Kubernetes swaps the files of a secret."""
    first, second = authority.issue("first"), authority.issue("second")
    for name, issued in (("1", first), ("2", second)):
        (tmp_path / name).mkdir()
        os.rename(issued.certificate, tmp_path / name / "tls.crt")
        os.rename(issued.key, tmp_path / name / "tls.key")
    (tmp_path / "data").symlink_to("1")
    keys = Credentials(
        ListenerTls(certificate=str(tmp_path / "data/tls.crt"), key=str(tmp_path / "data/tls.key")),
        "listener",
    )
    (tmp_path / "data").unlink()
    (tmp_path / "data").symlink_to("2")
    assert keys.has_changed()
    keys.reload()


def test_equal_blocks_share_their_credentials(authority: Authority) -> None:
    tls = ModalityTls(ca=authority.ca)
    names = ("a", "b", "c")
    modalities = {n: Modality(ae_title=n.upper(), host=n, port=104, tls=tls) for n in names}
    ring = Keyring(Settings(modalities=modalities))
    assert len(list(ring)) == 1
    assert ring.clients[ModalityTls(ca=authority.ca)] is next(iter(ring))


def test_sessions_are_bounded_and_bound_to_their_context(authority: Authority) -> None:
    keys = Credentials(ModalityTls(ca=authority.ca), "modality")
    session = object()
    for port in range(SESSIONS_KEPT + 5):
        keys.remember(("h", port), keys.context, session)  # type: ignore[arg-type]
    assert len(keys._sessions) == SESSIONS_KEPT
    assert keys.session(("h", 0)) is None
    old = keys.context
    keys.reload()
    keys.remember(("h", 1), old, session)  # type: ignore[arg-type]
    assert keys.session(("h", 1)) is None


def test_a_certificate_goes_by_all_its_names(authority: Authority) -> None:
    issued = authority.issue("ct", "CT1.radiology.example", "10.1.0.21", common_name="CT One")
    found = describe(issued.der)
    assert found.names == ("ct1.radiology.example", "10.1.0.21")
    names = names_of(issued.der)
    assert {"ct1.radiology.example", "10.1.0.21", "ct one", f"sha256:{found.fingerprint}"} <= names
    assert names_of(b"no certificate") == frozenset()
