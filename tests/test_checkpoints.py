"""Checkpoints as training scripts write them: by timm's, torchvision's and torch's own classes."""

import argparse
import collections
import datetime
import os
import re
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel

from rescale.errors import UserError
from rescale.lookup import network
from rescale.models import build, load_weights
from rescale.models.weights.read import read_checkpoint
from rescale.models.weights.state_dicts import unwrapped
from test_models import randomise

NET = network("resnet26x0.25@32").with_classes(4)


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "w.pth")
    return folder / "w.pth"


def under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


RAW, MEAN = small(1).state_dict(), small(2).state_dict()


@pytest.mark.parametrize(
    ("content", "averaged", "tensors", "words"),
    [
        (RAW, None, RAW, ""),
        ({"state_dict": RAW, "epoch": 3, "optimizer": {"state": {0: RAW}}}, None, RAW, ""),
        ({"model": {"state_dict": RAW}}, None, RAW, ""),
        ({"weights": RAW, "epoch": torch.tensor(3)}, None, RAW, ""),
        ({"state_dict": RAW, "state_dict_ema": MEAN}, True, MEAN, "'state_dict_ema' .* holds state_dict"),
        ({"model": RAW, "model_ema": MEAN}, True, MEAN, "'model_ema' .* also holds model"),
        ({"model": RAW, "ema": {"decay": 0.9, "module": MEAN}}, True, MEAN, "'ema.module' .* holds model"),
        ({"ema": MEAN, "state_dict_ema": RAW}, True, RAW, "'state_dict_ema' .* also holds ema"),
        ({"state_dict_ema": None, "state_dict": RAW}, None, RAW, ""),
        ({"state_dict": RAW, "model": MEAN}, None, RAW, "'state_dict' .* also holds model"),
        ({"model": RAW, "ema": {"shadow_params": [MEAN["0.weight"]]}}, None, RAW, "'ema' .* unsupported"),
        ({"model": RAW, "criterion": {"weight": torch.ones(3)}}, None, RAW, ""),
        ({"params": RAW, "params_ema": MEAN}, True, MEAN, "'params_ema' .* also holds params"),
        (under("model.", RAW) | under("ema_model.", MEAN), True, MEAN, "'ema_model' .* also holds model"),
    ],
)  # fmt: skip
def test_the_state_dict_that_is_taken(content, averaged, tensors, words: str, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(content, tmp_path))
    assert checkpoint.averaged is averaged and equal(checkpoint.tensors, tensors)
    assert len(checkpoint.notes) == bool(words)
    assert all(re.search(words, note) for note in checkpoint.notes)


@pytest.mark.parametrize(
    "key",
    [
        *(
            "ema_state",
            "ema_weights",
            "ema_net",
            "net_ema",
            "ema_params",
            "ema_model_state",
            "model_state_ema",
        ),
        *(
            "ema_net_state_dict",
            "model_ema_best",
            "EMA",
            "modelEMA",
            "swa",
            "swa_state_dict",
            "state_dict_swa",
        ),
        *("model_avg", "avg_model", "averaged", "polyak", "shadow", "ema_0.999"),
    ],
)
@pytest.mark.parametrize("raw", ["state_dict", "model_state", "weights"])
def test_a_key_that_is_named_like_an_average(key: str, raw: str, tmp_path: Path) -> None:
    path = saved({raw: RAW, key: MEAN, "epoch": 1}, tmp_path)
    for averaged, state in ((None, MEAN), (True, MEAN), (False, RAW)):
        checkpoint = read_checkpoint(path, averaged=averaged)
        assert equal(checkpoint.tensors, state) and checkpoint.averaged is (averaged is not False)
        (note,) = checkpoint.notes
        assert f"the file also holds {raw if checkpoint.averaged else key} (" in note


