"""Does our input pipeline make 2.2 times as many training images a second of a core as timm's?

From encoded JPEGs to a normalised float batch at 224 pixels, in one process on one core: random crop,
bicubic resize, mirror, two RandAugment operations, batch, normalisation. Ours is `rescale.data.batches` and
the task's own normalisation. timm's is its dataset, `create_transform`, `fast_collate` and its loader's
normalisation, as in a worker and the process that receives its batches.

Equal operations: both draw two of the same fifteen operations (timm's, which lack cutout) with equal
probability and always apply them (timm: p1) at level 10 of 10. There brightness, colour, contrast and
sharpness go to 1.9, rotations to 30 degrees and shears to .3, with nearest-neighbour interpolation. Both
posterize to 4 bits; timm translates by 45 % of the side, ours by 100 pixels. One operation differs: at that
level timm's solarize inverts nothing, ours (like the authors') everything; both process every pixel.
`timm-cubic` is timm as in its train script, with bicubic geometry too. The limit is the decoder alone.
"""

import argparse
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Contender, Step, alternate, compare, finish, serve, use_one_core

SAMPLE = "imagenet_sample/imagenet_sample400.tar"
LACKING = "Cutout"  # the one of our sixteen operations that timm's list lacks
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = {
    "ours": "ours",
    "timm": "timm, the same operations",
    "timm-cubic": "timm, geometry bicubic as by its defaults",
    "torchvision": "torchvision v2, its own RandAugment",
    "decode": "simplejpeg's decoder alone",
    "decode-pillow": "Pillow's decoder alone",
    "ours-160": "ours at 160 pixels",
    "timm-160": "timm at 160 pixels",
    "ours-small": "ours, CIFAR's size in memory",
    "timm-small": "timm, CIFAR's size in memory",
}
QUICK = ("ours", "timm", "decode")  # each imports torch, which takes longer than the rounds


def jpegs(count: int) -> Path:
    """A folder of class folders: the sample if it is there, otherwise generated pictures of the same size."""
    import numpy as np
    from PIL import Image

    folder = Path(tempfile.mkdtemp(prefix="pipeline"))
    data = Path(os.environ.get("RESCALE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    if (data / SAMPLE).is_file():
        with tarfile.open(data / SAMPLE) as tar:
            members = [member for member in tar if member.name.endswith(".jpg")]
            for n, member in enumerate(members[:: len(members) // count][:count]):
                file = tar.extractfile(member)
                assert file
                (folder / "ab"[n % 2] / f"{n:04d}.jpg").write_bytes(file.read())
        return folder
    rng = np.random.default_rng(0)
    for n in range(count):  # smooth shapes under noise: about 100 kB per picture, like the sample
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((500, 375))
        noisy = np.asarray(coarse).astype(float) + rng.normal(0, 12, (375, 500, 3))
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        picture.save(folder / "ab"[n % 2] / f"{n:04d}.jpg", quality=92, subsampling=0)
    return folder


def small_images(count: int) -> Any:
    """CIFAR's shape, in memory."""
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def ours(folder: Path, images: int, batch: int, pixels: int, small: bool) -> Step:
    import numpy as np
    import torch

    from rescale import machine
    from rescale.data import Loading, open_data
    from rescale.data.augment import levels, randaugment
    from rescale.data.raw import Arrays
    from rescale.recipes import Recipe
    from rescale.tasks.classification import Classification

    machine.keep_memory()
    torch.set_num_threads(1)
    randaugment.NAMES = tuple(name for name in levels.NAMES if name != LACKING)  # type: ignore[misc]
    labels = np.arange(images) % 2
    source = Arrays("small", small_images(images), labels) if small else _all(open_data(folder))
    chosen = Recipe(augment="randaugment", randaugment_magnitude=10.0)
    task = Classification(chosen, mean=MEAN, std=STD)
    epoch = 0

    def step() -> None:
        nonlocal epoch
        for loaded in task.stream(source, pixels, Loading(batch=batch, epoch=epoch)):
            task.inputs(loaded)
        epoch += 1

    return step


def _all(data: Any) -> Any:
    """The whole folder, before a part is held out for validation."""
    return data.train.source


def timms(folder: Path, images: int, batch: int, pixels: int, small: bool, cubic: bool) -> Step:
    import random

    import torch
    from PIL import Image
    from timm.data import ImageDataset, create_transform
    from timm.data.auto_augment import RandAugment
    from timm.data.loader import fast_collate

    torch.set_num_threads(1)
    transform = create_transform(
        pixels,
        is_training=True,
        use_prefetcher=True,
        color_jitter=None,
        auto_augment="rand-m10-n2-p1",
        interpolation="bicubic",
    )
    (policy,) = (item for item in transform.transforms if isinstance(item, RandAugment))
    assert len(policy.ops) == 15
    for operation in policy.ops:
        operation.kwargs["resample"] = Image.Resampling.BICUBIC if cubic else Image.Resampling.NEAREST
    if small:
        kept = small_images(images)
        read: Callable[[int], Any] = lambda n: (transform(Image.fromarray(kept[n])), n % 2)  # noqa: E731
    else:
        read = ImageDataset(str(folder), transform=transform).__getitem__
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (MEAN, STD))

    def step() -> None:
        order = random.sample(range(images), images)
        for start in range(0, images - batch + 1, batch):
            collated, _ = fast_collate([read(n) for n in order[start : start + batch]])
            collated.float().sub_(mean).div_(std)

    return step


def torchvisions(folder: Path, images: int, batch: int, pixels: int) -> Step:
    import random

    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import InterpolationMode, v2

    torch.set_num_threads(1)
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(pixels, interpolation=InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(2, 30, 31, InterpolationMode.NEAREST),
            v2.PILToTensor(),
        ]
    )
    data = ImageFolder(str(folder), transform=transform)
    normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD, inplace=True)])

    def step() -> None:
        order = random.sample(range(images), images)
        for start in range(0, images - batch + 1, batch):
            normalise(torch.stack([data[n][0] for n in order[start : start + batch]]))

    return step


