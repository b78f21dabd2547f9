"""The learning rate as a pure function of the step."""

import math

from rescale.recipes.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Rate of step `step` (from 0) of a resolved recipe.

    The schedule counts from step 0, through warm-up too. Warm-up is a straight line from
    warmup_from x peak to the peak; for the cosine to its value where warm-up ends (1.5992 and not 1.6
    for ResNet-RS at batch 4096), each as in its authors' code. By epoch, the rate is constant within an epoch and warm-up
    multiplies it, as in the Fast Scaling authors' code.
    """
    total = recipe.epochs * steps_per_epoch
    warm = float(recipe.warmup_epochs) * steps_per_epoch
    if recipe.schedule_by == "epoch":
        epoch = step // steps_per_epoch
        rate = _decayed(recipe, epoch / recipe.epochs, epoch)
        if epoch < recipe.warmup_epochs:
            done = epoch / float(recipe.warmup_epochs)
            rate *= recipe.warmup_from + (1 - recipe.warmup_from) * done
        return rate
    if step < warm:
        peak = float(recipe.lr)
        target = _decayed(recipe, warm / total, 0.0) if recipe.schedule == "cosine" else peak
        start = recipe.warmup_from * peak
        return start + (target - start) * step / warm
    return _decayed(recipe, step / total, step / steps_per_epoch)


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
