"""Scaling strategies: from a network and a factor, or a budget, to a larger or smaller network."""

from rescale.scaling.factor import scaled
from rescale.scaling.growth import analytic, analytic_groups, measured
from rescale.scaling.resnet_rs import rule_for, solve_rs
from rescale.scaling.scale import Runtime, is_rs_rule, meet, predicted, scale, scale_to
from rescale.scaling.solve import Measure, Solved, solve
from rescale.scaling.strategy import STRATEGIES, Strategy, check_alpha, exponents_of, fast, strategy_of

__all__ = [
    "STRATEGIES",
    "Measure",
    "Runtime",
    "Solved",
    "Strategy",
    "analytic",
    "analytic_groups",
    "check_alpha",
    "exponents_of",
    "fast",
    "is_rs_rule",
    "measured",
    "meet",
    "predicted",
    "rule_for",
    "scale",
    "scale_to",
    "scaled",
    "solve",
    "solve_rs",
    "strategy_of",
]