def test_what_is_only_named_like_an_average(tmp_path: Path) -> None:
    """Neither metrics nor an optimizer's moments, and layers stay in their network."""
    moments = under("", {name: tensor + 1 for name, tensor in RAW.items()})
    for content in (
        {"state_dict": RAW, "avg_losses": {"train": torch.ones(3)}},
        {"state_dict": RAW, "exp_avg": moments},
        {"state_dict": RAW, "optimizer": {"ema": moments, "exp_avg": moments}},
        RAW | {"avg_proj.weight": torch.ones(3)},
        RAW | {"avg_proj.weight": torch.ones(3), "proj.weight": torch.ones(3)},
    ):
        checkpoint = read_checkpoint(saved(content, tmp_path))
        assert checkpoint.averaged is None
        assert equal(checkpoint.tensors, content.get("state_dict", content))
    path = saved({"state_dict": RAW, "emacs": MEAN}, tmp_path)
    assert read_checkpoint(path).averaged is None


def test_every_state_dict_of_the_same_tensors_is_named(tmp_path: Path) -> None:
    path = saved(
        {"state_dict": RAW, "teacher": MEAN, "best": MEAN, "criterion": {"w": torch.ones(2)}}, tmp_path
    )
    checkpoint = read_checkpoint(path)
    assert equal(checkpoint.tensors, RAW) and checkpoint.averaged is None
    (note,) = checkpoint.notes
    assert "under 'state_dict' are used; the file also holds teacher, best (" in note
    words = (
        r"no averaged weights \(it holds state_dict, teacher, best, criterion\); use --raw or --weights-key"
    )
    with pytest.raises(UserError, match=words):
        read_checkpoint(path, averaged=True)


def test_several_averages_under_unusual_keys_are_asked_for(tmp_path: Path) -> None:
    path = saved({"state_dict": RAW, "ema_0.99": MEAN, "ema_0.9": MEAN}, tmp_path)
    with pytest.raises(
        UserError, match=r"several state dicts \(ema_0.99, ema_0.9\); choose .* --weights-key"
    ):
        read_checkpoint(path)
    assert equal(read_checkpoint(path, "ema_0.9").tensors, MEAN)
    assert equal(read_checkpoint(path, averaged=False).tensors, RAW)


def test_an_average_without_batch_norm_s_statistics(tmp_path: Path) -> None:
    parameters = {name: MEAN[name] for name, _ in small().named_parameters()}
    checkpoint = read_checkpoint(saved({"model": RAW, "shadow": parameters}, tmp_path))
    assert equal(checkpoint.tensors, {name: parameters.get(name, RAW[name]) for name in RAW})
    assert checkpoint.averaged is True
    assert re.search(r"statistics \(1.running_mean, .*not averaged; those under 'model'", checkpoint.notes[1])


def test_a_bare_averaged_model(tmp_path: Path) -> None:
    average = AveragedModel(randomise(build(NET)))
    path = saved(average.state_dict(), tmp_path)
    for averaged in (None, True):
        model = build(NET)
        report = load_weights(model, path, averaged=averaged)
        assert report.averaged is True and not report.unused
        assert "n_averaged of torch's AveragedModel" in report.notes[0]
        assert equal(dict(model.state_dict()), dict(average.module.state_dict()))
    with pytest.raises(UserError, match=r"averaged weights only, with the counter n_averaged.*--averaged"):
        load_weights(build(NET), path, averaged=False)


def test_lightning_s_weight_averaging(tmp_path: Path) -> None:
    """Its on_save_checkpoint stores the average under `state_dict`, and moves the raw weights."""
    content = {
        "state_dict": under("model.", MEAN),
        "current_model_state": under("model.", RAW),
        "averaging_state": {"n_averaged": torch.tensor(4)},
        "callbacks": {"WeightAveraging": {"latest_update_step": 4}},
    }
    path = saved(content, tmp_path)
    for averaged, state in ((None, MEAN), (True, MEAN), (False, RAW)):
        checkpoint = read_checkpoint(path, averaged=averaged)
        assert equal(checkpoint.tensors, under("model.", state))
        assert checkpoint.averaged is (averaged is not False)


