"""What a recipe's optimizer, schedule and average of the weights mean in torch."""

from rescale.optim.averaging import Average
from rescale.optim.optimizers import RMSpropTF, make_optimizer
from rescale.optim.schedule import learning_rate

__all__ = ["Average", "RMSpropTF", "learning_rate", "make_optimizer"]
