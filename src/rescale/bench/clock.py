"""Time a network: halve the batch until it fits into memory, then scale the time to the requested batch."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rescale import machine
from rescale.bench.asking import ask_once, request
from rescale.bench.choose import Choice, fastest, precisions_for
from rescale.bench.measure import DidNotFit, halve_until_it_fits
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
    """Measure step time, throughput and peak memory of a model. Nothing else should run meanwhile.

    Args:
        model: the network, or a model from timm or of the user's own.
        protocol: how to time; the default is a training step of 32 images on the CPU. With `fast="auto"`
            the execution mode is chosen by a few short measurements, and so is the precision if that is
            `auto` too.
        recipe: a resolved recipe, whose rates, optimizer and weight average a training step uses; resnet-rs
            if None.
        ask: answers requests to measure, by default each in a new process; use `Workers` for many networks.

    Returns:
        Seconds for `protocol.batch` images (median and quartiles), images per second, peak memory in bytes
        and the settings that the figures depend on.

    Raises:
        JobError: not even one image fits into memory, or the model fails.

    Source: ResNet-RS, Appendix H, for the halving and for scaling the time to the first batch.
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
