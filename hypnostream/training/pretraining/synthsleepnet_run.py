"""`hypnostream train synthsleepnet` and `train probe`: from nights to a pretrained model, and what it knows."""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.engine.agreement import Agreement
from hypnostream.errors import UserError
from hypnostream.models.channel_encoder import ChannelEncoder, ChannelEncoders
from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.training.evaluation.binary import BinaryAgreement, binary_table
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.signal_nights import HEAD
from hypnostream.training.nights.signal_store import signal_nights_in
from hypnostream.training.nights.token_night import TokenNight, read_token_night
from hypnostream.training.nights.windows import Windows
from hypnostream.training.pretraining.channel_weights import people_met, pretrained_encoders
from hypnostream.training.pretraining.collapse import collapse_line, collapse_of
from hypnostream.training.pretraining.cross_modal_task import CrossModalTask, Pretrained
from hypnostream.training.pretraining.frame_weights import sha256_of_weights
from hypnostream.training.pretraining.pretrain_synthsleepnet import (
    Nights,
    SynthSleepNetRecipe,
    features,
    fingerprint,
    held_out,
    of_signals,
    of_tokens,
)
from hypnostream.training.pretraining.probe import Labelled, ProbeResult, probe
from hypnostream.training.recipe import load_settings, recipe_path, sizes_of
from hypnostream.training.running.distributed import first
from hypnostream.training.running.progress import told
from hypnostream.training.running.run import WEIGHTS, Run

_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class _Asked:
    """What makes a run the same run. `encoders` is where step 1's encoders came from, if any."""

    recipe: SynthSleepNetRecipe
    encoders: str
    held_out: tuple[str, ...]


def synthsleepnet_command(nights: Path, out: Path, recipe: str, encoders: Path | None) -> None:
    """Pretrain on all but the held-out people, then probe stages with the trained and the untrained model."""
    settings = load_settings(recipe_path(recipe), SynthSleepNetRecipe)
    with sizes_of(recipe), torch.device("meta"):
        ChannelEncoders([ChannelEncoder(settings.encoder)], [True], settings.lora, settings.lora_layers)
        SynthSleepNet(1, 1, settings.model)
    report = pretrain(nights_in(nights), out, settings, encoders)
    if not first():
        return
    print(collapse_line(report["collapse"]))
    for name, found in report["probes"].items():
        print(f"{name}: {found}")
    if not report["probes"]:
        print("no probes: they need stages of two people trained on, and of one held out")
    print(f"weights: {out / WEIGHTS}")


def probe_command(run: Path, nights: Path, task: str, out: Path | None) -> None:
    """Probe a finished run for a task, on the people that it was held back from."""
    asked = _asked(run)
    every = nights_in(nights)
    train, test = apart(every, asked.held_out)
    module, _ = built(train, asked.recipe, Path(asked.encoders) if asked.encoders else None)
    untrained = copy.deepcopy(module)
    _load(module, run / WEIGHTS)
    found = {name: _probed(each, train, test, task, asked.recipe) for name, each in _both(untrained, module)}
    write_atomically(
        out or run / f"probe-{task}.json", json.dumps({k: _figures(v) for k, v in found.items()}, indent=2).encode()
    )
    print(table(found))


def pretrain(nights: Nights, out: Path, recipe: SynthSleepNetRecipe, encoders: Path | None) -> dict[str, Any]:
    """Train, or go on where a killed run stopped; writes the run's folder and report.json, and returns the latter.

    It holds `collapse` (rank and variance of the held-out features) and `probes` of stages, untrained and trained; no
    probes where stages of two people to fit on or of one to test on are wanting.
    """
    met = people_met(encoders) if encoders else frozenset[str]()
    away = held_out([night.subject for night in nights], recipe.tested, recipe.loop.seed, met)
    train, test = apart(nights, away)
    module, windows = built(train, recipe, encoders)
    untrained = copy.deepcopy(module)
    hashes = {night.name: fingerprint(night) for night in nights}
    if encoders:
        given = pretrained_encoders(encoders, recipe.encoder)
        hashes |= {f"encoder {kind}": sha256_of_weights(encoder) for kind, encoder in given.items()}
    run = Run(out, _Asked(recipe, str(encoders or ""), tuple(sorted(away))), hashes)
    with told("synthsleepnet") as progress:

        def after_pass(done: int, passes: int, losses: dict[str, float]) -> None:
            progress(done, passes, " ".join(f"{name} {value:.3f}" for name, value in losses.items()))

        run.train(CrossModalTask(module, windows, recipe.objective, recipe.loop.seed), recipe.loop, after_pass)
    if not first():  # of several processes one probes and writes
        return {}
    module.cpu()
    able = _staged(train) > 1 and _staged(test) > 0
    found = {n: _probed(m, train, test, "stage", recipe) for n, m in _both(untrained, module)} if able else {}
    report = {
        "people": {"trained on": len({n.subject for n in train}), "held out": len(away)},
        "nights": sorted({n.set_name for n in nights}),
        "collapse": {n: _collapse(features(m, test, "stage", recipe.within)) for n, m in _both(untrained, module)},
        "probes": {name: _figures(each) for name, each in found.items()},
    }
    write_atomically(out / "report.json", json.dumps(report, indent=2).encode())
    return report


