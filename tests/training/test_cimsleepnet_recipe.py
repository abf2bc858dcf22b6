"""CIMSleepNet's recipe does what it says: its weights of stages, its missing tokens, a lambda that moves."""

from dataclasses import replace

import numpy as np
import torch

from hypnostream.training.damage.augment import AugmentSettings, sensors_lost
from hypnostream.training.losses.poly1 import log_rule_weights
from hypnostream.training.recipe import recipe_path
from hypnostream.training.running.loop import chance, train
from hypnostream.training.staging.batch import class_weights
from hypnostream.training.staging.stager_recipe import load_recipe
from hypnostream.training.staging.stager_task import StagerTask
from tests.training.test_training import simulated_night

NIGHTS = [simulated_night(f"night{i}", f"subject{i}", seed=i) for i in range(3)]
FIT = load_recipe(recipe_path("cimsleepnet-reference")).fit


def test_the_log_rule_is_that_of_the_training_nights_and_has_no_power() -> None:
    found = class_weights(NIGHTS, 0.3, "log")
    assert torch.equal(found, log_rule_weights(np.concatenate([night.stage for night in NIGHTS])))
    assert torch.equal(found, class_weights(NIGHTS, 1.0, "log"))
    assert not torch.equal(found, class_weights(NIGHTS, 0.3, "power"))


def test_half_of_all_tokens_are_missing_at_random_and_no_sensor_for_a_night() -> None:
    lost = sensors_lost(torch.ones(6, 200, 3), FIT.augment, chance(0))
    assert abs(float(lost.mean()) - 0.5) < 0.01
    assert bool((lost.amax(1) == 1).all())
    assert bool((lost.amax(2) == 1).all())  # one of an epoch stays


def test_without_missing_steps_nothing_is_drawn_for_them() -> None:
    plain = AugmentSettings()
    one, other = chance(1), chance(1)
    sensors_lost(torch.ones(2, 30, 3), plain, one)
    sensors_lost(torch.ones(2, 30, 3), replace(plain, missing=0.2), other)
    assert not torch.equal(one.get_state(), other.get_state())


def test_it_trains_and_its_lambda_is_found_in_training() -> None:
    loop = replace(FIT.loop, passes=4, learning_rate=3e-3)
    fit = replace(FIT, loop=loop, model=replace(FIT.model, d_model=32, headdim=16, d_latent=16))
    task = StagerTask(NIGHTS, fit)
    assert task.module.contrast is not None
    before = task.module.contrast.consistencies().detach().clone()
    curves = train(task, fit.loop)
    assert curves[-1]["lost"] < curves[0]["lost"]
    assert not torch.equal(task.module.contrast.consistencies(), before)
