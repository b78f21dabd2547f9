"""timm's pretrained weights, from Hugging Face's cache or hub, loaded by timm's own code."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rescale.errors import UserError
from rescale.models.weights.timm_config import preprocess_of
from rescale.preprocess import Preprocess

FILES = ("model.safetensors", "pytorch_model.bin")  # of a repository, in timm's order
HUB_TIMEOUT = 5.0  # seconds


class Pretrained(NamedTuple):
    """timm's weights of a model. name: timm's name with tag. tensors: by timm's names."""

    name: str
    file: Path
    tensors: dict[str, Tensor]
    preprocess: Preprocess
    notes: list[str]


def pretrained(name: str) -> Pretrained:
    """timm's own weights of a model.

    Args:
        name: timm's name, such as `resnet50` or, with a tag, `resnet50.tv_in1k`. Without a tag, timm's
            default weights are used.

    Raises:
        UserError: timm is missing or has no weights of this name, or the file is not in the cache and cannot
            be downloaded; the message says what to do.
    """
    try:
        import timm
    except ImportError:
        raise UserError("--weights pretrained needs timm: pip install 'rescale-vision[timm]'") from None
    bare, _, _ = name.partition(".")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None or not config.has_weights:
        tagged = ", ".join(timm.list_pretrained(f"{bare}.*")[:5])
        raise UserError(
            f"timm has no pretrained weights for {name}" + (f"; it has: {tagged}" if tagged else "")
        )
    full_name = f"{config.architecture or bare}.{config.tag}" if config.tag else name
    if config.hf_hub_id:
        file = _from_hub(full_name, config.hf_hub_id)
    else:
        file = _from_torch_cache(full_name, config.url)
    try:
        # initialising the module must not advance the caller's random number generator
        with torch.random.fork_rng(devices=[]):
            module = timm.create_model(
                name,
                pretrained=True,
                num_classes=config.num_classes,
                pretrained_cfg_overlay={"file": str(file), "custom_load": False},
            )
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{file}: timm cannot load it as {full_name}; remove it and download it again: {reason}"
        ) from None
    settings = config.to_dict()
    settings["label_names"] = config.label_names or _imagenet_labels(settings)
    preprocess, notes = preprocess_of(settings, config.input_size[-1], full_name)
    notes.insert(0, f"timm's weights {full_name}, for {config.input_size[-1]} pixels")
    if preprocess.labels and not config.label_names:
        notes.append(f"outputs are named by timm's list of ImageNet's {len(preprocess.labels)} synsets")
    return Pretrained(full_name, file, dict(module.state_dict()), preprocess, notes)


def _imagenet_labels(settings: dict[str, Any]) -> list[str]:
    """ImageNet-1k's synsets if the tag of the weights says that these are the outputs; otherwise empty."""
    from timm.data import ImageNetInfo

    is_imagenet = str(settings.get("tag", "")).endswith("in1k") and settings.get("num_classes") == 1000
    return list(ImageNetInfo("imagenet-1k").label_names()) if is_imagenet else []


def _from_hub(name: str, repository: str) -> Path:
    """The weights file of a repository on the hub, from the cache or downloaded."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for cached in _cached(repository):
        return cached
    folder = "models--" + repository.replace("/", "--")
    remedy = (
        f"download {FILES[0]} of the hub's repository {repository} elsewhere and give --weights FILE, "
        f"or copy the cache's folder {folder} into {constants.HF_HUB_CACHE}"
    )
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{name}: not in the cache, and HF_HUB_OFFLINE is set; {remedy}")
    if not _reachable(constants.ENDPOINT):
        raise UserError(f"{name}: not in the cache, and the hub cannot be reached; {remedy}")
    for filename in FILES:
        try:
            return Path(hf_hub_download(repository, filename))
        except EntryNotFoundError:
            continue  # the repository may have the other file
        except OSError as error:
            raise UserError(
                f"{name}: cannot be downloaded ({' '.join(str(error).split())[:150]}); {remedy}"
            ) from None
    raise UserError(f"{name}: the hub's repository {repository} has no {' or '.join(FILES)}")


def _cached(repository: str) -> Iterator[Path]:
    from huggingface_hub import try_to_load_from_cache

    for filename in FILES:
        path = try_to_load_from_cache(repository, filename)
        if isinstance(path, str):
            yield Path(path)


def _from_torch_cache(name: str, url: str) -> Path:
    """The weights file in torch's download cache, for the few of timm's weights that are not on the hub."""
    filename = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / filename
    if not path.is_file():
        raise UserError(
            f"{name}: not on the hub; download {url} and give --weights FILE, or put it at {path}"
        )
    return path


def _reachable(endpoint: str) -> bool:
    """Whether the hub answers within the timeout; its own client retries for almost a minute."""
    try:
        with urllib.request.urlopen(endpoint, timeout=HUB_TIMEOUT):
            return True
    except urllib.error.HTTPError:
        return True  # it answered
    except OSError:
        return False
