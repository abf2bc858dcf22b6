"""The training loop: the same bits from the same seed, steps of several losses, and what it refuses."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hypnostream.errors import UserError
from hypnostream.training.running.checkpoint import TrainingState, restore, written
from hypnostream.training.running.loop import LoopSettings, Share, chance, train
from tests.training.loop_tasks import Recipe, Regression

RECIPE = Recipe()


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_two_runs_of_a_seed_are_the_same_bits_dropout_and_all() -> None:
    one, other = Regression(RECIPE), Regression(RECIPE)
    curves = train(one, RECIPE.loop)
    torch.rand(17)  # whatever else draws from the global generator
    assert train(other, RECIPE.loop) == curves
    assert same(weights(one.module), weights(other.module))
    assert curves[0]["loss"] > curves[-1]["loss"]
    assert curves[0]["wrong"] == pytest.approx(2 * curves[0]["loss"])
    different = train(Regression(RECIPE), replace(RECIPE.loop, seed=1))
    assert different != curves


def test_a_run_goes_on_from_any_round_as_if_never_stopped() -> None:
    whole = Regression(RECIPE)
    checkpoints: list[bytes] = []
    curves = train(whole, RECIPE.loop, after_round=lambda state: checkpoints.append(written(state)))
    assert len(checkpoints) == RECIPE.loop.passes * RECIPE.rounds
    for done, checkpoint in enumerate(checkpoints, start=1):
        resumed = Regression(RECIPE)
        with torch.no_grad():
            resumed.module.first.weight.zero_()  # what it began with no longer matters
        assert train(resumed, RECIPE.loop, checkpoint=checkpoint) == curves
        assert same(weights(whole.module), weights(resumed.module))
        assert len(resumed.started) == len(checkpoints) - done


def test_averaged_weights_are_what_is_returned_and_not_what_learns() -> None:
    states: list[dict[str, Tensor]] = []
    task = Regression(RECIPE)
    train(task, RECIPE.loop, after_round=lambda state: states.append(weights(state.module)))
    assert not torch.equal(task.module.out.weight, states[-1]["out.weight"])
    plain = Regression(RECIPE)
    last: list[dict[str, Tensor]] = []
    train(plain, replace(RECIPE.loop, average=0.0), after_round=lambda state: last.append(weights(state.module)))
    assert same(weights(plain.module), last[-1])
    assert same(last[-1], states[-1])


def test_what_does_not_learn_and_what_nothing_uses_stay_as_they_were() -> None:
    task = Regression(RECIPE)
    train(task, RECIPE.loop)
    assert torch.equal(task.module.fixed, torch.ones(3))
    assert torch.equal(task.module.unused, torch.ones(2))  # no weight decay either
    assert not torch.equal(task.module.teacher, torch.zeros(3, 8))


class Parts:
    """A mean over 4 rows, in one yield or one row at a time, in one round or several."""

    def __init__(self, rounds: int, yields: int) -> None:
        torch.manual_seed(3)
        self.module = nn.Linear(6, 3)
        self._rounds, self._yields = rounds, yields

    def rounds(self, pass_index: int) -> int:
        return self._rounds

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        x = torch.randn(4, 6, generator=chance(0, pass_index)).tensor_split(self._rounds)[round_index]
        for part in x.chunk(self._yields):
            yield {"loss": (self.module(part) - part[:, :3]).square().mean()}

    def stepped(self) -> None:
        pass


@pytest.mark.parametrize(("rounds", "yields"), [(1, 4), (4, 1), (2, 2)])
def test_accumulated_parts_step_as_the_whole_batch_does(rounds: int, yields: int) -> None:
    settings = LoopSettings(passes=3, warmup_steps=1)
    whole, parts = Parts(1, 1), Parts(rounds, yields)
    expected = train(whole, settings)
    places = list[int]()
    accumulated = replace(settings, accumulate=4)
    found = train(parts, accumulated, after_round=lambda state: places.append(state.place.round_index))
    torch.testing.assert_close(parts.module.weight, whole.module.weight, atol=1e-5, rtol=0)
    assert [each["loss"] for each in found] == pytest.approx([each["loss"] for each in expected], abs=1e-5)
    assert places == [0, 0, 0]  # never between the parts of a step


def test_what_is_left_of_a_pass_is_stepped_too() -> None:
    task, steps = Parts(3, 1), list[int]()
    train(
        task,
        LoopSettings(passes=2, accumulate=2),
        after_round=lambda state: steps.append(state.place.step),
    )
    assert steps[-1] == 4


class Precision:
    """Notes in which precision a product was made."""

    def __init__(self) -> None:
        self.module = nn.Linear(4, 4)
        self.seen: list[torch.dtype] = []

    def rounds(self, pass_index: int) -> int:
        return 1

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        for _ in range(2):
            y = self.module(torch.ones(2, 4))
            self.seen.append(y.dtype)
            yield {"loss": y.float().square().mean()}

    def stepped(self) -> None:
        assert not torch.is_autocast_enabled("cpu")


def test_bfloat16_is_for_products_alone() -> None:
    task = Precision()
    train(task, LoopSettings(passes=1, precision="bfloat16"))
    assert task.seen == [torch.bfloat16] * 2
    assert {p.dtype for p in task.module.parameters()} == {torch.float32}
    plain = Precision()
    train(plain, LoopSettings(passes=1))
    assert plain.seen == [torch.float32] * 2


class Astray(Precision):
    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        yield {"loss": self.module(torch.ones(2, 4)).sum() * float("nan")}


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_stepped() -> None:
    task = Astray()
    before = weights(task.module)
    with pytest.raises(UserError, match=r"loss is nan at pass 1, step 1; lower learning_rate"):
        train(task, LoopSettings(passes=1))
    assert same(before, weights(task.module))


def test_determinism_is_asked_for_within_a_training_alone() -> None:
    class Asking(Precision):
        def stepped(self) -> None:
            assert torch.are_deterministic_algorithms_enabled()

    train(Asking(), LoopSettings(passes=1))
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(UserError, match=r'device "cuda".*set device to'):
        train(Precision(), LoopSettings(device="cuda"))
    train(Precision(), LoopSettings(passes=1, device="auto"))


def test_a_checkpoint_of_another_model_or_a_damaged_one_is_refused() -> None:
    kept: list[bytes] = []
    train(Precision(), LoopSettings(passes=1), after_round=lambda state: kept.append(written(state)))
    other = Regression(RECIPE).module
    state = TrainingState(other, torch.optim.AdamW(other.parameters()), [])
    for content in (kept[0], kept[0][:50], b"", b"\xff" * 200, kept[0][:-5]):
        with pytest.raises(UserError, match="not of this model, or damaged"):
            restore(state, content)
