"""Rules in order, and what they decide for one instance."""

from __future__ import annotations

from dataclasses import dataclass

from router.dicom.header import Header
from router.dicom.syntaxes import shown
from router.dicom.tagpath import TagPath
from router.model import Decision, Edit, Form, Priority, RuleTrace
from router.rules.conditions import Check, sentences
from router.rules.subjects import Facts

UNMATCHED = "unmatched"  # the name under which the trace says what became of an instance that no rule wanted

_RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, compiled."""

    name: str
    when: Check | None  # None: everything
    unless: Check | None
    send: tuple[str, ...]  # none, with ``stop``: the instance goes nowhere on purpose
    priority: Priority | None  # None: the sender's
    stop: bool
    transcode: Form | None  # in which form to send; None: as the destination takes it
    place: str  # file:line:column
    edits: tuple[Edit, ...] = ()  # made in what it sends

    def matches(self, facts: Facts, header: Header) -> bool:
        """Whether the rule applies, without saying why."""
        if self.when is not None and not self.when(facts, header)[0]:
            return False
        return self.unless is None or not self.unless(facts, header)[0]

    def judge(self, facts: Facts, header: Header) -> RuleTrace:
        """Whether the rule applies, and why."""
        because = "it applies to everything"
        if self.when is not None:
            holds, told = self.when(facts, header)
            because = sentences(told, facts, header)
            if not holds:
                return RuleTrace(rule=self.name, matched=False, because=because)
        if self.unless is not None:
            holds, told = self.unless(facts, header)
            if holds:
                return RuleTrace(
                    rule=self.name,
                    matched=False,
                    because=f"excepted by unless: {sentences(told, facts, header)}",
                )
        return RuleTrace(rule=self.name, matched=True, because=because)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """All rules, immutable: a reload swaps the whole."""

    rules: tuple[Rule, ...] = ()
    asked: frozenset[TagPath] = frozenset()  # what the header scanner must look for
    unmatched: str = "hold"  # hold | drop | a destination's name

    def decide(self, facts: Facts, header: Header) -> Decision:
        """What becomes of an instance.

        Where nothing is to be sent, and the data set could not be read as far as the rules needed, it is held
        even if ``unmatched`` is drop: nothing is dropped because it could not be parsed.
        """
        trace: list[RuleTrace] = []
        send: dict[str, Form | None] = {}  # the rule that names a destination first says in which form
        edits: dict[str, dict[Edit, None]] = {}  # those of all rules that name it, none of them twice
        priority: Priority | None = None
        matched = False
        for place, rule in enumerate(self.rules):
            judged = rule.judge(facts, header)
            trace.append(judged)
            if not judged.matched:
                continue
            matched = True
            for name in rule.send:
                send.setdefault(name, rule.transcode)
                if rule.edits:
                    edits.setdefault(name, {}).update(dict.fromkeys(rule.edits))
            said = rule.priority or facts.priority
            if rule.send and (priority is None or _RANK[said] < _RANK[priority]):
                priority = said
            if rule.stop:
                trace.extend(
                    RuleTrace(rule=later.name, matched=False, because=f"not read: {rule.name} says stop")
                    for later in self.rules[place + 1 :]
                )
                break
        hold = False
        if not matched:
            hold = self.unmatched == "hold"
            if self.unmatched not in ("hold", "drop"):
                send[self.unmatched] = None
        unread = "" if send or hold else _unread(header)
        if not matched or unread:
            because = "no rule matched: " + _consequence(self.unmatched)
            if unread:
                hold, because = True, f"held, not dropped: {unread}"
            trace.append(RuleTrace(rule=UNMATCHED, matched=True, because=because))
        return Decision(
            destinations=tuple(send),
            priority=priority or facts.priority,
            hold=hold,
            trace=tuple(trace),
            forms=tuple((name, form) for name, form in send.items() if form is not None),
            edits=tuple((name, tuple(made)) for name, made in edits.items()),
        )


def _unread(header: Header) -> str:
    return header.problem or ("the header is longer than what was read of it" if header.truncated else "")


def _consequence(unmatched: str) -> str:
    return {"hold": "held", "drop": "dropped"}.get(unmatched, f"sent to {unmatched}")


def explain(decision: Decision) -> str:
    """A decision as lines for a terminal: each rule with its reason, and what follows."""
    lines = [f"{'+' if judged.matched else '-'} {judged.rule}: {judged.because}" for judged in decision.trace]
    if decision.destinations:
        forms = {name: f" as {shown(form.transfer_syntax_uid)}" for name, form in decision.forms}
        names = ", ".join(name + forms.get(name, "") for name in decision.destinations)
        lines.append(f"=> {names} (priority {decision.priority})")
        lines += [f"=> for {name}: {', '.join(map(str, made))}" for name, made in decision.edits]
    else:
        lines.append("=> held for an operator" if decision.hold else "=> goes nowhere")
    return "\n".join(lines)
