"""Do weights that Keras and TensorFlow wrote give equal outputs here? Real files, real libraries, by hand.

TensorFlow needs an environment of its own (2 GB; no part of the project's dependencies):

    python -m venv tf && tf/bin/pip install tensorflow==2.21.0 tf_keras==2.21.0
    tf/bin/python scripts/check_keras_weights.py write FOLDER
    .venv/bin/python scripts/check_keras_weights.py compare FOLDER

`write` builds ResNet-RS 50 (tf_keras, and TensorFlow 1's layers in the order of the authors' code) and
EfficientNet-B0 (tf_keras, Keras 3), draws every variable anew, the moving statistics too, saves each in every
format there is, and stores the logits for fixed images. `compare` loads each file and prints the largest
difference of the logits, relative to the largest, and again after breaking one layer of each kind.

    tf/bin/python scripts/check_keras_weights.py write FOLDER --narrow

writes some of the files, of networks some channels wide, as tests/golden/keras_weights.tar.xz.
"""

import argparse
import json
import lzma
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # tf.compat.v1.layers are in tf_keras

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "keras_weights.tar.xz"
PACKED = (  # one of each form
    "resnetrs.legacy.h5",
    "resnetrs.published.h5",
    "resnetrs.weights.h5",
    "efficientnet.whole.h5",
    "efficientnet3.weights.h5",
    "tf1/model.ckpt.index",
    "tf1/model.ckpt.data-00000-of-00001",
    "expected.npz",
)
TOLERANCE = 1e-5
NETWORKS = {"resnetrs": "resnetrs50", "efficientnet": "tf_efficientnet_b0"}
NARROW_STAGES = ((1, 8, 1, 3, 1), (2, 16, 2, 5, 6))  # EfficientNet: depth, width, stride, kernel, expansion


def drawn(
    rng: np.random.Generator, name: str, shape: tuple[int, ...], narrow: bool, gain: float = 1.0
) -> np.ndarray:
    """Values at which every variable shows in the output. Narrow: multiples of 1/16, for a small archive.

    gain: of a convolution or linear layer, on average; 2 for EfficientNet, where SiLU and
    squeeze-and-excitation make every branch smaller.
    """
    if "var" in name:
        values = rng.uniform(0.5, 2, shape)
    elif len(shape) > 1:
        fan = np.prod(shape[:2]) if shape[-1] == 1 else np.prod(shape[:-1])  # of depthwise ones, the kernel's
        values = rng.normal(0, gain * fan**-0.5, shape)
    elif "gamma" in name:
        values = rng.uniform(0.5, 1.5, shape)
    else:
        values = rng.normal(0, 0.3, shape)
    return (np.round(values * 16) / 16 if narrow else values).astype(np.float32)


def write(folder: Path, narrow: bool) -> None:
    """All files, the images that each network saw, and its logits."""
    import keras
    import tf_keras

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}

    def store(name: str, model: Any, images: np.ndarray) -> None:
        seen = images
        if any(layer.name.startswith("normalization") for layer in model.layers):
            inner = next(layer for layer in model.layers if layer.name.startswith("normalization"))
            kind = keras if isinstance(model, keras.Model) else tf_keras
            seen = kind.Model(model.inputs, inner.output).predict(images, verbose=0)
        arrays[f"{name}/images"] = np.round(seen * 4) / 4 if narrow else seen
        arrays[f"{name}/logits"] = model.predict(images, verbose=0)

    size = 33 if narrow else 161
    images = np.round(rng.normal(0, 4, (1, size, size, 3))).astype(np.float32) / 4

    model = resnet_rs(narrow, size)
    redraw(model, rng, narrow)
    store("resnetrs", model, images)
    save(model, folder / "resnetrs")
    published(model).save_weights(folder / "resnetrs.published.h5")
    for name, library in (("efficientnet", tf_keras), ("efficientnet3", keras)):
        model = efficientnet(library, narrow, size)
        redraw(model, np.random.default_rng(1), narrow, gain=2)
        store(name, model, 255 * images)
        save(model, folder / name)
    store_tf1(folder, arrays["resnetrs/images"], arrays, rng, narrow)
    np.savez(folder / "expected.npz", **arrays)


def redraw(model: Any, rng: np.random.Generator, narrow: bool, gain: float = 1.0) -> None:
    """Draw every variable of a Keras model anew."""
    for layer in model.layers:
        normalises = layer.name.startswith("normalization")
        if normalises and narrow:  # the images stay as they are
            continue
        names = [(weight.name, tuple(weight.shape)) for weight in layer.weights]
        layer.set_weights([drawn(rng, *name, narrow, gain) if name[1] else np.int64(0) for name in names])
        if normalises:
            layer.finalize_state()


