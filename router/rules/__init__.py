"""Routing rules: typed predicates over an instance's origin and elements, which explain what they decide."""

from __future__ import annotations

from router.rules.loading import load
from router.rules.ruleset import UNMATCHED, Rule, RuleSet, explain
from router.rules.subjects import Facts

__all__ = ["UNMATCHED", "Facts", "Rule", "RuleSet", "explain", "load"]