@pytest.mark.parametrize(
    "content",
    [
        under("net.", RAW) | under("net_ema.", MEAN),
        under("net.", RAW) | under("net_ema.module.", MEAN) | {"net_ema.n_averaged": torch.tensor(4)},
        under("module.net.", RAW) | under("module.net_ema.", MEAN),
        under("net.", RAW) | under("ema.module.net.", MEAN) | {"criterion.weight": torch.ones(2)},
        RAW | under("ema.", MEAN),
    ],
    ids=["net_ema", "AveragedModel", "wrapped", "all", "bare"],
)
def test_a_model_and_its_average_in_one_state_dict(content, tmp_path: Path) -> None:
    path = saved({"state_dict": content}, tmp_path)
    known = list(RAW)
    for averaged, state in ((None, MEAN), (True, MEAN), (False, RAW)):
        checkpoint = read_checkpoint(path, averaged=averaged)
        assert checkpoint.averaged is (averaged is not False)
        bare, outside = unwrapped(checkpoint.tensors, known)
        assert equal({short: checkpoint.tensors[full] for full, short in bare.items()}, state)
        assert not any("ema" in name for name in outside)


def test_a_key_chooses(tmp_path: Path) -> None:
    path = saved({"state_dict": RAW, "state_dict_ema": MEAN}, tmp_path)
    raw, mean = (read_checkpoint(path, key) for key in ("state_dict", "state_dict_ema"))
    assert equal(raw.tensors, RAW) and raw.averaged is False and not raw.notes
    assert equal(mean.tensors, MEAN) and mean.averaged is True
    with pytest.raises(UserError, match=r"under 'state_dict_em'; did you mean 'state_dict_ema'"):
        read_checkpoint(path, "state_dict_em")
    path = saved({"generator": RAW, "discriminator": MEAN}, tmp_path)
    with pytest.raises(UserError, match=r"several state dicts \(generator, discriminator\).*--weights-key"):
        read_checkpoint(path)
    assert equal(read_checkpoint(path, "discriminator").tensors, MEAN)
    save_file(under("model.", RAW) | under("average.", MEAN), tmp_path / "both.safetensors")
    assert equal(read_checkpoint(tmp_path / "both.safetensors").tensors, MEAN)
    assert equal(read_checkpoint(tmp_path / "both.safetensors", "model").tensors, RAW)


def test_raw_or_averaged_weights_can_be_asked_for(tmp_path: Path) -> None:
    path = saved({"state_dict": RAW, "state_dict_ema": MEAN}, tmp_path)
    for averaged, state, words in ((None, MEAN, "averaged"), (True, MEAN, "averaged"), (False, RAW, "raw")):
        checkpoint = read_checkpoint(path, averaged=averaged)
        assert equal(checkpoint.tensors, state) and checkpoint.averaged is (averaged is not False)
        (note,) = checkpoint.notes
        assert note.startswith(f"the {words} weights under 'state_dict") and "also holds state_dict" in note
    with pytest.raises(UserError, match="names the weights; leave out --averaged and --raw"):
        read_checkpoint(path, "state_dict", averaged=True)
    for content, averaged, words in (
        ({"state_dict": RAW}, True, r"names no averaged weights \(it holds state_dict\); use --raw"),
        (
            {"model": RAW, "ema": {"shadow_params": [RAW["0.weight"]]}},
            True,
            r"unsupported form \(it holds model\); use --raw",
        ),
        ({"state_dict_ema": MEAN}, False, "averaged weights only, under 'state_dict_ema'; use --averaged"),
        ({"state_dict_ema": MEAN, "a": RAW, "b": RAW}, False, r"several state dicts \(a, b\)"),
    ):
        with pytest.raises(UserError, match=words):
            read_checkpoint(saved(content, tmp_path), averaged=averaged)
    assert read_checkpoint(saved({"state_dict": RAW}, tmp_path), averaged=False).averaged is None


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_pickle_of_another_protocol_is_refused_in_our_words(protocol: int, tmp_path: Path, recwarn) -> None:
    torch.save(
        {"state_dict": RAW, "args": argparse.Namespace()}, tmp_path / "w.pth", pickle_protocol=protocol
    )
    with pytest.raises(UserError, match=r"damaged, or its pickle \(.*save the state dict alone") as caught:
        read_checkpoint(tmp_path / "w.pth")
    assert "\n" not in str(caught.value) and "PyTorch" not in str(caught.value)
    assert not recwarn.list


