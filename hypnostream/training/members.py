"""Training several models side by side, one process and one thread each, and taking up where a killed run stopped."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from hypnostream.models.stager import Stager, StagerEnsemble
from hypnostream.training.fit import FitSettings, fit
from hypnostream.training.token_night import TokenNight, read_token_night


@dataclass(frozen=True, slots=True)
class Member:
    """One model to train: on these nights (Parquet files), with these settings, into this file of weights."""

    nights: tuple[Path, ...]
    settings: FitSettings
    weights: Path

    @property
    def fingerprint(self) -> str:
        """Changes when anything changes that the weights depend on."""
        content = json.dumps([[p.name for p in self.nights], asdict(self.settings)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def done(self) -> bool:
        """Whether these very weights are there already."""
        mark = self.weights.with_suffix(".fingerprint")
        return self.weights.exists() and mark.exists() and mark.read_text() == self.fingerprint


def train_members(
    members: Sequence[Member], workers: int, progress: Callable[[int, int, str], None] = lambda *_: None
) -> None:
    """Train those that are not done yet. `progress` is told how many are done, of how many, and which came last."""
    todo = [member for member in members if not member.done]
    done = len(members) - len(todo)
    progress(done, len(members), "")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(train_member, member): member for member in todo}
        for future in as_completed(futures):
            future.result()
            done += 1
            progress(done, len(members), futures[future].weights.name)


def train_member(member: Member) -> None:
    """Train one and write its weights, its curve and its fingerprint."""
    import torch

    from hypnostream.training.export import save_weights

    torch.set_num_threads(1)
    nights = [read_token_night(path) for path in member.nights]
    member.weights.parent.mkdir(parents=True, exist_ok=True)
    model = fit(nights, member.settings, sleep_edf_of(nights), curve=member.weights.with_suffix(".csv"))
    save_weights(StagerEnsemble([model]), member.weights)
    member.weights.with_suffix(".fingerprint").write_text(member.fingerprint)


def sleep_edf_of(nights: Sequence[TokenNight]) -> list[TokenNight]:
    """The nights whose statistics the features are scaled by: those with all channels and all stages."""
    whole = [night for night in nights if night.mask.any(axis=0).all()]
    return whole or list(nights)


def ensemble_of(members: Sequence[Member]) -> StagerEnsemble:
    """The trained members together."""
    from hypnostream.engine.torch_backend import load_weights

    stagers = [stager for member in members for stager in load_weights(member.weights).members]
    return StagerEnsemble([stager for stager in stagers if isinstance(stager, Stager)]).eval()


def with_seed(settings: FitSettings, seed: int) -> FitSettings:
    """The same recipe from another beginning."""
    return replace(settings, seed=seed)
