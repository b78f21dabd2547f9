"""The recipes that have a name. Each says what to expect, whose number that is, and what it costs."""

from typing import NamedTuple

from rescale.recipes.recipe import Recipe
from rescale.recipes.rules import OWN


class Named(NamedTuple):
    """A recipe, one line about it, and where its numbers come from, by field (rules say so themselves)."""

    recipe: Recipe
    about: str
    sources: dict[str, str]


RESNET_RS = Recipe(
    name="resnet-rs",
    epochs=350,
    batch=4096,
    nesterov=True,
    weight_decay=4e-5,
    label_smoothing=0.1,
    dropout="table-8",
    stochastic_depth="table-8",
    ema=0.9999,
    augment="randaugment",
    randaugment_magnitude="table-8",
    keep_best="table-8",
)
"""ResNet-RS (Appendix B, Table 8; where the paper is silent, its authors' code).

The paper: ResNet-RS-50 at 160 pixels reaches 78.8 % of ImageNet. Ours: not run at that size.
Cost: 350 epochs, 109,475 steps of 4,096 images.
Nesterov is on in the code behind the paper's numbers, off in the authors' later one. The paper stops
early on minival for its two largest networks alone; for any other nothing is held out.
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
"""The same with the rates of the ResNet-RS scaling study (Appendix F), which differ from Table 8.

The paper prints its results as curves, on minival (here: minival=0.02). Ours: not run at that size.
Its runs of 10 and 100 epochs have augment=none and label_smoothing, dropout and stochastic_depth 0.
"""

RESNET_2015 = Recipe(
    name="resnet-2015",
    epochs=90,
    nesterov=True,
    batch=4096,
    schedule="stepwise",
    weight_decay=1e-4,
)
"""ResNet (He et al. 2015) as the ResNet-RS authors run it: stepwise, crop and flip, weight decay 1e-4.

The paper: ResNet-200 at 256 pixels reaches 79.0 % of ImageNet. Ours: not run at that size.
Cost: 90 epochs.
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

The paper: EfficientNet-B0 reaches 77.1 % of ImageNet. Ours: not run at that size.
Cost: 350 epochs, 218,949 steps of 2,048 images.
"""


def _from(source: str, fields: str) -> dict[str, str]:
    return dict.fromkeys(fields.split(), source)


_CODE = "authors' code"
_IMAGES = _from(_CODE, "crop crop_area_min crop_area_max crop_ratio interpolation flip eval_crop")
_SGD = _IMAGES | _from(_CODE, "batch momentum nesterov lr_per_256 weight_decay_on warmup_from")
_RS = (
    _SGD
    | _from("Table 8", "epochs weight_decay label_smoothing ema randaugment_layers")
    | _from("Appendix C", "optimizer schedule augment")
    | _from(_CODE, "schedule_by ema_ramp stochastic_depth_by")
    | _from(OWN + "constants in proportion", "small_images")
)
_RS_STUDY = _RS | _from("scaling study", "epochs weight_decay label_smoothing randaugment_layers")
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

NAMED = {
    named.recipe.name: named
    for named in (
        Named(RESNET_RS, "ResNet-RS: 350 epochs, cosine, regularized as its Table 8 says", _RS),
        Named(RESNET_RS_STUDY, "ResNet-RS with the rates of its scaling study", _RS_STUDY),
        Named(RESNET_2015, "the baseline: 90 epochs, stepwise, crop and flip alone", _2015),
        Named(EFFICIENTNET, "EfficientNet: RMSProp, AutoAugment, B0's rates", _EFFICIENTNET),
    )
}


def origins(recipe: Recipe) -> dict[str, str]:
    """Field -> where its value comes from, as far as the recipe still says what the one of its name says."""
    if recipe.name not in NAMED:
        return {}
    published, _, sources = NAMED[recipe.name]
    found = {}
    for field, value in recipe:
        if value != (original := getattr(published, field)):
            found[field] = f"changed; {recipe.name} has {original}"
        elif field in sources:
            found[field] = sources[field]
    return found
