"""What happens to an image before the network sees it."""

from rescale.data.augment.mixup import mixup
from rescale.data.augment.pipeline import eval_transform, train_transform

__all__ = ["eval_transform", "mixup", "train_transform"]
