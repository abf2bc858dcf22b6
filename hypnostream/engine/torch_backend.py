"""The same contract run by torch: for parity with onnxruntime, and for those who train. Never needed at a bedside."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from hypnostream.engine.bundle import Bundle
from hypnostream.engine.slots import Arrays
from hypnostream.errors import UserError
from hypnostream.models.epoch_model import EpochModel
from hypnostream.models.stager import Stager, StagerConfig, StagerEnsemble
from hypnostream.models.state import named, rebuilt


class TorchBackend:
    """A trained model in torch behind the bundle's names. See `Backend`."""

    def __init__(self, bundle: Bundle, model: EpochModel) -> None:
        found = {name: tuple(value.shape[1:]) for name, value in named(model.initial_state(1)).items()}
        promised = {state.input: state.shape for state in bundle.content.epoch.states}
        if found != promised:
            raise UserError(f"{bundle.path}: its states {promised} are not those of this model, {found}")
        self._model = model.eval()
        self._states = list(found)
        self._like = model.initial_state(1)
        self.name = f"torch {torch.__version__} cpu"

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        """See `Backend.run`."""
        with torch.no_grad():
            signal, valid, age_s = (torch.from_numpy(inputs[name]) for name in ("signal", "valid", "age_s"))
            state = rebuilt(self._like, [torch.from_numpy(inputs[name]) for name in self._states])
            answer, after = self._model.step(signal, valid, age_s, state)
        following = {f"next_{name}": value.numpy() for name, value in named(after).items()}
        return {name: value.numpy() for name, value in answer._asdict().items()} | following


def load_weights(path: Path) -> StagerEnsemble:
    """Read back what `save_weights` wrote. Raises UserError when the file is none of ours."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            config = msgspec.json.decode(metadata["config"], type=StagerConfig)
            model = StagerEnsemble([Stager(config) for _ in range(int(metadata["members"]))])
            names = list(file.keys())
            missing, unexpected = model.load_state_dict({k: file.get_tensor(k) for k in names}, strict=False)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} holds no weights of a stager: {str(error).splitlines()[0]}") from error
    if unexpected or any(".spectral." not in name for name in missing):
        raise UserError(f"{path} does not fit this stager: missing {missing[:3]}, unexpected {unexpected[:3]}")
    return model.eval()