@pytest.mark.parametrize("wrapper", [AveragedModel, ModelEmaV3], ids=lambda wrapper: wrapper.__name__)
def test_averages_of_torch_and_timm(wrapper, tmp_path: Path) -> None:
    model = build(NET)
    average = wrapper(randomise(build(NET)))
    path = saved({"model": model.state_dict(), "model_ema": average.state_dict()}, tmp_path)
    report = load_weights(model, path)
    assert report.averaged and not report.kept and not report.unused
    assert equal(dict(model.state_dict()), dict(average.module.state_dict()))


def test_wrapped_models(tmp_path: Path) -> None:
    source = randomise(build(NET))
    compiled = torch.compile(nn.DataParallel(source))
    assert next(iter(compiled.state_dict())).startswith("_orig_mod.module.")
    for content in (compiled.state_dict(), {"state_dict": under("model.", compiled.state_dict())}):
        model = build(NET)
        assert not equal(dict(model.state_dict()), dict(source.state_dict()))
        assert not load_weights(model, saved(content, tmp_path)).notes
        assert equal(dict(model.state_dict()), dict(source.state_dict()))


def test_what_lies_outside_the_wrapped_model_is_named(tmp_path: Path) -> None:
    source = randomise(build(NET))
    content = under("model.", source.state_dict()) | {"criterion.weight": torch.ones(4)}
    model = build(NET)
    report = load_weights(model, saved({"state_dict": content}, tmp_path))
    assert report.notes == ("ignored, since they are not part of the model: criterion.weight (1 in all)",)
    assert report.unused == ("criterion.weight",)
    assert equal(dict(model.state_dict()), dict(source.state_dict()))


def test_names_that_are_the_model_s_own_keep_their_prefix() -> None:
    known = ["model.a", "model.b", "head.c"]
    assert unwrapped(known, known) == ({name: name for name in known}, [])
    full = [f"module.{name}" for name in known]
    assert unwrapped([*full, "n_averaged"], known) == (dict(zip(full, known, strict=True)), [])


def test_harmless_content_beside_the_weights(tmp_path: Path) -> None:
    content = {
        "state_dict": collections.OrderedDict(RAW),
        "args": argparse.Namespace(lr=0.1, out=Path("a/b"), inner=argparse.Namespace(deep=True)),
        "metric": np.float64(71.5),
        "half": np.float16(0.5),
        "count": np.int64(3),
        "yes": np.bool_(True),
        "history": collections.defaultdict(list, loss=[1.0]),
        "random": np.random.default_rng(0).integers(0, 9, 3),
        "state": np.random.RandomState(0).get_state(),
        "options": types.SimpleNamespace(lr=0.1),
        "date": datetime.datetime(2026, 11, 28),
        "took": datetime.timedelta(seconds=3),
        "size": torch.Size([1]),
        "device": torch.device("cpu"),
        "recent": collections.deque([1.0, 2.0], maxlen=3),
        "frozen": frozenset(("stem",)),
        "counts": collections.Counter("aab"),
        "zone": datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC),
    }
    path = saved(content, tmp_path)
    assert equal(read_checkpoint(path).tensors, RAW)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert equal(read_checkpoint(path).tensors, RAW)


class Configuration:
    """Of a user: reading it back would run code of theirs."""


class Evil:
    def __reduce__(self):
        return (print, ("this pickle ran",))


class Shell:
    def __reduce__(self):
        return (os.system, ("echo this pickle ran",))


@pytest.mark.parametrize("new", [True, False])
def test_what_a_pickle_asks_for_is_named(new: bool, tmp_path: Path, capsys) -> None:
    for content, asked in (
        ({"model": RAW, "config": Configuration()}, "test_checkpoints.Configuration"),
        ({"model": RAW, "evil": Evil()}, "print"),
        ({"model": RAW, "evil": Shell()}, "system"),
        (small(), "torch.nn.modules.container.Sequential"),
        ({"model": RAW, "args": argparse.Namespace(evil=Evil())}, "print"),
    ):
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
        with pytest.raises(UserError, match=rf"needs .*{asked}.*save the state dict alone") as caught:
            read_checkpoint(tmp_path / "w.pth")
        assert len(caught.value.lines) == 1 and "\n" not in str(caught.value)
    assert "this pickle ran" not in capsys.readouterr().out


