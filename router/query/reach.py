"""Who may be sent what lies here as it lies here: nobody for whom rules edit what they send. Pure.

A delivery with edits never leaves without them, and a question is no way around that: what a query tells and
a retrieval sends is what was received.
"""

from __future__ import annotations

from router.config.settings import Operation, Settings
from router.rules import RuleSet


def sent_edited(settings: Settings, rule_set: RuleSet) -> frozenset[str]:
    """The destinations for which some rule edits, the members of groups among them."""
    found: set[str] = set()
    for rule in rule_set.rules:
        if rule.edits:
            for name in rule.send:
                found.add(name)
                if name in settings.groups:
                    found.update(settings.groups[name].members)
    return frozenset(found)


def may_see(settings: Settings, rule_set: RuleSet, ae_title: str) -> bool:
    """Whether whoever goes by this AE title may be told of what was received, and be sent it."""
    edited = sent_edited(settings, rule_set)
    return not any(
        settings.modalities[name].ae_title == ae_title for name in edited & settings.modalities.keys()
    )


def destination_of(settings: Settings, ae_title: str) -> str | None:
    """The name of the modality to which a C-MOVE sends: one of this AE title that may be sent to."""
    return next(
        (
            name
            for name, modality in settings.modalities.items()
            if modality.ae_title == ae_title and Operation.STORE in modality.send
        ),
        None,
    )
