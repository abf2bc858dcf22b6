"""What step 1 left for a kind of signal, as step 2's encoder of a channel: every weight read, none drawn."""

from pathlib import Path

from hypnostream.bounded_file import read_bounded
from hypnostream.errors import UserError
from hypnostream.models.channel_encoder import ChannelEncoder, ChannelEncoderSettings
from hypnostream.training.pretraining.frame_weights import load_frame_encoder, trained_on
from hypnostream.training.running.run import WEIGHTS

ENCODER = "encoder.safetensors"
_MOST_BYTES = 1 << 30
# NeuroNet's names and the channel encoder's; its decoder, projector and cls token are left behind.
_PARTS = {"frames.": "frames.", "encoder_in.": "embed.", "encoder_positions": "positions", "encoder.": "transformer."}


def pretrained_encoders(folder: Path, settings: ChannelEncoderSettings) -> dict[str, ChannelEncoder]:
    """The encoders of `folder`/KIND, each a run of `train neuronet`, by kind.

    With a transformer (`depth`) it is read from the run's whole weights, else the run's frame encoder is all there is.
    Raises UserError when a run does not hold what `settings` ask for, or there is no run.
    """
    runs = sorted(path.parent for path in folder.glob(f"*/{ENCODER}"))
    if not runs:
        raise UserError(f"{folder} holds no KIND/{ENCODER}; `train neuronet --kind KIND --out {folder}/KIND` makes it")
    return {run.name: _of_neuronet(run, settings) if settings.depth else _of_frames(run, settings) for run in runs}


def people_met(folder: Path) -> frozenset[str]:
    """Everybody whom one of these encoders was trained on."""
    return frozenset[str]().union(*(trained_on(path) for path in folder.glob(f"*/{ENCODER}")))


def _of_frames(run: Path, settings: ChannelEncoderSettings) -> ChannelEncoder:
    frames = load_frame_encoder(run / ENCODER, run.name)
    if frames.settings != settings.frame:
        raise UserError(f"{run} has frames of {frames.settings}, the recipe asks for {settings.frame}; use its sizes")
    encoder = ChannelEncoder(settings)
    encoder.frames = frames
    return encoder.train(False)


def _of_neuronet(run: Path, settings: ChannelEncoderSettings) -> ChannelEncoder:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        whole = load(read_bounded(run / WEIGHTS, _MOST_BYTES))
        found = {
            new + name.removeprefix(old): value
            for name, value in whole.items()
            for old, new in _PARTS.items()
            if name.startswith(old)
        }
        encoder = ChannelEncoder(settings)
        encoder.load_state_dict(found)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(f"{run / WEIGHTS} does not fit the recipe's encoder: {str(error).splitlines()[0]}") from error
    return encoder.train(False)