def save(model: Any, stem: Path) -> None:
    """The formats of a library: STEM.whole.h5, STEM.legacy.h5 (tf_keras), STEM.weights.h5, STEM.keras."""
    model.compile(optimizer="adam")
    model.save(f"{stem}.whole.h5")
    model.save_weights(f"{stem}.weights.h5")
    if "tf_keras" in type(model).__module__:
        model.save_weights(f"{stem}.legacy.h5")
    model.save(f"{stem}.keras")


def resnet_rs(narrow: bool, size: int) -> Any:
    """tf_keras' ResNet-RS 50; narrow: a sixteenth as wide, two stages of two and one blocks, 5 classes."""
    from tf_keras.src.applications import resnet_rs as theirs

    options = {"include_preprocessing": False, "classifier_activation": None, "weights": None}
    options["input_shape"] = (size, size, 3)
    if not narrow:
        return theirs.ResNetRS50(**options)
    plain = theirs.Conv2DFixedPadding

    def narrowed(filters: int, kernel_size: int, strides: int, name: str) -> Any:
        return plain(filters // 16 if "stem" in name else filters, kernel_size, strides, name)

    theirs.Conv2DFixedPadding = narrowed
    blocks = [{"input_filters": 4, "num_repeats": 2}, {"input_filters": 8, "num_repeats": 1}]
    return theirs.ResNetRS(depth=50, block_args=blocks, classes=5, **options)


def published(model: Any) -> Any:
    """The same ResNet-RS with its layers named as in the published files."""
    text = json.dumps(model.get_config())
    for pattern, name in (
        (r"stem_\d+_stem_", "stem_"),
        (r"BlockGroup(\d)__block_(\d+)_+", r"c\1_block_\2_"),
        ("_se_se_", "_se_"),
    ):
        text = re.sub(pattern, name, text)
    found = type(model).from_config(json.loads(text))
    found.set_weights(model.get_weights())
    return found


def efficientnet(library: Any, narrow: bool, size: int) -> Any:
    """The library's EfficientNet-B0; narrow: two stages, a quarter of the stem, 5 classes."""
    options = {"classifier_activation": None, "weights": None, "input_shape": (size, size, 3)}
    if not narrow:
        return library.applications.EfficientNetB0(**options)
    module = sys.modules[library.applications.EfficientNetB0.__module__]
    module = module if hasattr(module, "EfficientNet") else library.src.applications.efficientnet
    blocks, width_in = [], 32
    for depth, width, stride, kernel, expand in NARROW_STAGES:
        block = {"filters_in": width_in, "filters_out": 4 * width, "strides": stride, "kernel_size": kernel}
        blocks.append(block | {"repeats": depth, "expand_ratio": expand, "id_skip": True, "se_ratio": 0.25})
        width_in = 4 * width
    wide = {"width_coefficient": 0.25, "depth_coefficient": 1, "depth_divisor": 8, "default_size": size}
    plain = module.layers.Conv2D

    def narrowed(filters: int, *args: Any, **kwargs: Any) -> Any:  # 320 is much for a file to keep
        return plain(16 if kwargs.get("name") == "top_conv" else filters, *args, **kwargs)

    module.layers.Conv2D = narrowed
    try:
        return module.EfficientNet(**wide, blocks_args=blocks, classes=5, **options)
    finally:
        module.layers.Conv2D = plain


def store_tf1(
    folder: Path, images: np.ndarray, arrays: dict[str, np.ndarray], rng: np.random.Generator, narrow: bool
) -> None:
    """A checkpoint with variables, averages and momenta; the logits are the averages'."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        logits = authors_resnet_rs(tf.constant(images), narrow)
        own = [v for v in v1.global_variables() if "global_step" not in v.name]
        averages = v1.train.ExponentialMovingAverage(0.9999)
        averages.apply(own)
        step = v1.train.get_or_create_global_step()
        trained = v1.trainable_variables()
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(logits), step, trained)
        session.run(v1.global_variables_initializer())
        places = [(variable.op.name, tuple(variable.shape)) for variable in own]
        values = [drawn(rng, *place, narrow) for place in places]
        assign(session, own + [averages.average(variable) for variable in own], values * 2)
        arrays["tf1/images"], arrays["tf1/logits"] = images, session.run(logits)
        # what is not averaged must not be what is read
        assign(session, own, [drawn(rng, *place, narrow) for place in places])
        v1.train.Saver().save(session, str(folder / "tf1" / "model.ckpt"), write_meta_graph=False)


def assign(session: Any, variables: list[Any], values: list[np.ndarray]) -> None:
    """Give TensorFlow-1 variables values, in one step."""
    made = [variable.initializer for variable in variables]
    session.run(made, {op.inputs[1]: value for op, value in zip(made, values, strict=True)})


def authors_resnet_rs(x: Any, narrow: bool) -> Any:
    """ResNet-RS of TensorFlow 1's layers, made in the order of tensorflow/tpu's resnet_model.py."""
    import tensorflow as tf

    layers = tf.compat.v1.layers
    stages, width, classes = ((2, 1), 4, 5) if narrow else ((3, 4, 6, 3), 64, 1000)

    def conv(x: Any, filters: int, kernel: int, stride: int) -> Any:
        pad = (kernel - 1) // 2
        if stride > 1:
            x = tf.pad(x, [[0, 0], [pad, kernel - 1 - pad], [pad, kernel - 1 - pad], [0, 0]])
        padding = "SAME" if stride == 1 else "VALID"
        return layers.conv2d(x, filters, kernel, stride, padding=padding, use_bias=False)

    def norm(x: Any, relu: bool = True) -> Any:
        x = layers.batch_normalization(x, epsilon=1e-5, training=False)
        return tf.nn.relu(x) if relu else x

    def block(x: Any, filters: int, stride: int, first: bool) -> Any:
        shortcut = x
        if first:
            if stride > 1:
                shortcut = layers.average_pooling2d(x, 2, 2, padding="SAME")
            shortcut = norm(conv(shortcut, 4 * filters, 1, 1), relu=False)
        x = norm(conv(x, filters, 1, 1))
        x = norm(conv(x, filters, 3, stride))
        x = norm(conv(x, 4 * filters, 1, 1), relu=False)
        mean = tf.reduce_mean(x, [1, 2], keepdims=True)
        squeezed = tf.nn.relu(layers.conv2d(mean, filters, 1))
        x *= tf.sigmoid(layers.conv2d(squeezed, 4 * filters, 1))
        return tf.nn.relu(x + shortcut)

    for filters, stride in ((width // 2, 2), (width // 2, 1), (width, 1), (width, 2)):
        x = norm(conv(x, filters, 3, stride))
    for i, depth in enumerate(stages):
        for j in range(depth):
            x = block(x, width * 2**i, 2 if i and not j else 1, not j)
    return layers.dense(tf.reduce_mean(x, [1, 2]), classes)


def pack(folder: Path) -> None:
    """The narrow networks' files as one archive, without owners and dates."""
    with tarfile.open(GOLDEN, "w:xz", preset=9 | lzma.PRESET_EXTREME) as archive:
        for name in PACKED:
            member = tarfile.TarInfo(name)
            member.size = (folder / name).stat().st_size
            with (folder / name).open("rb") as file:
                archive.addfile(member, file)
    print(GOLDEN, GOLDEN.stat().st_size, "bytes")


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Key of the expected logits and the path to give, for every file."""
    for file in sorted(folder.iterdir()):
        if file.suffix in (".h5", ".keras"):
            yield file.name.split(".")[0], file
    yield "tf1", folder / "tf1" / "model.ckpt"


def compare(folder: Path) -> int:
    """Print how far our outputs are from theirs, and after breaking one layer of each kind."""
    from rescale.lookup import network
    from rescale.models import build, load_weights

    expected, worst, least = np.load(folder / "expected.npz"), 0.0, np.inf
    for key, file in files(folder):
        model = build(network(NETWORKS["efficientnet" if "efficient" in key else "resnetrs"])).eval()
        load_weights(model, file)
        gap = distance(model, expected, key)
        broken = {what: distance(model, expected, key) for what in breaking(model)}
        worst, least = max(worst, gap), min(least, *broken.values())
        print(f"{file.name:28} {gap:.1e}   broken:", ", ".join(f"{k} {v:.1e}" for k, v in broken.items()))
    print(f"largest {worst:.1e}, smallest of the broken {least:.1e}; tolerance {TOLERANCE:.0e}")
    return int(worst > TOLERANCE or least < 10 * TOLERANCE)


def distance(model: Any, expected: Any, key: str) -> float:
    """Largest difference of the logits, relative to the largest."""
    import torch

    images = torch.from_numpy(expected[f"{key}/images"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        ours = model(images).numpy()
    theirs = expected[f"{key}/logits"]
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def breaking(model: Any) -> Iterator[str]:
    """Break the model in one way at a time, and mend it again."""
    import torch

    block, other = model.stages[3][1], model.stages[3][2]  # of equal shapes in both networks
    normed = block.conv2
    reduce = block.se.reduce.weight
    swaps = {
        "H for W": (normed.conv.weight, normed.conv.weight.transpose(2, 3)),
        "I for O": (reduce, reduce.squeeze().T.reshape(reduce.shape)),
        "beta for mean": (normed.norm.bias, normed.norm.running_mean),
        "gamma for variance": (normed.norm.running_var, normed.norm.weight),
        "another layer's norm": (normed.norm.running_mean, other.conv2.norm.running_mean),
    }
    for what, (tensor, wrong) in swaps.items():
        before = tensor.detach().clone()
        with torch.no_grad():
            tensor.copy_(wrong.detach().clone())
        yield what
        with torch.no_grad():
            tensor.copy_(before)


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("write", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--narrow", action="store_true")
    args = parser.parse_args()
    if args.what == "compare":
        return compare(args.folder)
    write(args.folder, args.narrow)
    if args.narrow:
        pack(args.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
