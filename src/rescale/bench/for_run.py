"""Choose a run's execution mode and precision, where measuring pays."""

import sys
from dataclasses import replace

from rescale import machine
from rescale.bench import Ask, time_network
from rescale.bench.choose import fastest, precisions_for
from rescale.bench.server import ask_once
from rescale.bench.timing import Precision, Timing, TimingProtocol
from rescale.memory import step_memory
from rescale.models import External, cost_of
from rescale.network import Network
from rescale.recipes import Recipe, Resolved
from rescale.training import Settings

WORTH_MEASURING = 600.0  # estimated seconds of a run
CPU_RATE, GPU_RATE = 3e10, 3e13  # multiply-adds per second of one core and of a GPU, for that estimate


def choose_for_run(
    model: Network | External,
    resolved: Resolved,
    images: int,
    settings: Settings,
    processes: int = 1,
    *,
    precision: Precision,
    ask: Ask = ask_once,
) -> tuple[Resolved, Settings]:
    """Set the execution mode of a run, and its precision if that is auto, by short measurements.

    Args:
        model: what is trained.
        resolved: the run's recipe.
        images: size of the training set.
        settings: how the run is executed.
        processes: number of processes that share each batch; one of them measures.
        precision: of the recipe before it was resolved.
        ask: answers requests to measure.

    Returns:
        Recipe and settings with the choice, or unchanged if the run is too short for measuring to pay.

    Raises:
        JobError: the model runs in no mode.
    """
    recipe = resolved.recipe
    protocol = TimingProtocol(
        batch=recipe.batch // (recipe.accumulate * processes),
        device=settings.device,
        precision=precision,
        threads=settings.threads or None,
    )
    if not worth_measuring(model, recipe, images // processes, settings, protocol):
        return resolved, settings

    def clock(trial: TimingProtocol) -> Timing:
        print(f"measuring {trial.fast} {trial.precision} ...", file=sys.stderr, flush=True)
        return time_network(model, trial, recipe, ask)

    steps = recipe.total_steps(images // recipe.batch) * recipe.accumulate
    choice = fastest(clock, protocol, precisions_for(protocol, recipe.precision), steps=steps)
    print(f"{choice.mode} {choice.precision}: {choice.because()}", file=sys.stderr, flush=True)
    sources = resolved.sources | ({"precision": "measured here"} if precision == "auto" else {})
    chosen = recipe.model_copy(update={"precision": choice.precision})
    return (
        replace(resolved, recipe=chosen, sources=sources),
        replace(settings, fast=str(choice.mode), fast_because=choice.because()),
    )


def worth_measuring(
    model: Network | External, recipe: Recipe, images: int, settings: Settings, protocol: TimingProtocol
) -> bool:
    """Whether the run will take many minutes or may not fit into memory.

    Estimated by arithmetic alone, so that a short run always gets the same mode.
    """
    on_gpu = settings.device.startswith("cuda")
    rate = GPU_RATE if on_gpu else CPU_RATE * (settings.threads or machine.cores())
    images_seen = images * (recipe.length_in_epochs(images) or recipe.epochs)
    estimated_seconds = 3 * cost_of(model).macs * images_seen / rate
    if estimated_seconds > WORTH_MEASURING:
        return True
    if isinstance(model, External):
        return False
    needed = step_memory(model, protocol.batch, recipe.precision, recipe.optimizer).peak  # type: ignore[arg-type]
    return needed > 0.8 * machine.free_memory(settings.device)
