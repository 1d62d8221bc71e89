"""Floor 2, what people say, and what it costs.

Chooses which results to ask about within a budget, asks, and turns answers into judgments; protocols that ask are
generators without I/O. May import ``wholepage.pages`` only, never torch; it does not know rankers, evaluation or
collections.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wholepage.annotation.active import select_active
    from wholepage.annotation.agreement import krippendorff_alpha
    from wholepage.annotation.anchors import bisect_grades, worst_case_questions
    from wholepage.annotation.buying import Opening, Purchase, buy, opening
    from wholepage.annotation.campaign import Campaign
    from wholepage.annotation.certificate import audit_certificate, audits_needed
    from wholepage.annotation.confusion_fit import fit_confusions
    from wholepage.annotation.engines import engine_of, search, weighed
    from wholepage.annotation.hmm_fit import fit_hmm
    from wholepage.annotation.model_judge import ModelAnnotator
    from wholepage.annotation.oracles import NoisyAnnotator, PerfectAnnotator, ask
    from wholepage.annotation.plan import Plan
    from wholepage.annotation.preference_search import search_stretches
    from wholepage.annotation.selection import Selection, select
    from wholepage.annotation.stand_ins import CarefulAnnotator, SpammingAnnotator
    from wholepage.annotation.strategies import Strategy, parse_strategy

__all__ = [
    "Campaign",
    "CarefulAnnotator",
    "ModelAnnotator",
    "NoisyAnnotator",
    "Opening",
    "PerfectAnnotator",
    "Plan",
    "Purchase",
    "Selection",
    "SpammingAnnotator",
    "Strategy",
    "ask",
    "audit_certificate",
    "audits_needed",
    "bisect_grades",
    "buy",
    "engine_of",
    "fit_confusions",
    "fit_hmm",
    "krippendorff_alpha",
    "opening",
    "parse_strategy",
    "search",
    "search_stretches",
    "select",
    "select_active",
    "weighed",
    "worst_case_questions",
]

_WHERE = {
    "active": ("select_active",),
    "agreement": ("krippendorff_alpha",),
    "anchors": ("bisect_grades", "worst_case_questions"),
    "buying": ("Opening", "Purchase", "buy", "opening"),
    "campaign": ("Campaign",),
    "certificate": ("audit_certificate", "audits_needed"),
    "confusion_fit": ("fit_confusions",),
    "engines": ("engine_of", "search", "weighed"),
    "hmm_fit": ("fit_hmm",),
    "model_judge": ("ModelAnnotator",),
    "oracles": ("NoisyAnnotator", "PerfectAnnotator", "ask"),
    "plan": ("Plan",),
    "preference_search": ("search_stretches",),
    "selection": ("Selection", "select"),
    "stand_ins": ("CarefulAnnotator", "SpammingAnnotator"),
    "strategies": ("Strategy", "parse_strategy"),
}


def __getattr__(name: str) -> Any:
    for module, names in _WHERE.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
