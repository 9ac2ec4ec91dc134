"""What rules decide together, and how they explain it."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.dicom import tagpath
from router.dicom.header import Header, scan
from router.dicom.syntaxes import JPEG_2000, RLE_LOSSLESS
from router.dicom.values import Value
from router.errors import ConfigurationError
from router.model import Decision, Form, Priority, Wish
from router.rules import UNMATCHED, Facts, RuleSet, explain, load

FACTS = Facts(
    calling_ae="CT1",
    called_ae="ROUTER",
    peer="10.1.0.21",
    listener="11112",
    transfer_syntax="1.2.840.10008.1.2.1",
    sop_class="1.2.840.10008.5.1.4.1.1.2",
    size_bytes=1000,
    received_at=0.0,
)
EXPLICIT = "1.2.840.10008.1.2.1"


def rules(tmp_path: Path, text: str, unmatched: str = "hold") -> RuleSet:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    return load([str(path)], tmp_path, ["pacs", "cloud", "research"], {}, unmatched=unmatched)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        rules(tmp_path, text)
    return [line.removeprefix(f"{tmp_path}/rules.yaml:") for line in caught.value.problems]


def header(**values: tuple[Value, ...] | None) -> Header:
    return Header.of({tagpath.parse(keyword): value for keyword, value in values.items()})


def decide(rule_set: RuleSet, **values: tuple[Value, ...] | None) -> Decision:
    return rule_set.decide(FACTS, header(**values))


FAN_OUT = """
- rule: trauma
  when: {Modality: [CT, PT], StudyDescription: {contains: trauma, ignore_case: true}}
  unless: {PatientID: {starts_with: TEST}}
  send: [pacs, cloud]
  priority: high
- rule: mr-research
  when: {Modality: MR}
  send: research
  priority: low
  stop: true
- rule: everything
  send: pacs
