"""A training recipe as a value. Fields may be rules until `resolve` replaces them by values for one model."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, model_validator

from rescale.recipes.options import Options, Scalar, task_options

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Task = Annotated[Mapping[str, Scalar], PlainValidator(task_options), PlainSerializer(dict)]


class AddedLater:
    """Marks a field that the first version did not have.

    A field with its default is omitted from a run's identity and from stored recipes, so that a run has the
    same identity as in the first version.
    """


ADDED_LATER = AddedLater()


class Recipe(BaseModel):
    """Everything that decides how a network is trained, except the network, the data and the seed.

    A field can hold the name of a rule instead of a number. `resolve` replaces rules by values for one model;
    `rescale recipes NAME --model MODEL` shows these values and their sources.

    Args:
        name: used in tables and messages; not part of a run's identity.
        epochs: passes over the training images, at least 1; ignored if `steps` is given.
        batch: images per optimizer step, at least 1; split into `accumulate` equal micro-batches.
        milestones: of the stepwise schedule, ascending fractions of the run.
        steps: length in optimizer steps, at least 1; such a run may end within an epoch.
        task: name of the task, built in or `python:module:factory`, and its options.

    `rescale.recipes.recipe.MEANING` has one line for each of these and all other fields; the annotations have
    their ranges.

    Raises:
        pydantic.ValidationError: a field is unknown, or a value is of the wrong type, out of its range or
            inconsistent with another. `rescale.recipe` reports this as a UserError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: str = "recipe"
    epochs: Count = 90
    batch: Count = 256
    accumulate: Count = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"

    optimizer: Literal["sgd", "rmsprop", "adamw", "muon"] = "sgd"
    momentum: Rate = 0.9
    nesterov: bool = False
    rmsprop_decay: Rate = 0.9
    rmsprop_eps: Positive = 1e-3
    weight_decay: NotNegative = 1e-4
    weight_decay_on: Literal["all", "not-norm", "weights", "matrices"] = "not-norm"
    clip_grad: NotNegative = 0.0

    lr: NotNegative | Literal["scaled", "scaled-from-128"] = "scaled"
    lr_per_256: NotNegative = 0.1
    schedule: Literal["cosine", "stepwise", "exponential", "constant"] = "cosine"
    schedule_by: Literal["step", "epoch"] = "step"
    warmup_epochs: NotNegative | Literal["short-run", "5-percent", "20-in-300"] = "short-run"
    warmup_from: Share = 0.0
    milestones: tuple[Share, ...] = (1 / 3, 2 / 3, 8 / 9)
    step_factor: Share = 0.1
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.97
    decay_epochs: NotNegative = 2.4
    staircase: bool = True

    label_smoothing: Rate | Literal["by-length"] = 0.0
    dropout: Rate | Literal["table-8", "scaling-study"] = 0.0
    stochastic_depth: Rate | Literal["table-8", "scaling-study"] = 0.0
    stochastic_depth_by: Literal["stage", "block"] = "stage"
    ema: Rate = 0.0
    ema_ramp: bool = True
    bn_momentum: Share | Literal["with-ema"] = "with-ema"
    mixup: NotNegative = 0.0

    augment: Literal["none", "randaugment", "randaugment-torchvision", "autoaugment", "by-length"] = "none"
    randaugment_layers: Annotated[int, Field(ge=0, le=16)] = 2
    randaugment_magnitude: Annotated[float, Field(ge=0, le=30)] | Literal["table-8", "scaling-study"] = 10.0
    small_images: Literal["scaled", "as-published"] = "scaled"
    crop: Literal["random-resized", "centre"] = "random-resized"
    crop_area_min: Annotated[float, Field(gt=0, le=1)] = 0.08
    crop_area_max: Annotated[float, Field(gt=0, le=1)] = 1.0
    crop_ratio: Annotated[float, Field(gt=0, le=1)] = 3 / 4
    interpolation: Literal["bicubic", "bilinear", "tf1-bicubic"] = "bicubic"
    flip: Share = 0.5
    eval_crop: Annotated[float, Field(gt=0, le=1)] = 0.875

    minival: Annotated[float, Field(ge=0, lt=1)] | Literal["when-kept"] = "when-kept"
    keep_best: bool | Literal["table-8"] = False

    steps: Annotated[Count | None, ADDED_LATER] = None
    task: Annotated[Task, ADDED_LATER] = Options({"name": "classification"})
    freeze: Annotated[Literal["none", "backbone"], ADDED_LATER] = "none"
    orientation: Annotated[Literal["exif", "stored"], ADDED_LATER] = "exif"
    white: Annotated[NotNegative, ADDED_LATER] = 0.0

    adam_beta1: Annotated[Rate, ADDED_LATER] = 0.9
    adam_beta2: Annotated[Rate, ADDED_LATER] = 0.999
    adam_eps: Annotated[Positive, ADDED_LATER] = 1e-8
    cutmix: Annotated[NotNegative, ADDED_LATER] = 0.0
    cutmix_chance: Annotated[Share, ADDED_LATER] = 0.5
    random_erasing: Annotated[Share, ADDED_LATER] = 0.0
    randaugment_chance: Annotated[Share, ADDED_LATER] = 1.0
    randaugment_noise: Annotated[NotNegative, ADDED_LATER] = 0.0

    def total_steps(self, steps_per_epoch: int) -> int:
        """Length of the run in optimizer steps; an epoch has `steps_per_epoch`."""
        return self.epochs * steps_per_epoch if self.steps is None else self.steps

    def length_in_epochs(self, images: int | None) -> float | None:
        """Length of the run in epochs of images // batch steps, for this number of training images.

        None if the length is set in steps and `images` is None.
        """
        if self.steps is None:
            return self.epochs
        return None if images is None else self.steps / max(1, images // self.batch)

    def additions_at_default(self) -> set[str]:
        """The fields marked ADDED_LATER with their default value."""
        return {
            name
            for name, field in type(self).model_fields.items()
            if ADDED_LATER in field.metadata and getattr(self, name) == field.default
        }

    def identity_text(self) -> str:
        """The recipe's part of a run's identity: JSON of its fields.

        Without the name, the precision, and later fields with their default value.
        """
        return self.model_dump_json(exclude={"name", "precision"} | self.additions_at_default())

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        mistakes = []
        if self.crop_area_min > self.crop_area_max:
            mistakes.append(f"crop_area_min {self.crop_area_min} is above crop_area_max {self.crop_area_max}")
        if self.batch % self.accumulate:
            mistakes.append(
                f"batch {self.batch} cannot be split into accumulate={self.accumulate} equal parts"
            )
        if list(self.milestones) != sorted(self.milestones):
            mistakes.append(f"milestones {self.milestones} are not in ascending order")
        if self.keep_best is True and self.minival == 0:
            mistakes.append("keep_best needs a minival to select on; set minival=0.02")
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self


MEANING = {  # one line per field, for tables and YAML files
    "epochs": "passes over the training images, unless steps is given",
    "batch": "images per optimizer step",
    "accumulate": "micro-batches per step",
    "precision": "of matrix products; auto: bf16 where the device has it",
    "optimizer": "sgd: with momentum; rmsprop: TensorFlow's; adamw; muon: timm's",
    "momentum": "of SGD, RMSProp and Muon",
    "nesterov": "look ahead in SGD and Muon",
    "rmsprop_decay": "of the mean square",
    "rmsprop_eps": "inside the root",
    "weight_decay": "sgd, rmsprop: L2, coupled with the rate of each weight; adamw, muon: decoupled, "
    "lr x weight_decay of the weight is subtracted",
    "weight_decay_on": "all; not-norm: all but norms; weights: no biases either; matrices: none of one "
    "dimension, no biases, none in the model's no_weight_decay() (class token, positions)",
    "clip_grad": "largest norm of the gradient; 0: not clipped",
    "lr": "peak learning rate; scaled: lr_per_256 x batch / 256; scaled-from-128: of at least 128 images",
    "lr_per_256": "learning rate at batch 256",
    "schedule": "how the rate decreases",
    "schedule_by": "the rate changes every step or every epoch",
    "warmup_epochs": "epochs of linear warm-up",
    "warmup_from": "share of the rate at step 0",
    "milestones": "of stepwise: fractions of the run",
    "step_factor": "of stepwise: factor of the rate at each milestone",
    "decay_rate": "of exponential: factor every decay_epochs",
    "decay_epochs": "of exponential; 0: the factor is reached at the end",
    "staircase": "of exponential: in steps, not smoothly",
    "label_smoothing": "share spread evenly over all classes; by-length: none in short runs",
    "dropout": "of the pooled features",
    "stochastic_depth": "probability of dropping the last block's branch",
    "stochastic_depth_by": "grows stage by stage or block by block",
    "ema": "decay of the average of weights and statistics; 0: none",
    "ema_ramp": "decay at most (1 + t) / (10 + t)",
    "bn_momentum": "share of the new batch (torch's sense)",
    "mixup": "alpha; 0: none",
    "augment": "policy after crop and flip; by-length: randaugment, none in short runs",
    "randaugment_layers": "operations per image",
    "randaugment_magnitude": "their strength, of 10; below 10 the authors' posterize and solarize get "
    "stronger, so for mild augmentation use augment=randaugment-torchvision at 3",
    "small_images": "below 160 pixels: constants in proportion, or as published",
    "crop": "of training images",
    "crop_area_min": "smallest share of the image",
    "crop_area_max": "largest share of the image",
    "crop_ratio": "smallest aspect ratio; the largest is its inverse",
    "interpolation": "of resizing",
    "flip": "probability of a horizontal flip",
    "eval_crop": "share of the shorter side that evaluation uses",
    "minival": "share of the training images held out; when-kept: 0.02 with keep_best",
    "keep_best": "report the best epoch on minival, not the last",
    "steps": "optimizer steps of the whole run; overrides epochs",
    "task": "name, or python:module:factory, and options; --set task.OPTION=VALUE",
    "freeze": "backbone: train only the head",
    "orientation": "exif: photos are turned upright; stored: images stay as they are stored",
    "white": "value of white in images with more than 8 bits; 0: measured on the data",
    "adam_beta1": "of AdamW and Muon's AdamW: decay of the mean gradient",
    "adam_beta2": "of AdamW and Muon's AdamW: decay of the mean square",
    "adam_eps": "of AdamW: added to the root; of Muon also the smallest norm",
    "cutmix": "alpha; 0: none",
    "cutmix_chance": "of CutMix, not mixup, in a step of a recipe with both",
    "random_erasing": "probability that a box of the image becomes noise",
    "randaugment_chance": "of each of the operations",
    "randaugment_noise": "deviation of the magnitude; such magnitudes stay in 0 to 10",
}