class Settings(dict):
    """Of a user, too."""


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    ("content", "key"),
    [
        (small(1), ""),
        ({"model": small(1), "epoch": 3}, "model"),
        ({"trainer": {"net": small(1), "step": 1}, "config": Configuration()}, "trainer.net"),
        ({"state_dict": RAW, "state_dict_ema": MEAN, "config": Settings(lr=0.1)}, "state_dict"),
    ],
    ids=["model", "in a dictionary", "nested", "beside"],
)
def test_the_code_that_saves_the_state_dict_alone_works(content, key: str, new: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path, _use_new_zipfile_serialization=new)
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    (line,) = caught.value.lines
    assert len(line.removeprefix(str(path))) < 300
    if not key:
        assert "a whole model: reading it needs torch.nn.modules.container.Sequential" in line
    _, _, code = line.partition("if you trust the file, save the state dict alone: ")
    exec(code, {"torch": torch, "FILE": path, "NEW": tmp_path / "new.pth"})
    assert equal(read_checkpoint(tmp_path / "new.pth", key).tensors, RAW)
    averages = [item for item in ("state_dict_ema",) if isinstance(content, dict) and item in content]
    assert read_checkpoint(tmp_path / "new.pth").averaged is (True if averages else None)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_torchscript_program_is_named_and_its_weights_can_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.jit.save(torch.jit.trace(small(1).eval(), torch.zeros(1, 3, 3, 3)), path)
    with pytest.raises(
        UserError, match=r"w.pth: a TorchScript program, not weights; save its .*alone: "
    ) as caught:
        read_checkpoint(path)
    (line,) = caught.value.lines
    assert "weights_only" not in line
    code = line.partition("alone: ")[2]
    exec(code, {"torch": torch, "FILE": path, "NEW": tmp_path / "new.pth"})
    assert equal(read_checkpoint(tmp_path / "new.pth").tensors, RAW)


def test_files_that_are_no_complete_ones_of_torch_save(tmp_path: Path) -> None:
    whole = saved({"state_dict": RAW}, tmp_path).read_bytes()
    save_file(RAW, tmp_path / "a.safetensors")
    pointer = b"version https://git-lfs.github.com/spec/v1"
    for content, words in (
        (b"", r"w.pth: is empty; copy or download it again"),
        (whole[: len(whole) // 2], r"w.pth: incomplete, its end is missing; copy or download it again"),
        (b"hello", r"w.pth: not a file of torch.save \(it begins with b'hello'\)"),
        (pointer, r"it begins with b'version https://git-lfs"),
        ((tmp_path / "a.safetensors").read_bytes(), r"holds safetensors; name it \*.safetensors"),
    ):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(UserError, match=words) as caught:
            read_checkpoint(tmp_path / "w.pth")
        assert len(caught.value.lines) == 1 and "Errno" not in str(caught.value)


def test_a_damaged_pickle_is_one_line(tmp_path: Path) -> None:
    whole = saved({"state_dict": RAW}, tmp_path).read_bytes()
    path = tmp_path / "cut.pth"
    for size in range(0, len(whole), 211):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut.pth: ") as caught:
            read_checkpoint(path)
        assert len(caught.value.lines) == 1 and "\n" not in str(caught.value)
    torch.save({"state_dict": RAW}, path, _use_new_zipfile_serialization=False)
    old = path.read_bytes()
    for size in range(0, len(old), 211):
        path.write_bytes(old[:size])
        with pytest.raises(UserError, match=r"cut.pth: "):
            read_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    state = small().state_dict()
    state["3.weight"][0, 1] = value
    with pytest.raises(UserError, match=r"NaN or infinite values in 1 of its tensors \(3.weight\)"):
        read_checkpoint(saved({"model": state}, tmp_path))


def test_nothing_of_weights(tmp_path: Path) -> None:
    for content in ([1, 2], {}, {"epoch": 3}, {"state_dict": {}}, {"optimizer": {"state": {0: RAW}}}, 7):
        with pytest.raises(UserError, match="holds no state dict of tensors"):
            read_checkpoint(saved(content, tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: the folder has no weights file, no model.safetensors or"):
        read_checkpoint(tmp_path / "empty")
