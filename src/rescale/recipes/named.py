"""The recipes that have a name. Each says what to expect, whose number that is, and what it costs."""

from rescale.recipes.recipe import Recipe

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

The paper prints its results as curves, on minival. Ours: not run at that size.
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

NAMED = {
    recipe.name: (recipe, what)
    for recipe, what in (
        (RESNET_RS, "ResNet-RS, rates by its Table 8"),
        (RESNET_RS_STUDY, "ResNet-RS, rates of its scaling study"),
        (RESNET_2015, "ResNet's first recipe: the baseline"),
        (EFFICIENTNET, "EfficientNet's, with B0's rates"),
    )
}
