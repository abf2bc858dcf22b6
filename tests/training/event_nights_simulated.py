"""Simulated nights of breathing: beats and saturation that do what apneas do, and labels."""

import numpy as np

from hypnostream.models.respiration_tokens import heart_tokens, oxygen_tokens
from hypnostream.training.downstream.event_night import TASKS, EventNight
from hypnostream.training.nights.token_night import TokenNight


def event_night(name: str, subject: str, set_name: str = "simulated", epochs: int = 60, seed: int = 0) -> EventNight:
    """A night with stretches of apneas 50 s apart; "event" every 30 s and "event_minute" say where they are."""
    rng = np.random.default_rng(seed)
    ill = np.repeat(rng.random(epochs // 10 + 1) < 0.5, 10)[:epochs]
    ill[:10], ill[10:20] = False, True
    second = np.repeat(ill, 30)
    t = np.arange(30 * epochs)
    percent = 96 - 6.0 * second * (t % 50) / 50 + 0.3 * rng.normal(size=len(t))
    rr = 1 + 0.1 * second * np.sin(2 * np.pi * t / 50) + 0.02 * rng.normal(size=len(t))
    found = heart_tokens(np.cumsum(rr), rr, epochs), oxygen_tokens(percent, epochs)
    shape, level = np.zeros((epochs, 3, 19), np.float32), np.zeros((epochs, 3, 7), np.float32)
    mask = np.zeros((epochs, 3), np.float32)
    for slot, each in enumerate(found, 1):
        shape[:, slot], level[:, slot], mask[:, slot] = each.shape, each.level, each.there
    nobody = np.full(epochs, -1, np.int8)
    labels = dict.fromkeys(TASKS, nobody)
    labels["event"] = np.where(mask.any(1), ill, -1).astype(np.int8)
    labels["event_minute"] = np.where(np.arange(epochs) % 2 == 1, labels["event"], -1).astype(np.int8)
    tokens = TokenNight(name, subject, set_name, "none", f"{seed:064d}", shape, level, mask, nobody)
    return EventNight(tokens, labels)


def event_nights(count: int = 6, epochs: int = 60) -> list[EventNight]:
    """Of as many people."""
    return [event_night(f"n{i}", f"sim:p{i}", epochs=epochs, seed=i) for i in range(count)]
