"""The learned front-end of a stager, from where it was learned: step 1's encoders, or step 2's with LoRA merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypnostream.errors import UserError
from hypnostream.models.channel_encoder import ChannelEncoder
from hypnostream.models.frame_network import FrameEncoder
from hypnostream.models.lora import merged
from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.pretraining.channel_weights import ENCODER
from hypnostream.training.pretraining.frame_weights import load_frame_encoder, trained_on
from hypnostream.training.pretraining.synthsleepnet_run import trained
from hypnostream.training.running.run import WEIGHTS


@dataclass(frozen=True, slots=True, eq=False)
class LearnedFront:
    """`encoder_of` says which of the `encoders` each channel has; `fused` is step 2's model, None after step 1 alone.

    `met` are the people whose signals were learned from: none of them is a stranger.
    """

    encoders: tuple[FrameEncoder, ...]
    encoder_of: tuple[int, ...]
    fused: SynthSleepNet | None
    met: frozenset[str]


def learned_front(folder: Path, nights: Sequence[SignalNight]) -> LearnedFront:
    """From KIND/ runs of `train neuronet`, channels of a kind sharing an encoder; or from a run of `train
    synthsleepnet` on these nights, each channel with its own. Raises UserError when it is neither, or does not fit."""
    front = _of_step_2(folder, nights) if (folder / WEIGHTS).is_file() else _of_step_1(folder, nights[0].kinds)
    sizes = {encoder.settings for encoder in front.encoders}
    if len(sizes) > 1:
        raise UserError(f"{folder}: its encoders have {len(sizes)} different sizes; train them with one recipe")
    return front


def _of_step_1(folder: Path, kinds: Sequence[str]) -> LearnedFront:
    order = list(dict.fromkeys(kinds))
    files = [folder / kind / ENCODER for kind in order]
    for kind, file in zip(order, files, strict=True):
        if not file.is_file():
            raise UserError(f"{file} is not there; `train neuronet --kind {kind} --out {folder / kind}` makes it")
    encoders = tuple(load_frame_encoder(file, kind) for kind, file in zip(order, files, strict=True))
    met = frozenset[str]().union(*(trained_on(file) for file in files))
    return LearnedFront(encoders, tuple(order.index(kind) for kind in kinds), None, met)


def _of_step_2(run: Path, nights: Sequence[SignalNight]) -> LearnedFront:
    module, held_back = trained(run, nights[:1])
    if module.encoders is None:
        raise UserError(f"{run} read spectral tokens; train synthsleepnet on signal nights")
    own = [merged(each) for each in module.encoders.channels if isinstance(each, ChannelEncoder)]
    if any(each.transformer is not None for each in own):
        raise UserError(f"{run}: its encoders look both ways within an epoch, which no stream can; use depth 0")
    met = frozenset(night.subject for night in nights) - frozenset(held_back)
    return LearnedFront(tuple(each.frames for each in own), tuple(range(len(own))), module.model, met)
