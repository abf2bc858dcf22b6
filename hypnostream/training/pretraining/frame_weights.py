"""A trained frame encoder as a file: what is kept of step 1, and what step 2 begins with."""

import hashlib
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import msgspec
from torch import nn

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.errors import UserError
from hypnostream.models.frame_network import FrameEncoder, FrameSettings

FORMAT = "hypnostream-frame-encoder-1"
_MOST_BYTES = 1 << 30


def save_frame_encoder(path: Path, encoder: FrameEncoder, kind: str, people: Collection[str] = ()) -> None:
    """Weights as safetensors; in the header the kind of signal, the sizes, and the `people` that it was trained on."""
    from safetensors.torch import save

    head = {
        "format": FORMAT,
        "kind": kind,
        "settings": msgspec.json.encode(asdict(encoder.settings)).decode(),
        "people": msgspec.json.encode(sorted(people)).decode(),
    }
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in encoder.state_dict().items()}
    write_atomically(path, save(tensors, head))


def sha256_of_weights(*modules: nn.Module) -> str:
    """Of all that they learned, whatever the files it was read from: what makes a run on them the same run."""
    found = hashlib.sha256()
    for module in modules:
        for name, value in module.state_dict().items():
            found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def load_frame_encoder(path: Path, kind: str | None = None) -> FrameEncoder:
    """The encoder with exactly these weights, in evaluation mode.

    Raises UserError when the file is none of ours, or was trained for another `kind` than asked for.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load

    try:
        content = read_bounded(path, _MOST_BYTES)
        with safe_open(path, framework="pt") as file:
            head = file.metadata() or {}
        if head.get("format") != FORMAT:
            raise UserError(
                f"{path}: format is {head.get('format')!r}, {FORMAT!r} is needed: `train neuronet` makes it"
            )
        settings = msgspec.json.decode(head["settings"], type=FrameSettings)
        encoder = FrameEncoder(settings)
        encoder.load_state_dict(load(content))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, msgspec.MsgspecError) as error:
        raise UserError(f"{path} holds no frame encoder: {str(error).splitlines()[0]}") from error
    if kind is not None and head["kind"] != kind:
        raise UserError(f"{path} was trained on {head['kind']!r}, and {kind!r} is asked for; name the right file")
    return encoder.eval()


def trained_on(path: Path) -> frozenset[str]:
    """The people whose nights an encoder has seen: none of them is a stranger to what is built on it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            head = file.metadata() or {}
        return frozenset(msgspec.json.decode(head["people"], type=list[str]))
    except (OSError, SafetensorError, KeyError, RecursionError, msgspec.MsgspecError) as error:
        raise UserError(f"{path} does not say whom it was trained on; make it again with `train neuronet`") from error
