"""Training several stagers side by side, one process and one thread each, and taking up where a killed run stopped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hypnostream.errors import UserError
from hypnostream.models.stager import Stager, StagerEnsemble
from hypnostream.training.nights.token_night import TokenNight, read_token_night
from hypnostream.training.running.many import Failed, run_each
from hypnostream.training.running.run import Run
from hypnostream.training.staging.mean_token import settle_mean_token
from hypnostream.training.staging.stager_task import StagerSettings, StagerTask


@dataclass(frozen=True, slots=True)
class Member:
    """One model to train: on these nights (Parquet files), with these settings, in this folder of a run."""

    nights: tuple[Path, ...]
    settings: StagerSettings
    folder: Path

    @property
    def weights(self) -> Path:
        """The stager's own, there when it is trained."""
        return self.folder / "stager.safetensors"


def train_members(
    members: Sequence[Member], workers: int, progress: Callable[[int, int, str], None] = lambda *_: None
) -> None:
    """Train those that are not done yet. `progress` is told how many are done, of how many, and which came last.

    Raises UserError when a run cannot be done; the others are finished first.
    """
    progress(0, len(members), "")
    failed = []
    for done, (index, result) in enumerate(run_each(train_member, members, workers), start=1):
        if isinstance(result, Failed):
            failed.append(f"{members[index].folder}: {result.message}")
        progress(done, len(members), members[index].folder.name)
    if failed:
        raise UserError("; ".join(failed))


def train_member(member: Member) -> None:
    """Train one, or go on with it, or find it done."""
    from hypnostream.training.bundling.export import save_weights

    torch.set_num_threads(1)
    nights = [read_token_night(path) for path in member.nights]
    run = Run(member.folder, member.settings, {night.name: night.source_sha256 for night in nights})
    if member.weights.exists():
        return
    task = StagerTask(nights, member.settings, scale_of(nights))
    run.train(task, member.settings.loop)
    settle_mean_token(task.module.stager, nights)
    save_weights(StagerEnsemble([task.module.stager]), member.weights)


def scale_of(nights: Sequence[TokenNight]) -> list[TokenNight]:
    """The nights whose statistics the features are scaled by: those with all channels and all stages."""
    whole = [night for night in nights if night.mask.any(axis=0).all()]
    return whole or list(nights)


def ensemble_of(members: Sequence[Member]) -> StagerEnsemble:
    """The trained members together."""
    from hypnostream.engine.torch_backend import load_weights

    stagers = [stager for member in members for stager in load_weights(member.weights).members]
    return StagerEnsemble([stager for stager in stagers if isinstance(stager, Stager)]).eval()


def with_seed(settings: StagerSettings, seed: int) -> StagerSettings:
    """The same recipe from another beginning."""
    return replace(settings, loop=replace(settings.loop, seed=seed))
