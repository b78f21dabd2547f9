"""Scale a network by a factor, or to a budget."""

from collections.abc import Mapping
from typing import Literal, Protocol, TypeGuard

from rescale.cost import Cost, cost
from rescale.errors import UserError
from rescale.network import Network
from rescale.scaling.factor import check_factor, scaled
from rescale.scaling.resnet_rs import solve_rs
from rescale.scaling.solve import Measure, Solved, solve
from rescale.scaling.strategy import Strategy, check_alpha, strategy_of

RS_RULES = ("rs-depth", "rs-width")


class Runtime(Protocol):
    """A predictor of times: a `RuntimeModel` as written by `rescale calibrate`, or anything similar."""

    def seconds(
        self, network: Network, mode: Literal["train", "infer"] = "infer", batch: int | None = None
    ) -> float:
        """Seconds of a step of `batch` images."""
        ...


def scale(
    network: Network,
    strategy: str | Mapping[str, float] | Strategy,
    *,
    factor: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    activations: float | None = None,
    latency: float | None = None,
    runtime: Runtime | None = None,
    mode: Literal["train", "infer"] = "infer",
    alpha: float | None = None,
) -> Network:
    """Scale a network by a factor, or to a budget of one measure.

    Exactly one of `factor`, `macs`, `params`, `activations` and `latency` is given. For a budget the result
    is the network closest to it; `rescale.scaling.scale_to` also returns what was reached.

    Args:
        network: the network to scale.
        strategy: a name (d, w, r, dw, wr, dr, dwr, dWr, compound, fast, rs-depth, rs-width), a type name of
            the fast-scaling authors (`d1_w8_g8_r1`, `wg`, `g`), a mapping of exponents (depth, width,
            resolution and optionally group), or a `Strategy`.
        factor: of the multiply-adds, from 1e-6 to 1e6, where the strategy's exponents sum to 1; up to
            rounding.
        macs: budget of multiply-adds per image, above 0.
        params: budget of parameters, above 0.
        activations: budget of activations per image, above 0.
        latency: budget in seconds per step, above 0, as `runtime` predicts it at the batch of its
            calibration. `rescale.scale_to_latency` also measures.
        runtime: a `RuntimeModel`; given together with `latency`.
        mode: what a step is for `latency`: `train` for a whole training step, `infer` for a forward pass.
        alpha: share of the width in the strategy `fast`, in [0, 1]; only for that strategy.

    Returns:
        The scaled network; it can be built.

    Raises:
        UserError: not exactly one of factor and budgets is given; only one of latency and runtime is given;
            the strategy is unknown or does not fit the network or the measure (rs-depth and rs-width take
            `factor` and `macs` only); a number is out of its range; the budget is out of reach.

    Source:
        Fast and Accurate Model Scaling (Dollár et al., 2021); compound: EfficientNet (Tan and Le, 2019);
        rs-depth and rs-width: Revisiting ResNets (Bello et al., 2021), section 6.
    """
    if (latency is None) != (runtime is None):
        raise UserError("latency and runtime go together: runtime=rescale.RuntimeModel.read('device.json')")
    budgets = {"macs": macs, "params": params, "activations": activations}
    wanted = {name: value for name, value in budgets.items() if value is not None}
    if len(wanted) + (factor is not None) + (latency is not None) != 1:
        raise UserError("give one of factor, macs, params, activations and latency")
    if latency is not None and runtime is not None:
        return meet(network, strategy, predicted(runtime, mode), latency, "s", alpha).network
    if factor is not None:
        check_factor(factor)
        if is_rs_rule(strategy):
            return scale_to(network, strategy, "macs", cost(network).macs * factor, alpha).network
        return scaled(network, strategy_of(strategy, alpha), factor)
    ((name, value),) = wanted.items()
    return scale_to(network, strategy, name, value, alpha).network


def is_rs_rule(strategy: object) -> TypeGuard[str]:
    """Whether a strategy is one of ResNet-RS's two rules."""
    return isinstance(strategy, str) and strategy in RS_RULES


def scale_to(
    network: Network,
    strategy: str | Mapping[str, float] | Strategy,
    measured_by: str,
    target: float,
    alpha: float | None = None,
) -> Solved:
    """Scale to a budget of macs, params or activations, and return what was reached.

    Raises UserError, naming the closest network, if no factor reaches the budget.
    """
    at = Cost._fields.index(measured_by)

    def measure(candidate: Network) -> float:
        return cost(candidate)[at]

    if is_rs_rule(strategy) and measured_by == "macs":
        check_alpha(alpha, strategy)
        _above_0(target, measured_by)
        return _reached(network, solve_rs(network, strategy, measure, target, flops=2 * target), measured_by)
    return meet(network, strategy, measure, target, measured_by, alpha)


def meet(
    network: Network,
    strategy: str | Mapping[str, float] | Strategy,
    measure: Measure,
    target: float,
    unit: str,
    alpha: float | None = None,
) -> Solved:
    """Scale to a budget of any measure; `unit` names it in errors, such as macs or s.

    Raises UserError, naming the closest network, if no factor reaches the budget.
    """
    _above_0(target, unit)
    if is_rs_rule(strategy):
        raise UserError(f"{strategy} takes its resolution from multiply-adds; give macs")
    return _reached(network, solve(network, strategy_of(strategy, alpha), measure, target), unit)


def predicted(
    runtime: Runtime, mode: Literal["train", "infer"] = "infer", batch: int | None = None
) -> Measure:
    """The predicted time as a measure."""
    return lambda network: runtime.seconds(network, mode, batch)


def _above_0(target: float, unit: str) -> None:
    if not target > 0:
        raise UserError(f"a budget of {unit} is above 0; found {target:g}")


def _reached(network: Network, solved: Solved, unit: str) -> Solved:
    """Return the solution if the budget was within reach, else raise UserError."""
    if not solved.reachable:
        side = "smallest" if solved.reached > solved.wanted else "largest"
        raise UserError(
            f"{network.name}: {solved.wanted:g} {unit} are out of reach; the {side} network on this way, "
            f"{solved.network.name}, has {solved.reached:g}"
        )
    return solved