"""


def test_all_matching_rules_add_up_and_no_destination_stands_twice(tmp_path: Path) -> None:
    decision = decide(
        rules(tmp_path, FAN_OUT), Modality=("CT",), StudyDescription=("Polytrauma",), PatientID=("P1",)
    )
    assert decision.destinations == ("pacs", "cloud")
    assert (decision.priority, decision.hold) == (Priority.HIGH, False)
    assert [(t.rule, t.matched, t.because) for t in decision.trace] == [
        ("trauma", True, "Modality CT is one of CT, PT; StudyDescription Polytrauma contains 'trauma'"),
        ("mr-research", False, "Modality CT is not MR"),
        ("everything", True, "it applies to everything"),
    ]


def test_unless(tmp_path: Path) -> None:
    decision = decide(
        rules(tmp_path, FAN_OUT), Modality=("CT",), StudyDescription=("trauma",), PatientID=("TEST7",)
    )
    assert decision.destinations == ("pacs",)
    assert decision.trace[0].because == "excepted by unless: PatientID TEST7 starts with 'TEST'"


def test_stop_ends_it_and_says_so(tmp_path: Path) -> None:
    decision = decide(rules(tmp_path, FAN_OUT), Modality=("MR",))
    assert decision.destinations == ("research",)
    assert decision.priority is Priority.LOW
    assert decision.trace[2].because == "not read: mr-research says stop"
    assert not decision.trace[2].matched


def test_priority_is_the_highest_of_the_rules_that_send(tmp_path: Path) -> None:
    rule_set = rules(
        tmp_path,
        "- {rule: a, send: pacs, priority: low}\n"
        "- {rule: b, when: {Modality: CT}, send: cloud}\n"
        "- {rule: c, when: {Modality: MR}, stop: true, priority: high}\n",
    )
    assert decide(rule_set, Modality=("US",)).priority is Priority.LOW
    assert decide(rule_set, Modality=("CT",)).priority is Priority.NORMAL
    assert decide(rule_set, Modality=("MR",)).priority is Priority.LOW


@pytest.mark.parametrize(
    ("unmatched", "destinations", "hold", "because"),
    [
        ("hold", (), True, "no rule matched: held"),
        ("drop", (), False, "no rule matched: dropped"),
        ("cloud", ("cloud",), False, "no rule matched: sent to cloud"),
    ],
)
def test_unmatched(
    tmp_path: Path, unmatched: str, destinations: tuple[str, ...], hold: bool, because: str
) -> None:
    rule_set = rules(tmp_path, "- {rule: a, when: {Modality: MR}, send: pacs}", unmatched)
    decision = decide(rule_set, Modality=("CT",))
    assert (decision.destinations, decision.hold) == (destinations, hold)
    assert (decision.trace[-1].rule, decision.trace[-1].because) == (UNMATCHED, because)


def test_a_rule_that_only_stops_drops_on_purpose(tmp_path: Path) -> None:
    rule_set = rules(tmp_path, "- {rule: a, when: {Modality: MR}, stop: true}\n- {rule: b, send: pacs}")
    decision = decide(rule_set, Modality=("MR",))
    assert (decision.destinations, decision.hold) == ((), False)
    assert [t.rule for t in decision.trace] == ["a", "b"], "unmatched has no part in it"


@pytest.mark.parametrize("text", ["- {rule: a, when: {Modality: MR}, send: pacs}", "- {rule: a, stop: true}"])
def test_what_could_not_be_read_is_held_and_never_dropped(tmp_path: Path, text: str) -> None:
    rule_set = rules(tmp_path, text, "drop")
    unreadable = scan(
        bytes.fromhex("08006000 4353 0a00 4354"), EXPLICIT, rule_set.asked or [tagpath.parse("Modality")]
    )
    decision = rule_set.decide(FACTS, unreadable)
    assert (decision.destinations, decision.hold) == ((), True)
    assert decision.trace[-1].because == "held, not dropped: the data set ends in the middle of an element"


def test_what_could_be_read_is_enough_where_a_rule_sends(tmp_path: Path) -> None:
    rule_set = rules(tmp_path, "- {rule: a, when: {Modality: CT}, send: pacs}", "drop")
    broken = scan(bytes.fromhex("08006000 4353 0200 4354 08006100 4353 0a00 4354"), EXPLICIT, rule_set.asked)
    assert rule_set.decide(FACTS, broken).destinations == ("pacs",)


@pytest.mark.parametrize(
    ("when", "values", "because"),
    [
        ("{Modality: CT}", {}, "Modality is absent"),
        ("{Modality: CT}", {"Modality": ()}, "Modality (empty) is not CT"),
        ("{Modality: {exists: false}}", {}, "Modality is absent"),
        ("{Modality: {exists: false}}", {"Modality": ("CT",)}, "Modality is present"),
        ("{ImageType: LOCALIZER}", {"ImageType": ("A", "LOCALIZER")}, "ImageType LOCALIZER is LOCALIZER"),
        ("{ImageType: X}", {"ImageType": ("A", "B", "C", "D")}, "ImageType A\\B\\C and 1 more is not X"),
        ("{PatientID: X}", {"PatientID": ("y" * 99,)}, f"PatientID {'y' * 64}... is not X"),
        (
            "{SliceThickness: {gt: 1, lt: 2}}",
            {"SliceThickness": (3,)},
            "SliceThickness 3 is not one that is more than 1 and is less than 2",
        ),
        ("{size_bytes: {lt: 64MB}}", {}, "size_bytes 1000 is less than 64MB"),
        ("{sop_class: MRImageStorage}", {}, "sop_class CT Image Storage is not MR Image Storage"),
        ("{peer: {cidr: [10.0.0.0/8]}}", {}, "peer 10.1.0.21 is in 10.0.0.0/8"),
        (
            "{any: [{Modality: MR}, {Modality: CT}]}",
            {"Modality": ("US",)},
            "Modality US is not MR; Modality US is not CT",
        ),
        ("{any: [{Modality: MR}, {Modality: US}]}", {"Modality": ("US",)}, "Modality US is US"),
        ("{not: {Modality: CT}}", {"Modality": ("CT",)}, "Modality CT is CT"),
        ("{not: {Modality: CT}}", {"Modality": ("US",)}, "Modality US is not CT"),
    ],
)
def test_sentences(tmp_path: Path, when: str, values: dict[str, tuple[Value, ...]], because: str) -> None:
    rule_set = rules(tmp_path, f"- {{rule: a, when: {when}, send: pacs}}")
    judged = rule_set.rules[0].judge(FACTS, header(**values))
    assert judged.because == because
    assert judged.matched is rule_set.rules[0].matches(FACTS, header(**values))


def test_explain(tmp_path: Path) -> None:
    rule_set = rules(tmp_path, FAN_OUT)
    assert explain(decide(rule_set, Modality=("MR",))).splitlines() == [
        "- trauma: Modality MR is none of CT, PT",
        "+ mr-research: Modality MR is MR",
        "- everything: not read: mr-research says stop",
        "=> research (priority low)",
    ]
    assert explain(decide(rules(tmp_path, ""))).endswith("=> held for an operator")
    assert explain(decide(rules(tmp_path, "", "drop"))).endswith("=> goes nowhere")


def test_deciding_twice_gives_the_same(tmp_path: Path) -> None:
    rule_set = rules(tmp_path, FAN_OUT)
    assert decide(rule_set, Modality=("CT",)) == decide(rule_set, Modality=("CT",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {rule: a, send: pacz}", "1:19: unknown destination 'pacz'; did you mean 'pacs'?"),
        ("- {rule: a, send: [pacs, 5]}", "1:26: unknown destination '5'"),
        ("- {rule: a, send: []}", "1:19: 'send' names no destination"),
        ("- {rule: a, sendto: pacs, stop: true}", "1:13: unknown key 'sendto'; did you mean 'send'?"),
        ("- {rule: a, send: pacs, priority: hihg}", "did you mean 'high'?"),
        ("- {rule: a, send: pacs, priority: urgent}", "1:35: 'priority' is high, normal or low"),
        ("- {rule: a, send: pacs, stop: 'yes'}", "1:31: 'stop' is true or false"),
        ("- {rule: a, when: {Modality: CT}}", "1:3: rule 'a' does nothing"),
        ("- {send: pacs}", "1:3: a rule needs a name"),
        ("- {rule: '', send: pacs}", "1:10: a rule's name is a text of 1 to 64 characters"),
        ("- {rule: unmatched, send: pacs}", "1:10: 'unmatched' is what the trace calls it"),
        ("- {rule: a, send: pacs, after: {study_quiet_for: 60s}}", "1:25: 'after' is not supported yet"),
        ("- {rule: a, send: pacs, transcode: {to: xyz}}", "1:36: 'transcode': unknown transfer syntax 'xyz'"),
        ("- {rule: a, send: pacs, transcode: jpeg-2000-losless}", "did you mean 'jpeg-2000-lossless'?"),
        ("- {rule: a, send: pacs, transcode: jpeg-2000}", "say how lossy: {to: jpeg-2000, ratio: N}"),
        ("- {rule: a, send: pacs, transcode: {to: rle-lossless, quality: 9}}", "nothing is lost in it"),
        ("- {rule: a, send: pacs, transcode: {to: jpeg-baseline, quality: 0}}", "from 1 to 100"),
        ("- {rule: a, send: pacs, transcode: mpeg-4-high}", "can be passed through but not made"),
        ("- {rule: a, send: pacs, transcode: as-received}", "is no transfer syntax to transcode to"),
        ("- {rule: a, send: pacs}\n- {rule: a, send: pacs}", "2:10: another rule is called 'a' already"),
        ("rule: a\nsend: pacs", "1:1: a file of rules is a list"),
        ("- pacs", "1:3: expected a rule"),
        ("- {rule: a, send: pacs", "this is not YAML"),
    ],
)
def test_each_problem_is_told_at_its_place(tmp_path: Path, text: str, problem: str) -> None:
    lines = problems(tmp_path, text)
    assert len(lines) == 1, lines
    assert problem in lines[0]


def test_paths_globs_and_inline_rules_in_order(tmp_path: Path) -> None:
    for name in ("b", "a", "x.test"):
        (tmp_path / f"{name}.yaml").write_text(f"- {{rule: {name}, send: pacs}}")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.yaml").write_text("- {rule: c, send: pacs}")
    entries: list[object] = ["deep/c.yaml", {"rule": "inline", "send": "pacs"}, "*.yaml", "**/*.yaml"]
    rule_set = load(entries, tmp_path, ["pacs"], {}, unmatched="hold")
    assert [rule.name for rule in rule_set.rules] == ["c", "inline", "a", "b"]
    assert rule_set.rules[0].place == f"{tmp_path}/deep/c.yaml:1:3"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xff")
    with pytest.raises(ConfigurationError) as caught:
        load(["none.yaml", "none*.yaml", ".", "binary.yaml", 5, ""], tmp_path, [], {}, unmatched="hold")
    assert caught.value.problems == [
        f"configuration: rules: {tmp_path}/none.yaml: No such file or directory",
        "configuration: rules: no file is like none*.yaml",
        f"configuration: rules: {tmp_path}: Is a directory",
        "configuration: rules: expected a path, a glob or a rule",
        f"{tmp_path}/binary.yaml:1:1: this is not YAML: it is not UTF-8 text",
    ]


def test_environment_in_rules(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("- {rule: a, send: '${WHERE:-pacs}'}")
    assert load(["r.yaml"], tmp_path, ["pacs"], {}, unmatched="hold").rules[0].send == ("pacs",)
    assert load(["r.yaml"], tmp_path, ["x"], {"WHERE": "x"}, unmatched="hold").rules[0].send == ("x",)


def test_the_rule_that_names_a_destination_first_says_in_which_form(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "- {rule: a, send: [pacs, archive], transcode: {to: jpeg-2000, ratio: 10}}\n"
        "- {rule: b, send: [pacs, cloud], transcode: rle-lossless}\n"
        "- {rule: c, send: [archive, plain]}\n"
    )
    names = ["pacs", "archive", "cloud", "plain"]
    rule_set = load(["r.yaml"], tmp_path, names, {}, unmatched="hold")
    decision = rule_set.decide(FACTS, Header.of({}))
    lossy = Form(transfer_syntax_uid=JPEG_2000, ratio=10.0)
    assert dict(decision.forms) == {
        "pacs": lossy,
        "archive": lossy,
        "cloud": Form(transfer_syntax_uid=RLE_LOSSLESS),
    }
    assert decision.wish_for("plain") is None
    assert decision.wish_for("pacs") == Wish(form=lossy)
    assert "pacs as jpeg-2000, archive as jpeg-2000, cloud as rle-lossless, plain" in explain(decision)