def trained(run: Path, nights: Nights) -> tuple[Pretrained, tuple[str, ...]]:
    """The model of a finished run, which was made of nights like these, and the subjects that it was held back from.

    Raises UserError when the folder holds no such run, or it does not fit the nights' channels.
    """
    asked = _asked(run)
    module, _ = built(nights, asked.recipe, Path(asked.encoders) if asked.encoders else None)
    _load(module, run / WEIGHTS)
    return module.eval(), asked.held_out


def nights_in(folder: Path) -> Nights:
    """The token nights (*.parquet) or the signal nights (folders) that a folder holds. Raises UserError for neither."""
    tokens = sorted(folder.glob("*.parquet"))
    if tokens:
        return [read_token_night(path) for path in tokens]
    if not any(folder.glob(f"*/{HEAD}")):
        raise UserError(f"{folder} holds neither token nights (*.parquet) nor signal nights (*/{HEAD})")
    return signal_nights_in(folder)


def apart(nights: Nights, away: Sequence[str] | frozenset[str]) -> tuple[Nights, Nights]:
    """Nights of the others, and of those held out. Raises UserError when one side is empty."""
    train = [night for night in nights if night.subject not in away]
    test = [night for night in nights if night.subject in away]
    if not train or not test:
        raise UserError(f"{len(train)} nights to learn from and {len(test)} of those held out ({', '.join(away)})")
    return _of_one_sort(train), _of_one_sort(test)


def built(train: Nights, recipe: SynthSleepNetRecipe, encoders: Path | None) -> tuple[Pretrained, Windows]:
    """The untrained model for these nights, and their windows."""
    tokens = [night for night in train if isinstance(night, TokenNight)]
    if tokens and encoders:
        raise UserError("token nights need no encoders; leave --encoders out, or give signal nights")
    if tokens:
        return of_tokens(recipe, tokens)
    signals = [night for night in train if isinstance(night, SignalNight)]
    return of_signals(recipe, signals, pretrained_encoders(encoders, recipe.encoder) if encoders else {})


def table(found: dict[str, ProbeResult]) -> str:
    """A Markdown table of probes; a yes-or-no task's has the majority rate beside the accuracy."""
    rows = [(f"{name}, {kind}", getattr(each, kind)) for name, each in found.items() for kind in ("linear", "network")]
    binary = [(name, each) for name, each in rows if isinstance(each, BinaryAgreement)]
    if binary:
        return binary_table(binary)
    lines = ["| | n | accuracy | macro F1 | kappa |", "|---|---|---|---|---|"]
    for name, each in rows:
        values = " | ".join("–" if v is None else f"{v:.3f}" for v in (each.accuracy, each.macro_f1, each.kappa))
        lines.append(f"| {name} | {each.n} | {values} |")
    return "\n".join(lines) + "\n"


def _staged(nights: Nights) -> int:
    """How many people somebody staged."""
    return len({night.subject for night in nights if (night.stage >= 0).any()})


def _probed(module: Pretrained, train: Nights, test: Nights, task: str, recipe: SynthSleepNetRecipe) -> ProbeResult:
    fitted, tested = (features(module, part, task, recipe.within) for part in (train, test))
    return probe(fitted, tested, task, recipe.probe)


def _both(untrained: Pretrained, trained: Pretrained) -> tuple[tuple[str, Pretrained], ...]:
    return ("untrained", untrained), ("trained", trained)


def _figures(found: ProbeResult) -> dict[str, dict[str, Any]]:
    out = {}
    for kind, each in (("linear", found.linear), ("network", found.network)):
        if isinstance(each, Agreement):
            out[kind] = {"n": each.n, "accuracy": each.accuracy, "macro_f1": each.macro_f1, "kappa": each.kappa}
        else:
            out[kind] = asdict(each)
    return out


def _collapse(found: Labelled) -> dict[str, float]:
    return collapse_of(torch.from_numpy(found.features))


def _of_one_sort(nights: Sequence[TokenNight | SignalNight]) -> Nights:
    tokens = [night for night in nights if isinstance(night, TokenNight)]
    signals = [night for night in nights if isinstance(night, SignalNight)]
    return tokens or signals


def _asked(run: Path) -> _Asked:
    try:
        record = json.loads(read_bounded(run / "run.json", _MOST_BYTES))
        return msgspec.convert(record["config"], _Asked)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, msgspec.ValidationError) as error:
        raise UserError(f"{run} is no run of `train synthsleepnet`: {str(error).splitlines()[0]}") from error


def _load(module: Pretrained, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        module.load_state_dict(load(read_bounded(path, _MOST_BYTES)))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} does not fit these nights: {str(error).splitlines()[0]}") from error
