"""Where a result comes from: the commit is of the checkout that holds the file, or none."""

import json
import subprocess

import jax
import pytest

from reseg_jax.training import provenance


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def tracked(tmp_path):
    """A file in a checkout of one commit."""
    path = tmp_path / "module.py"
    path.write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "module.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    return path


def test_the_commit_and_whether_files_differ_from_it(tracked):
    expected = git(tracked.parent, "rev-parse", "HEAD")
    assert provenance.commit(tracked) == expected
    git(tracked.parent, "tag", "a-name")
    assert provenance.commit(tracked) == expected
    tracked.write_text("2\n")
    assert provenance.commit(tracked) == f"{expected}-dirty"


def test_a_package_installed_inside_somebody_elses_checkout_has_none(tracked):
    installed = tracked.with_name("installed.py")
    installed.write_text("")
    assert provenance.commit(installed) is None


def test_no_checkout_and_no_git_are_none(tmp_path, tracked, monkeypatch):
    assert provenance.commit(tmp_path / "nowhere" / "module.py") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit(tracked) is None


def test_what_is_told_is_plain_and_true():
    found = provenance.describe()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["jax"] == jax.__version__
    assert found["cores"] >= 1
    assert len(found["devices"]) == jax.device_count()
