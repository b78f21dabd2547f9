"""Image transforms and augmentation for training and evaluation."""

from rescale.data.augment.cutmix import cutmix, mixup_or_cutmix
from rescale.data.augment.mixup import mixup
from rescale.data.augment.pipeline import eval_transform, train_transform

__all__ = ["cutmix", "eval_transform", "mixup", "mixup_or_cutmix", "train_transform"]
