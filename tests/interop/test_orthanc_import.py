"""A gateway with an imported configuration lets in, and refuses, whom the Orthanc that it came from does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import yaml

from router import samples
from tests.peers.gateway import Gateway, router
from tests.peers.orthanc import Orthanc

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

OPTIONS = {
    "DicomAet": "HOSPITAL",
    "DicomCheckCalledAet": True,
    "DicomAlwaysAllowStore": False,
    "DicomModalities": {
        "ct": ["CT1", "127.0.0.1", 104],
        "viewer": {"AET": "VIEWER", "Host": "127.0.0.1", "Port": 104, "AllowStore": False},
        "mute": {"AET": "MUTE", "Host": "127.0.0.1", "Port": 104, "AllowEcho": False},
        "elsewhere": {"AET": "ELSEWHERE", "Host": "192.0.2.1", "Port": 104},
    },
    "DicomCheckModalityHost": True,
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Orthanc, and a gateway that was made of its configuration."""
    directory = tmp_path_factory.mktemp("import")
    image = samples.generate(directory, ct_slices=1, mr_slices=0, bundled=False)[0].path
    with Orthanc(directory / "orthanc", OPTIONS) as orthanc:
        done = router("import", str(directory / "orthanc" / "orthanc.json"))
        assert done.returncode == 0, done.stderr
        configuration = yaml.safe_load(done.stdout)
        for key in ("data_dir", "listeners", "http"):  # a test has its own places
            del configuration[key]
        with Gateway(directory / "gateway", json.loads(json.dumps(configuration))) as gateway:
            yield SimpleNamespace(ports=(orthanc.port, gateway.port), image=image)


@pytest.mark.parametrize("called", ["HOSPITAL", "ANOTHER"])
@pytest.mark.parametrize("operation", ["echo", "send"])
@pytest.mark.parametrize("calling", ["CT1", "VIEWER", "MUTE", "ELSEWHERE", "STRANGER"])
def test_both_let_the_same_callers_do_the_same(
    pair: SimpleNamespace, calling: str, operation: str, called: str
) -> None:
    files = [str(pair.image), "--quiet"] if operation == "send" else []
    orthanc, ours = (
        router(operation, f"{called}@127.0.0.1:{port}", *files, "--calling-ae", calling).returncode == 0
        for port in pair.ports
    )
    if (calling, operation, called) == ("ELSEWHERE", "echo", "HOSPITAL"):
        assert (ours, orthanc) == (False, True), "the one difference, which the report tells of"
    else:
        assert ours == orthanc


def test_the_callers_of_that_table_are_told_apart(pair: SimpleNamespace) -> None:
    """Not everybody is let in, and not everybody is refused."""
    answers = {
        (calling, operation): router(
            operation, f"HOSPITAL@127.0.0.1:{pair.ports[1]}", *files, "--calling-ae", calling
        ).returncode
        for calling in ("CT1", "VIEWER", "STRANGER")
        for operation, files in (("echo", []), ("send", [str(pair.image), "--quiet"]))
    }
    assert [answers[one] == 0 for one in sorted(answers)] == [True, True, True, False, True, False]
