"""`hypnostream train downstream`: from a store to the tables of apnea and hypopnea."""

import json
from pathlib import Path

import torch

from hypnostream.bridges.atomic import write_atomically
from hypnostream.models.event_detector import EventDetector
from hypnostream.training.downstream.comparison import DOUBTED_NIGHTS, DownstreamRecipe, compare
from hypnostream.training.downstream.doubted import make_doubted_nights
from hypnostream.training.downstream.event_night import SLOTS, TASKS
from hypnostream.training.downstream.event_nights import make_event_nights
from hypnostream.training.downstream.results import as_json, as_markdown, rows_of
from hypnostream.training.recipe import load_settings, recipe_path, sizes_of
from hypnostream.training.running.distributed import alone
from hypnostream.training.running.progress import told


def downstream_command(store: Path, out: Path, recipe: str, workers: int) -> None:
    """Nights from the store, then all arms of the recipe; goes on where it was stopped. Writes results.json and .md."""
    alone()
    settings = load_settings(recipe_path(recipe), DownstreamRecipe)
    with sizes_of(recipe), torch.device("meta"):
        EventDetector(len(SLOTS), len(TASKS), settings.fit.model)
    with told("nights") as progress:
        make_event_nights(store, out / "nights", progress)
        make_doubted_nights(store, out / DOUBTED_NIGHTS)
    with told("downstream") as progress:
        found = compare(out / "nights", out, settings, workers, progress)
    rows = rows_of(found)
    write_atomically(out / "results.json", json.dumps(as_json(rows), indent=2).encode())
    write_atomically(out / "results.md", as_markdown(rows).encode())
    print(f"results: {out / 'results.md'}")
