"""The learning rate as a pure function of the step."""

import math

from rescale.recipes.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate of a resolved recipe at `step`, which is 0 to recipe.total_steps(steps_per_epoch) - 1.

    The schedule starts at step 0, including warm-up.
    """
    if recipe.schedule_by == "epoch":
        return _by_epoch(recipe, step // steps_per_epoch, steps_per_epoch)
    return _by_step(recipe, step, steps_per_epoch)


def _by_step(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate changes every step.

    Warm-up is linear, from warmup_from x peak to the peak; with the cosine schedule, to the cosine's value at
    the end of warm-up (1.5992, not 1.6, for ResNet-RS at batch 4096). Each is as in its authors' code.
    """
    total = recipe.total_steps(steps_per_epoch)
    warmup_steps = float(recipe.warmup_epochs) * steps_per_epoch
    if step >= warmup_steps:
        return _decayed(recipe, step / total, step / steps_per_epoch)
    peak = float(recipe.lr)
    target = _decayed(recipe, warmup_steps / total, 0.0) if recipe.schedule == "cosine" else peak
    start = recipe.warmup_from * peak
    return start + (target - start) * step / warmup_steps


def _by_epoch(recipe: Recipe, epoch: int, steps_per_epoch: int) -> float:
    """The rate is constant within an epoch.

    Warm-up lasts whole epochs and multiplies the schedule, as in the code of the authors of Fast Scaling. It
    is rounded down, so that a run of one epoch trains.
    """
    rate = _decayed(recipe, epoch * steps_per_epoch / recipe.total_steps(steps_per_epoch), epoch)
    warmup_epochs = int(float(recipe.warmup_epochs))
    if epoch >= warmup_epochs:
        return rate
    return rate * (recipe.warmup_from + (1 - recipe.warmup_from) * epoch / warmup_epochs)


def _decayed(recipe: Recipe, share: float, epochs: float) -> float:
    """The rate without warm-up, after the fraction `share` of the run, which is `epochs` epochs."""
    peak = float(recipe.lr)
    if recipe.schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    if recipe.schedule == "stepwise":
        # tolerance for rounding: 30 of 90 epochs must reach the milestone 1/3
        passed = sum(share >= milestone - 1e-12 for milestone in recipe.milestones)
        return peak * recipe.step_factor**passed
    if recipe.schedule == "exponential":
        power = epochs / recipe.decay_epochs if recipe.decay_epochs else share
        if recipe.staircase and recipe.decay_epochs:
            power = math.floor(power + 1e-12)
        return peak * recipe.decay_rate**power
    return peak
