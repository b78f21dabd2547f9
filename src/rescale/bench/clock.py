"""Time a network: halve the batch until it fits into memory, then scale the time to the requested batch."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rescale import machine
from rescale.bench.choose import Choice, fastest, precisions_for
from rescale.bench.measure import DidNotFit, halve_until_it_fits
from rescale.bench.server import ask_once, request
from rescale.bench.timing import Timing, TimingProtocol, quartiles
from rescale.errors import JobError

if TYPE_CHECKING:
    from rescale.models import External
    from rescale.network import Network
    from rescale.recipes import Recipe

Ask = Callable[[dict[str, Any]], dict[str, Any]]


def time_network(
    model: "Network | External",
    protocol: TimingProtocol | None = None,
    recipe: "Recipe | None" = None,
    ask: Ask = ask_once,
) -> Timing:
    """Time a network by a protocol; nothing else should run on the machine meanwhile.

    The batch is halved until it fits into memory, and the times are scaled to the batch of the protocol. If
    the protocol's `fast` is `auto`, short measurements choose the execution mode, and the precision if that
    is `auto` too.

    Args:
        model: the model, at its own resolution.
        protocol: how to time; None for the defaults of `TimingProtocol`.
        recipe: a resolved recipe, whose rates, optimizer and weight average a training step has; None for
            `resnet-rs`.
        ask: answers requests for measurements. The default starts a process for each; `Server` is faster for
            many networks.

    Returns:
        Median and quartiles in seconds per step of the protocol's batch, memory in bytes, and the settings
        that they depend on.

    Raises:
        JobError: not even one image fits into memory, the model fails, or no execution mode can be measured.

    Source:
        Revisiting ResNets (Bello et al., 2021), Appendix H: the halving of the batch.
    """
    protocol = protocol or TimingProtocol()
    if protocol.fast == "auto":
        choice = _fastest(model, protocol, recipe, ask)
        protocol = replace(protocol, fast=str(choice.mode), precision=choice.precision)
    recipe_json = recipe.model_dump_json() if recipe else None

    def attempt(batch: int) -> dict[str, Any]:
        answer = ask(request(model, protocol, batch, recipe_json))
        if "error" in answer:
            raise JobError(f"{model.name}: {answer['error']}")
        if not answer["fits"]:
            raise DidNotFit
        return answer

    try:
        fitted, measured = halve_until_it_fits(protocol.batch, attempt)
    except DidNotFit:
        raise JobError(f"{model.name}: not even one image fits into memory") from None
    scale = protocol.batch / fitted
    first, median, third = (scale * value for value in quartiles(measured["seconds"]))
    return Timing(
        model=model.name,
        resolution=model.resolution,
        mode=protocol.mode,
        batch=protocol.batch,
        batch_fitted=fitted,
        latency_s=median,
        quartiles_s=(first, third),
        images_per_s=protocol.batch / median,
        memory_bytes=measured["memory_bytes"],
        precision=measured["precision"],
        fast=measured["fast"],
        settings=measured["settings"],
    )


def _fastest(
    model: "Network | External", protocol: TimingProtocol, recipe: "Recipe | None", ask: Ask
) -> Choice:
    usual = recipe.precision if recipe else machine.precisions(protocol.device)[0]

    def clock(trial: TimingProtocol) -> Timing:
        return time_network(model, trial, recipe, ask)

    return fastest(clock, protocol, precisions_for(protocol, usual))
