"""The operator's files: whatever stands in them, it is refused with a place for each problem, or loaded.

Text that begins like a list is a file of rules, which a configuration names; else it is the configuration.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

from router import config
from router.dicom.header import Header
from router.errors import ConfigurationError
from router.rules import loading
from router.rules.ruleset import RuleSet, explain
from router.rules.subjects import Facts

_WORDS = """
rule: |transcode: |audit: |${file:|users: |when: |unless: |send: |stop: true|priority: high|Modality: |
PatientID: |matches: |glob: |between: [|cidr: |exists: |ignore_case: |any: |all: |not: |size_bytes: |
received_at: |sop_class: |transfer_syntax: |InstanceNumber: |StudyDate: |listeners: |port: |modalities: |
destinations: |folder: |first_of: |one_of: |rules: |tls: |deliver: |schedule: |time_zone: |bytes_per_second: |
retention: |AllowStore: |UseDicomTls: |${X:-|${|$${|&a |*a|<<: |!!str |? |- |---|...|: |>-|"|'|\\0|\\ud800|
0x|0o|1e999|.inf|.nan|~x|null|(0019,"A",0C)|{|}|[|]
"""
WORDS = (*(word.encode() for word in _WORDS.replace("\n", "").split("|")), b"\n", b"\t", b"\xef\xbb\xbf")

_PROBLEM = re.compile(r"(?P<file>[^:\n]+)(?::(?P<line>\d+):(?P<column>\d+))?: .", re.DOTALL)
_FACTS = Facts(
    calling_ae="CT1", called_ae="ROUTER", peer="192.0.2.1", listener="11112",
    transfer_syntax="1.2.840.10008.1.2", sop_class="1.2.840.10008.5.1.4.1.1.2", size_bytes=1 << 33,
    received_at=1_700_000_000.0,
)  # fmt: skip
_MAIN = "destinations: {a: {folder: /store}, b: {folder: /other}}\nrules: [rules.yaml]\n"
_ENVIRON = {"X": "value", "LONG": "y" * 100, "EMPTY": ""}


def target(data: bytes) -> None:
    """See the module."""
    directory = _directory()
    rules, main = directory / "rules.yaml", directory / "router.yaml"
    if data.lstrip(b" \n")[:1] in (b"-", b"["):
        rules.write_bytes(data)
        main.write_text(_MAIN, encoding="utf-8")
        written = rules
    else:
        rules.write_bytes(b"- {rule: x, stop: true}\n")
        main.write_bytes(data)
        written = main
    # A glob may go through all of this machine's disks; there is nothing of ours in that.
    with patch.object(loading, "glob", lambda pattern, recursive: [str(rules)]):
        try:
            settings, rule_set = config.load_all(main, _ENVIRON)
        except ConfigurationError as error:
            _check_problems(error, written, data)
            return
    assert settings.listeners
    _check_rules(rule_set)


@cache
def _directory() -> Path:
    """In memory where that is possible; gone with the process."""
    shared = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="fuzz-config-", dir=shared if os.access(shared, os.W_OK) else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def _check_problems(error: ConfigurationError, written: Path, data: bytes) -> None:
    """Each names a file and a place in it."""
    assert error.problems
    last_line = data.count(b"\n") + data.count(b"\r") + data.count(b"\xc2\x85") + data.count(b"\xe2\x80") + 2
    for problem in error.problems:
        match = _PROBLEM.match(problem)
        assert match is not None, problem
        if match["file"] == str(written):
            assert match["line"], problem
            assert 1 <= int(match["line"]) <= last_line, problem
            assert int(match["column"]) >= 1, problem


def _check_rules(rule_set: RuleSet) -> None:
    """What has been loaded can be applied, whatever it asks for."""
    headers = (
        Header.of(dict.fromkeys(rule_set.asked, values))
        for values in (None, (), ("",), ("CT", "20240131"), (0, 1e300, -1), (10**30, "0830"))
    )
    for header in headers:
        assert explain(rule_set.decide(_FACTS, header))
