"""The one real night at hand with several sensors of breathing: Santa Fe set B, by rules and by the learned model.

    python -m benchmarks.santa_fe RUN [--data ../shared/data]    # RUN: what `hypnostream train breathing` wrote

The chest's volume and the oximeter's counts have lost their units. A belt needs none; counts are taken to be
proportional to the saturation, 97 % where the night's 95th percentile is, which is an assumption, made of the whole
night. At 2 Hz, less than the engine takes, the chest is drawn in between by straight lines.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks.breathing_events import of_rules, played
from benchmarks.report import heading, table
from hypnostream.engine.bundle import Bundle, load_bundle
from hypnostream.engine.respiration.beliefs import Beliefs
from hypnostream.models.breathing_detector import QUESTIONS, BreathingDetector
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.breathing.tick_night import TickNight, read_tick_nights
from hypnostream.training.breathing.tick_nights import tick_night
from hypnostream.training.breathing.tick_run import SCORES, BreathingRecipe, read_reached, split_of
from hypnostream.training.breathing.tick_task import probabilities
from hypnostream.training.evaluation.binary import BinaryAgreement, binary_metrics
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.recordings.blocks import blocks_of
from hypnostream.training.recordings.recording import Channel, Recording
from hypnostream.training.recordings.sets import santafe

CHEST, OXYGEN = 1, 2
BELT_HZ, FROM_HZ = 10, santafe.RATE_HZ
USUAL_PERCENT = 97.0
LEAST_S = 5.0  # of an event in a half minute
HALF_MINUTE = QUESTIONS.index("event_in_half_minute")
SENSORS = (("heart",), ("thorax",), ("spo2",), ("heart", "spo2"), ("heart", "thorax"), ("heart", "thorax", "spo2"))
SHOWN = ("majority_rate", "accuracy", "mcc", "kappa", "auprc", "auroc", "f1", "sensitivity", "specificity")
METHOD = (
    "Real, one person of 4.7 h (slp60 of slpdb): is there an apnea or hypopnea in the half minute? Rules: one in which "
    f"an event of theirs lies by {LEAST_S:g} s or more. Learned: the model of the fold that held this person out, "
    "asked 60 s later; its threshold is that of the largest F1 on people trained on, with the same sensors but the "
    "chest. Chest and oximeter by assumed units: see the script."
)


def assumed(recording: Recording) -> Recording:
    """The recording with a belt and a saturation that the engine takes."""
    blocks = list(recording.blocks())
    rate, chest, oxygen = (np.concatenate([block.samples[place] for block in blocks]) for place in range(3))
    valid = [np.concatenate([block.valid[place] for block in blocks]) for place in range(3)]
    times_s = np.arange(len(chest) * BELT_HZ // FROM_HZ) / BELT_HZ
    belt = np.interp(times_s, np.arange(len(chest)) / FROM_HZ, chest).astype(np.float32)
    usual = np.percentile(oxygen[np.repeat(valid[OXYGEN], FROM_HZ)], 95)
    percent = np.minimum(oxygen * np.float32(USUAL_PERCENT / usual), np.float32(100))
    signals = list(zip((rate, belt, percent), valid, strict=True))
    channels = (
        recording.channels[0],
        Channel("Thorax", "effort", "", BELT_HZ),
        Channel("SpO2", "spo2", "%", FROM_HZ),
    )
    return replace(recording, channels=channels, blocks=partial(blocks_of, signals, recording.epochs))


def by_rules(recording: Recording, bundle: Bundle, lost: Sequence[str]) -> NDArray[np.float32]:
    """1 for each half minute that an event of the rules lies in, else 0."""
    blocks = list(recording.blocks())
    streams, chunks = list[StreamInfo](), list[Chunk]()
    for place in (CHEST, OXYGEN):
        channel = recording.channels[place]
        samples = np.concatenate([block.samples[place] for block in blocks])[:, None]
        streams.append(StreamInfo(channel.label, channel.rate_hz, (ChannelInfo(channel.label, channel.unit),)))
        chunks.append(Chunk(channel.label, samples, np.arange(len(samples)) / channel.rate_hz))
    end_s = float(recording.epochs * EPOCH_S)
    said = played(streams, chunks, lost, bundle, Beliefs, end_s)
    yes = np.zeros(recording.epochs, np.float32)
    for event in of_rules(said):
        if event.end_s is None:
            continue
        for epoch in range(int(event.start_s // EPOCH_S), int(event.end_s // EPOCH_S) + 1):
            begin = epoch * EPOCH_S
            if epoch < len(yes) and min(event.end_s, begin + EPOCH_S) - max(event.start_s, begin) >= LEAST_S:
                yes[epoch] = 1
    return yes


def held_out(run: Path, recipe: BreathingRecipe) -> tuple[BreathingDetector, dict[str, float]]:
    """The model of the fold that held the person out, and its thresholds by sensors."""
    nights = read_tick_nights(run / "nights")
    fold = next(
        fold
        for fold in range(recipe.folds)
        if any(night.name == "santafe-slp60" for night in split_of(nights, recipe, fold).test)
    )
    detector = BreathingDetector(recipe.fit.model)
    detector.load_state_dict(load_file(run / f"fold{fold}" / "weights.safetensors"))
    scores = read_reached(run / f"fold{fold}" / SCORES).scores
    return detector, {s.sensors: s.threshold for s in scores if s.question == "event_in_half_minute"}


def learned(
    detector: BreathingDetector, night: TickNight, sensors: Sequence[str], thresholds: dict[str, float]
) -> BinaryAgreement:
    """What the learned model says with these sensors."""
    worn = night.with_sensors(sensors)
    (said,) = probabilities(detector, [worn])
    target = night.target()[:, HALF_MINUTE]
    known = (target >= 0) & worn.mask.any(axis=1)
    same = "+".join(name for name in ("spo2", "heart") if name in sensors)
    return binary_metrics(target[known], said[known, HALF_MINUTE], thresholds.get(same, 0.5))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    recording = assumed(santafe.found(arguments.data)[0].read())
    night = tick_night(recording)
    if night is None:
        raise SystemExit("the recording has no sensor that the model takes")
    heading("Santa Fe", METHOD)
    bundle = load_bundle()
    rows = {
        f"rules, {name}": binary_metrics(night.half_minute, by_rules(recording, bundle, lost))
        for name, lost in (("chest", ("spo2",)), ("SpO2", ("thorax",)), ("chest and SpO2", ()))
    }
    detector, thresholds = held_out(arguments.run, load_settings(recipe_path("breathing"), BreathingRecipe))
    rows |= {f"learned, {', '.join(each)}": learned(detector, night, each, thresholds) for each in SENSORS}
    table(
        ["", "half minutes", *(name.replace("_", " ") for name in SHOWN)],
        ([name, str(found.n), *(_text(getattr(found, each)) for each in SHOWN)] for name, found in rows.items()),
    )


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
