"""The learning rate as a pure function of the step."""

import math

from rescale.recipes.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Rate of step `step`, from 0 to recipe.total_steps(steps_per_epoch) - 1, of a resolved recipe.

    The schedule counts from step 0, through warm-up too.
    """
    if recipe.schedule_by == "epoch":
        return _by_epoch(recipe, step // steps_per_epoch, steps_per_epoch)
    return _by_step(recipe, step, steps_per_epoch)


def _by_step(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Warm-up is a straight line from warmup_from x peak to the peak; for the cosine, to its value where
    warm-up ends (1.5992 and not 1.6 for ResNet-RS at batch 4096): each as in its authors' code.
    """
    total = recipe.total_steps(steps_per_epoch)
    warm = float(recipe.warmup_epochs) * steps_per_epoch
    if step >= warm:
        return _decayed(recipe, step / total, step / steps_per_epoch)
    peak = float(recipe.lr)
    target = _decayed(recipe, warm / total, 0.0) if recipe.schedule == "cosine" else peak
    start = recipe.warmup_from * peak
    return start + (target - start) * step / warm


def _by_epoch(recipe: Recipe, epoch: int, steps_per_epoch: int) -> float:
    """Constant within an epoch; warm-up takes whole epochs and multiplies the schedule, as in the Fast
    Scaling authors' code. A fraction of an epoch is no warm-up, so that a run of one epoch trains.
    """
    rate = _decayed(recipe, epoch * steps_per_epoch / recipe.total_steps(steps_per_epoch), epoch)
    warm = int(float(recipe.warmup_epochs))
    if epoch >= warm:
        return rate
    return rate * (recipe.warmup_from + (1 - recipe.warmup_from) * epoch / warm)


def _decayed(recipe: Recipe, share: float, epochs: float) -> float:
    """The schedule without warm-up, `share` of the run or `epochs` epochs in."""
    peak = float(recipe.lr)
    if recipe.schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    if recipe.schedule == "stepwise":
        # a hair's breadth of slack: 30 of 90 epochs is the milestone 1/3, whatever the last bit says
        passed = sum(share >= milestone - 1e-12 for milestone in recipe.milestones)
        return peak * recipe.step_factor**passed
    if recipe.schedule == "exponential":
        power = epochs / recipe.decay_epochs if recipe.decay_epochs else share
        if recipe.staircase and recipe.decay_epochs:
            power = math.floor(power + 1e-12)
        return peak * recipe.decay_rate**power
    return peak