def decoders(folder: Path, pillow: bool) -> Step:
    import numpy as np
    import simplejpeg
    from PIL import Image

    from rescale import machine

    machine.keep_memory()
    files = sorted(folder.glob("*/*.jpg"))

    def step() -> None:
        for file in files:
            content = file.read_bytes()
            if pillow:
                np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            else:
                simplejpeg.decode_jpeg(content)

    return step


def maker(name: str, folder: Path, images: int, batch: int) -> Callable[[], Step]:
    """Import what a contender needs, and return a function that prepares its step, on one core."""
    use_one_core()
    pixels = {"160": 160, "small": 32}.get(name.rpartition("-")[2], 224)
    small = name.endswith("-small")
    if name.startswith("ours"):
        return lambda: ours(folder, images, batch, pixels, small)
    if name.startswith("timm"):
        return lambda: timms(folder, images, batch, pixels, small, name == "timm-cubic")
    if name == "torchvision":
        return lambda: torchvisions(folder, images, batch, pixels)
    return lambda: decoders(folder, name == "decode-pillow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images and rounds, under 50 s")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--serve", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    images, batch = (32, 32) if options.quick else (128, 64)
    if options.serve:
        serve(maker(options.serve, options.folder, images, batch))
        return

    folder = jpegs(images)
    quick = ["--quick"] if options.quick else []
    names = QUICK if options.quick else tuple(NAMES)
    contenders = {name: Contender(__file__, name, "--folder", str(folder), *quick) for name in names}
    seconds = alternate(contenders, warmup=1, rounds=options.rounds or (3 if options.quick else 15))
    for contender in contenders.values():
        contender.end()
    times = {name: [1000 * second / images for second in values] for name, values in seconds.items()}
    for name in names:
        middle = sorted(times[name])[len(times[name]) // 2]
        print(f"{NAMES[name]:45s} {middle:7.3f} ms an image, {1000 / middle:7.0f} images/s")

    def against(mine: str, theirs: str) -> dict[str, Any]:
        return compare(f"{NAMES[mine]} against {NAMES[theirs]}", times[mine], times[theirs], "ms an image")

    question = str(__doc__).split("\n", maxsplit=1)[0]
    pairs = [
        ("ours", "timm-cubic"),
        ("ours", "torchvision"),
        ("ours", "decode"),
        ("ours", "decode-pillow"),
        ("ours-160", "timm-160"),
        ("ours-small", "timm-small"),
    ]
    finish(
        compare(question, times["ours"], times["timm"], "ms an image"),
        images=images,
        batch=batch,
        more=[against(*pair) for pair in pairs if set(pair) <= set(names)],
    )


if __name__ == "__main__":
    main()
