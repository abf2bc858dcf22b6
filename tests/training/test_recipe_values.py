"""A value that a recipe may not have is one line with its key, its value and what is allowed, before data is read."""

from pathlib import Path

import pytest

from tests.command_line import Cli

COMMANDS: dict[str, tuple[str, ...]] = {
    "neuronet": ("neuronet", "--kind", "eeg", "--nights", "nights"),
    "synthsleepnet": ("synthsleepnet", "nights"),
    "frame-stager": ("frame-stager", "--nights", "nights", "--encoders", "encoders"),
    "stager": ("stager", "--data", "data"),
    "crossvalidate": ("crossvalidate", "--data", "data"),
    "downstream": ("downstream", "store"),
    "breathing": ("breathing", "store"),
}


def asked(cli: Cli, folder: Path, command: str, recipe: str) -> tuple[int, str]:
    """Exit code and the one line that `train` says of this recipe (TOML)."""
    path = folder / "recipe.toml"
    path.write_text(recipe)
    if command == "compare":
        said = cli("train", "compare", path, "--data", "data", "--out", folder / "run")
    else:
        said = cli("train", *COMMANDS[command], "--out", folder / "run", "--recipe", path)
    assert said.err.count("\n") == 1, said.err
    return said.code, said.err


@pytest.mark.parametrize(
    ("command", "setting", "words"),
    [
        ("neuronet", "objective.batch=0", "batch is 0; it must be 1 or more - at `$.objective`"),
        ("neuronet", "objective.together=0", "together is 0; it must be 1 or more"),
        ("neuronet", "objective.temperature=0.0", "temperature is 0.0; it must be above 0"),
        ("neuronet", "model.encoder_heads=5", "heads 5 do not divide width 96"),
        ("neuronet", "model.ahead=40", "ahead is 40; it must be above 0 and below 30"),
        ("neuronet", "model.masked=1.5", "masked is 1.5; it must be above 0 and below 1"),
        ("neuronet", "model.frame.pools=[100, 5, 1]", "a branch of kernel 3 leaves 13 values"),
        ("neuronet", "model.frame.strides=[64, 2, 2]", "of kernel 3 leaves"),
        ("neuronet", "model.frame.kernels=[1, 5, 7]", "kernels is [1, 5, 7]; it must be 3 or more"),
        ("neuronet", "model.frame.squeeze=64", "squeeze is 64; it must be at most the fewest planes, 16"),
        ("neuronet", "loop.learning_rate=-1", "learning_rate is -1.0; it must be above 0"),
        ("neuronet", "loop.learning_rate=inf", "learning_rate is inf; it must be above 0"),
        ("neuronet", "loop.learning_rate=nan", "learning_rate is nan; it must be above 0"),
        ("neuronet", "loop.clip=-1.0", "clip is -1.0; it must be above 0"),
        ("neuronet", "loop.passes=-1", "passes is -1; it must be 1 or more - at `$.loop`"),
        ("neuronet", "loop.accumulate=0", "accumulate is 0; it must be 1 or more"),
        ("neuronet", "loop.average=2.0", "average is 2.0; it must be from 0 to below 1"),
        ("neuronet", "loop.betas=[2.0, 0.1]", "betas is [2.0, 0.1]; it must be from 0 to below 1"),
        ("neuronet", "loop.seed=-3", "seed is -3; it must be from 0 to"),
        ("neuronet", "simulated.rate_hz=1", "rate_hz is 1; it must be from 32 to 4096"),
        ("synthsleepnet", "objective.batch=0", "batch is 0; it must be 1 or more"),
        ("synthsleepnet", "objective.mask=1.0", "mask is 1.0; it must be above 0 and below 1"),
        ("synthsleepnet", "model.heads=7", "heads 7 do not divide width 96"),
        ("synthsleepnet", "lora.rank=0", "rank is 0; it must be 1 or more - at `$.lora`"),
        ("synthsleepnet", "lora.down='x'", "down is 'x'; it must be one of gaussian, uniform"),
        ("synthsleepnet", "lora_layers=['nose']", "no Linear layer is named 'nose'; there are "),
        ("synthsleepnet", "tested=5.0", "tested is 5.0; it must be above 0 and below 1"),
        ("synthsleepnet", "probe.chosen_on=9.0", "chosen_on is 9.0; it must be above 0 and below 1"),
        ("synthsleepnet", "encoder.depth=1", "encoder.frames is 27; it must be 30 with within False"),
        ("frame-stager", "tested=5.0", "tested is 5.0; it must be above 0 and below 1"),
        ("frame-stager", "fit.segment=0", "segment is 0; it must be 1 or more - at `$.fit`"),
        ("frame-stager", "fit.model.context='lstm'", "context is 'lstm'; it must be one of none, gru"),
        ("frame-stager", "fit.model.filling='foo'", "filling is 'foo'; it must be one of absence, imagination"),
        ("frame-stager", "fit.model.headdim=7", "headdim 7 does not divide d_inner 192"),
        ("frame-stager", "fit.model.context='bidirectional'", "fit.model.context is 'bidirectional', which reads the"),
        (
            "frame-stager",
            "fit.model.seconds_context='bidirectional'",
            "seconds_context is 'bidirectional', which",
        ),
        ("stager", "fit.model.bands=[5, 5, 9]", "bands is [5, 5, 9]; it must be from 4 to 5"),
        ("stager", "fit.model.bands=[5, 5]", "must have a value a channel each"),
        ("stager", "fit.model.layers=0", "layers is 0; it must be 1 or more"),
        ("stager", "fit.model.headdim=7", "headdim 7 does not divide d_inner 192"),
        ("stager", "fit.model.context='bidirectional'", "fit.model.context is 'bidirectional', which reads the"),
        ("stager", "fit.batch=-4", "batch is -4; it must be 1 or more"),
        ("stager", "fit.augment.subset_weights=[0.5, 0.5]", "subset_weights is [0.5, 0.5]; it must be one number for"),
        ("stager", "fit.augment.subsets=[[1, 1], [1, 0], [0, 1], [1, 2]]", "each must say 1 or 0"),
        ("stager", "fit.augment.subsets=[[1, 1], [1, 0], [0, 1], [1, 1]]", "of the 3 sensors of model.wavelet"),
        ("stager", "fit.objectives.smccl=-0.1", "smccl is -0.1; it must be 0 or more"),
        ("stager", "fit.contrast.consistency=1.0", "consistency is 1.0; it must be above 0 and below 1"),
        ("crossvalidate", "fit.model.context='bidirectional'", "which reads the future: no bundle can"),
        ("downstream", "fit.rounds=0", "rounds is 0; it must be 1 or more - at `$.fit`"),
        ("downstream", "fit.model.layers=0", "layers is 0; it must be 1 or more"),
        ("downstream", "fit.model.encoder.heads=7", "heads 7 do not divide width 96"),
        ("downstream", "fit.model.context='lstm'", "context is 'lstm'; it must be one of"),
        ("downstream", "pretrain.window=0", "window is 0; it must be 1 or more"),
        ("downstream", "fractions=[0.0]", "fractions is [0.0]; it must be above 0"),
        ("downstream", "folds=0", "folds is 0; it must be 2 or more"),
        ("breathing", "folds=0", "folds is 0; it must be 2 or more"),
        ("breathing", "fit.window=0", "window is 0; it must be 1 or more"),
        ("breathing", "fit.model.sensors=3", "the nights have 7 sensors of 3 numbers"),
        ("breathing", "fit.model.headdim=7", "headdim 7 does not divide d_inner 96"),
        ("breathing", "simulated.events_per_hour=[]", "events_per_hour is []; it must be one or more rates"),
    ],
)
def test_a_value_out_of_range_is_one_line(cli: Cli, tmp_path: Path, command: str, setting: str, words: str) -> None:
    code, line = asked(cli, tmp_path, command, setting)
    assert code == 2
    assert "recipe.toml: " in line
    assert words in line


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ("lables = 0.1", "unknown key arms[2].lables; known are labels, name, pretrained, set"),
        ("labels = 1.5", "labels is 1.5; it must be from 0 to 1"),
        ("labels = 0.0", "labels is 0.0; it must be above 0"),
        ('set = ["model.headdim=7"]', "headdim 7 does not divide d_inner 192"),
        ('set = ["model.hedim=7"]', "unknown key model.hedim"),
        ('set = ["batch=0"]', "--set batch=0: batch is 0; it must be 1 or more"),
    ],
)
def test_arms_of_a_comparison_are_looked_at_before_any_is_trained(
    cli: Cli, tmp_path: Path, arm: str, words: str
) -> None:
    arms = f'title = "t"\n[[arms]]\nname = "a"\n[[arms]]\nname = "b"\n{arm}\n'
    code, line = asked(cli, tmp_path, "compare", arms)
    assert code == 2
    assert words in line


def test_a_comparison_may_have_the_arm_that_reads_the_future(cli: Cli, tmp_path: Path) -> None:
    arms = 'title = "t"\n[[arms]]\nname = "a"\nset = ["model.context=bidirectional"]\n'
    code, line = asked(cli, tmp_path, "compare", arms)
    assert code == 2
    assert "bidirectional" not in line  # that there is no data is what is said


@pytest.mark.parametrize("command", ["stager", "crossvalidate", "downstream", "breathing", "compare"])
def test_what_trains_several_models_is_not_for_torchrun(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, line = asked(cli, tmp_path, command, "")
    assert code == 2
    assert "torchrun started several processes; this trains several models side by side: say --workers N" in line
    assert not (tmp_path / "run").exists()
