"""Image transforms and augmentation for training and evaluation."""

from rescale.data.augment.mixup import mixup
from rescale.data.augment.pipeline import eval_transform, train_transform

__all__ = ["eval_transform", "mixup", "train_transform"]
