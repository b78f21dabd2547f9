"""The named recipes. Each states the expected accuracy, its source, and the cost of training."""

from typing import NamedTuple

from rescale.recipes.recipe import Recipe
from rescale.recipes.rules import OWN


class Named(NamedTuple):
    """A recipe, a line about it, and the sources of its values by field (rules have their own).

    norm_eps: the batch-norm eps of the networks that the recipe was published with; None if it is the usual
    one.
    """

    recipe: Recipe
    about: str
    sources: dict[str, str]
    norm_eps: float | None = None


FINETUNE_RATES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Learning rates to search when fine-tuning. ResNet-RS, Appendix F gives the two ends of the range, and the
best rates .16 (SimCLR), .01 (SimCLRv2) and .005 (supervised). The factor of 2 is our choice and includes
them."""

FINETUNE_STEPS = (5_000, 10_000, 20_000)
"""Lengths to search when fine-tuning, in optimizer steps. Appendix F gives the two ends of the range."""


RESNET_RS = Recipe(
    name="resnet-rs",
    epochs=350,
    batch=4096,
    nesterov=True,
    weight_decay=4e-5,
    lr="scaled-from-128",
    label_smoothing="by-length",
    dropout="table-8",
    stochastic_depth="table-8",
    ema=0.9999,
    augment="by-length",
    randaugment_magnitude="table-8",
    keep_best="table-8",
)
"""ResNet-RS (Appendix B, Table 8; where the paper says nothing, its authors' code).

The paper: ResNet-RS-50 at 160 pixels reaches 78.8 % top-1 on ImageNet. Ours: not run at that size.
Cost: 350 epochs, 109,475 steps of 4,096 images.
Nesterov momentum is on in the code that produced the paper's numbers and off in the authors' later code. The
paper uses early stopping on minival only for its two largest networks; for the others no images are held out.
Short runs follow Appendix E: up to 100 epochs RandAugment, dropout, stochastic depth and label smoothing
are off. Two choices are ours: these methods are on from 200 epochs, and batches below 128 have the learning
rate of 128. Values set explicitly are never overridden.
"""

RESNET_RS_STUDY = RESNET_RS.model_copy(
    update={
        "name": "resnet-rs-study",
        "dropout": "scaling-study",
        "stochastic_depth": "scaling-study",
        "randaugment_magnitude": "scaling-study",
        "keep_best": False,
    }
)
"""The same with the rates of the ResNet-RS scaling study (Appendix E), which differ from Table 8.

The paper plots its results as curves, on minival (here: minival=0.02). Ours: not run at that size.
"""

RESNET_2015 = Recipe(
    name="resnet-2015",
    epochs=90,
    nesterov=True,
    batch=4096,
    schedule="stepwise",
    weight_decay=1e-4,
    lr="scaled-from-128",
)
"""ResNet (He et al. 2015) as trained by the ResNet-RS authors: stepwise, crop and flip, weight decay 1e-4.

The paper: ResNet-200 at 256 pixels reaches 79.0 % top-1 on ImageNet. Ours: not run at that size.
Cost: 90 epochs. Batches below 128 have the learning rate of 128; this is our choice.
"""

EFFICIENTNET = Recipe(
    name="efficientnet",
    epochs=350,
    batch=2048,
    optimizer="rmsprop",
    lr_per_256=0.016,
    schedule="exponential",
    schedule_by="step",
    weight_decay=1e-5,
    label_smoothing=0.1,
    dropout=0.2,
    stochastic_depth=0.2,
    stochastic_depth_by="block",
    ema=0.9999,
    bn_momentum=0.01,
    augment="autoaugment",
    keep_best=True,
)
"""EfficientNet (Tan and Le 2019; its authors' code), with B0's dropout.

The paper: EfficientNet-B0 reaches 77.1 % top-1 on ImageNet. Ours: not run at that size.
Cost: 350 epochs, 218,949 steps of 2,048 images.
The paper's network is tf_efficientnet_b0, with TensorFlow's padding and a batch-norm eps of 1e-3;
efficientnet_b0 is timm's, with an eps of 1e-5.
"""

FINETUNE = Recipe(
    name="finetune",
    steps=10_000,
    batch=512,
    nesterov=True,
    weight_decay=1e-4,
    lr=0.005,
    warmup_epochs="5-percent",
    crop="centre",
    eval_crop=1.0,
)
"""End-to-end fine-tuning of trained weights (ResNet-RS, Appendix F: its protocol for CIFAR-100).

The paper: ResNet-152 (the architecture without ResNet-RS's changes, trained for 400 epochs on ImageNet by its
method) reaches 88.1 % top-1 on CIFAR-100 at 256 pixels. Ours: not run at that size.
Cost: 10,000 steps of 512 images, 103 epochs of CIFAR-100.
Stated in the paper: the cosine schedule, weight decay 1e-4, the batch size, whole images resized to 256
pixels, nothing frozen, and a search over the learning rate (FINETUNE_RATES; .005 is best for a supervised
network) and the number of steps (FINETUNE_STEPS). Search on images held out of training (minival=0.1).
Not stated, so our choice: Nesterov momentum, as in the other recipes; warm-up for 5 % of the run; horizontal
flips and no other augmentation; no weight average, label smoothing, dropout or stochastic depth. Batch norm
is trained too, with bn_momentum 0.1, as in the authors' other runs without a weight average. Photographs in
which the object is not centred may do better with crop=random-resized and eval_crop=0.875.
"""

MODERN = Recipe(
    name="modern",
    epochs=300,
    batch=4096,
    optimizer="adamw",
    weight_decay=0.05,
    weight_decay_on="matrices",
    lr="scaled",
    lr_per_256=2.5e-4,
    warmup_epochs="20-in-300",
    label_smoothing=0.1,
    stochastic_depth=0.1,
    stochastic_depth_by="block",
    ema=0.9999,
    bn_momentum=0.1,
    mixup=0.8,
    cutmix=1.0,
    cutmix_chance=0.5,
    augment="randaugment-torchvision",
    randaugment_magnitude=9.0,
    randaugment_chance=0.5,
    randaugment_noise=0.5,
    random_erasing=0.25,
)
"""For networks like ConvNeXt (Liu et al. 2022, Table 5: training on ImageNet-1K) and ViT (DeiT, Touvron et
al. 2021, Table 9).

The papers: ConvNeXt-T reaches 82.1 % and DeiT-S 79.8 % top-1 on ImageNet at 224 pixels. Ours: not run at that
size.
Cost: 300 epochs, 93,600 steps of 4,096 images.
Both papers have AdamW, weight decay .05, a rate of 2.5e-4 per 256 images, 300 epochs, the cosine, label
smoothing, mixup, CutMix, RandAugment and random erasing. Where they differ the values are ConvNeXt's: 4,096
images (DeiT: 1,024), warm-up for 20 epochs (DeiT: 5, the same number of steps), an average of the weights at
.9999 (DeiT's code: .99996). Stochastic depth is .1, as for ConvNeXt-T and all of DeiT; ConvNeXt-S has .4, -B
and -L .5.
RandAugment: the papers run timm's (two operations, each applied with probability one half, at a magnitude of
9 with deviation .5). Here these numbers hold for torchvision's operations, which include identity, lack
invert and solarize-add, and posterize less.
Left out: DeiT's repeated augmentation, and the smallest rate of the schedule (1e-6; DeiT: 1e-5; here 0). Not
part of a recipe: initial values, such as that of layer scale. Both papers use layer-wise decay of the rate
for fine-tuning only, if at all. Crop boxes are drawn as in the other recipes and cover at least a tenth of
the image.
Own choices: shorter runs warm up for the same share of the run; the average forgets the initial weights
(ema_ramp); batch norm, which the papers' networks lack, has bn_momentum 0.1. Nothing is switched off in short
runs, although such strong regularization suits long ones (ResNet-RS, Appendix E).
"""


def _from(source: str, fields: str) -> dict[str, str]:
    return dict.fromkeys(fields.split(), source)


_CODE = "authors' code"
_IMAGES = _from(_CODE, "crop crop_area_min crop_area_max crop_ratio interpolation flip eval_crop")
_SGD = _IMAGES | _from(_CODE, "batch momentum nesterov lr_per_256 weight_decay_on warmup_from")
_RS = (
    _SGD
    | _from("Table 8", "epochs weight_decay ema randaugment_layers")
    | _from("Appendix C", "optimizer schedule")
    | _from(_CODE, "schedule_by ema_ramp stochastic_depth_by")
    | _from(OWN + "constants in proportion", "small_images")
)
_RS_STUDY = _RS | _from("scaling study", "epochs weight_decay randaugment_layers")
_2015 = (
    _SGD
    | _from("ResNet-RS, Appendix C", "optimizer schedule epochs")
    | _from("ResNet-RS, Table 1", "weight_decay")
    | _from(f"{_CODE}: epochs 30, 60, 80 of 90", "milestones")
    | _from(_CODE, "schedule_by step_factor label_smoothing")
)
_EFFICIENTNET = (
    _IMAGES
    | _from(_CODE, "epochs batch optimizer momentum rmsprop_decay rmsprop_eps weight_decay weight_decay_on")
    | _from(_CODE, "lr_per_256 warmup_from schedule schedule_by decay_rate decay_epochs staircase augment")
    | _from(_CODE, "label_smoothing dropout stochastic_depth stochastic_depth_by ema ema_ramp bn_momentum")
    | _from(_CODE, "keep_best")
)
_FINETUNE = (
    _from("ResNet-RS, Appendix F", "optimizer schedule weight_decay freeze")
    | _from("Appendix F: for CIFAR-100", "batch crop eval_crop")
    | _from("Appendix F: best of a supervised network", "lr")
    | _from(f"{OWN}between the 5,000 and 20,000 of Appendix F", "steps")
    | _from(f"{OWN}Appendix F names none", "accumulate label_smoothing dropout stochastic_depth ema mixup")
    | _from(f"{OWN}Appendix F names none", "augment clip_grad minival keep_best")
    | _from(f"{OWN}as in the other recipes", "momentum nesterov weight_decay_on schedule_by warmup_from")
    | _from(f"{OWN}as in the other recipes", "interpolation flip")
)

_BOTH = "ConvNeXt, Table 5; DeiT, Table 9"
_MODERN = (
    _from(_BOTH, "epochs optimizer weight_decay schedule label_smoothing mixup cutmix random_erasing")
    | _from("DeiT, Table 9", "dropout")
    | _from(_BOTH, "clip_grad stochastic_depth randaugment_magnitude randaugment_noise")
    | _from("both: 5e-4 per 512 is 4e-3 per 4,096", "lr_per_256")
    | _from("ConvNeXt, Table 5 (DeiT: 1,024)", "batch")
    | _from("ConvNeXt, Table 5 (DeiT's code: .99996)", "ema")
    | _from("ConvNeXt, Table 5", "adam_beta1 adam_beta2")
    | _from("both papers' code", "adam_eps weight_decay_on schedule_by warmup_from cutmix_chance")
    | _from("both papers' code", "crop crop_area_min crop_area_max crop_ratio interpolation flip eval_crop")
    | _from("both papers' code (timm)", "randaugment_layers randaugment_chance stochastic_depth_by")
    | _from(f"{OWN}torchvision's operations for timm's", "augment")
    | _from(f"{OWN}for short runs", "ema_ramp")
    | _from(f"{OWN}the papers' networks have no batch norm", "bn_momentum")
)

NAMED = {
    named.recipe.name: named
    for named in (
        Named(RESNET_RS, "ResNet-RS: 350 epochs, cosine, regularized as in Table 8", _RS),
        Named(RESNET_RS_STUDY, "ResNet-RS with the rates of its scaling study", _RS_STUDY),
        Named(RESNET_2015, "the baseline: 90 epochs, stepwise, crop and flip only", _2015),
        Named(EFFICIENTNET, "EfficientNet: RMSProp, AutoAugment, B0's rates", _EFFICIENTNET, norm_eps=1e-3),
        Named(MODERN, "ConvNeXt and ViT: AdamW, 300 epochs, mixup and CutMix", _MODERN),
        Named(FINETUNE, "from trained weights: 10,000 steps, cosine, flip only", _FINETUNE),
    )
}


def origins(recipe: Recipe) -> dict[str, str]:
    """The source of each field whose value is still that of the named recipe."""
    if recipe.name not in NAMED:
        return {}
    named = NAMED[recipe.name]
    sources = {}
    for field, value in recipe:
        if value != (published := getattr(named.recipe, field)):
            sources[field] = f"changed; {recipe.name} has {published}"
        elif field in named.sources:
            sources[field] = named.sources[field]
    return sources


def norm_eps(recipe: Recipe) -> float | None:
    """The batch-norm eps of the networks that the recipe was published with; None if it is the usual one."""
    return NAMED[recipe.name].norm_eps if recipe.name in NAMED else None
