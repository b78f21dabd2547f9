"""The kinds of studies. Each is a module that offers what `Kind` describes."""

from typing import cast

from rescale.errors import UserError, nearest
from rescale.studies.kinds import additive, pareto
from rescale.studies.kinds.kind import Analysis, Kind, Outcome, Preset, Request
from rescale.studies.plan import Plan

KINDS: dict[str, Kind] = {"pareto": cast(Kind, pareto), "additive": cast(Kind, additive)}


def kind_of(plan: Plan) -> Kind:
    """The kind of a plan. Raises UserError if this version does not know it."""
    if plan.kind not in KINDS:
        raise UserError(f"kind {plan.kind}: no such kind of study; {nearest(plan.kind, KINDS)}")
    return KINDS[plan.kind]


__all__ = ["KINDS", "Analysis", "Kind", "Outcome", "Preset", "Request", "kind_of"]
