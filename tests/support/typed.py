"""How tests type a training of a few seconds, and how a refusal reads."""

from experiments.faults.materials import TINY

AVERAGED = ("--flip", "--scales=0.75,1", "--samples=2", "--average=2")


def typed_train(home, workdir, *flags):
    """The flags of a training of the smallest ReSeg on the tiny CamVid in `home`."""
    folders = f"--data_dir={home}", f"--workdir={workdir}"
    # Two of the eleven classes are there.
    return "--preset=camvid_no_vgg", "--allow_missing_classes", *folders, *TINY, *flags


def train(run, home, workdir, *flags):
    """That training, finished."""
    return run("train", *typed_train(home, workdir, *flags))


def train_unet(run, home, workdir, *flags):
    """A training of another network by its name, with two levels."""
    return run(
        "train",
        "--network=unet",
        "--dataset=camvid",
        f"--data_dir={home}",
        f"--workdir={workdir}",
        "--set=channels=[2,3]",
        "--allow_missing_classes",
        "--batch_size=2",
        "--pictures=0",
        *flags,
    )


def refused(finished, *parts):
    """Whether a command ended with one sentence that has `parts`, and no traceback."""
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for part in parts:
        assert part in last
