"""The optimizer, the learning-rate schedule and the weight average of a recipe, in torch."""

from rescale.optim.averaging import Average
from rescale.optim.optimizers import RMSpropTF, make_optimizer
from rescale.optim.schedule import learning_rate

__all__ = ["Average", "RMSpropTF", "learning_rate", "make_optimizer"]
