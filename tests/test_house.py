"""The rules of the house, read off the imports: who may import whom."""

import ast
import pathlib
import subprocess
import sys

import pytest

from reseg_jax.networks import NETWORKS

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEAVY = (
    *("orbax", "tensorflow", "tensorflow_datasets", "h5py", "safetensors", "torch", "matplotlib"),
    *("sklearn", "jax.experimental.pallas", "reseg_jax.recurrent.pallas_gru"),
)


def files(folder):
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


# Parsed before any test runs: among others Python 3.11 once failed to ("AST constructor recursion
# depth mismatch"), it seems because a thread that they left running parsed at the same time.
TREES = {
    path: ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for folder in ("reseg_jax", "data", "experiments", "tests")
    for path in files(folder)
}


def imports(path):
    """Every module that a file names in an import, wherever in the file, as dotted names."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name, package):
    return f"{name}.".startswith(f"{package}.")


def importers(package, folders=("reseg_jax", "data", "experiments"), but=()):
    """Files that import `package` or something inside it, as paths from the root.

    Packages of `but` inside it do not count.
    """
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in files(folder)
        for name in imports(path)
        if within(name, package) and not any(within(name, other) for other in but)
    }


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ("reseg_jax", "data"),
        ("reseg_jax", "experiments"),
        ("reseg_jax", "tests"),
        ("data", "experiments"),
        ("data", "tests"),
        ("experiments", "tests"),
    ],
)
def test_nothing_knows_what_is_above_it(below, above):
    assert importers(above, [below]) == set()


# --- the library, part by part --------------------------------------------------------------------

# A part imports from the lines above its own, and from its own folder.
FLOORS = (
    ("errors",),
    ("labels",),
    ("padding", "devices", "files", "flops", "inputs"),
    ("metrics", "partition_metrics", "drawing", "overlap", "recurrent"),
    ("layers",),
    ("backbones",),
    ("networks",),
    ("api", "compiled"),
    ("saving",),
    ("inference", "training"),
    ("loading",),
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}


def part(module):
    """ "recurrent" of reseg_jax.recurrent.sweep; "" of reseg_jax itself."""
    return module.split(".")[1] if "." in module else ""


def library():
    """(path, its part, parts that it imports) of every file of the library."""
    for path in files("reseg_jax"):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        named = {part(name) for name in imports(path) if within(name, "reseg_jax")}
        yield path, part(own), named


def parts_of(folder):
    """Other parts of the library that a part imports."""
    return set().union(*(named for _, own, named in library() if own == folder)) - {folder}


def test_every_part_of_the_library_has_its_floor():
    assert {own for _, own, _ in library()} == {*FLOOR, "__init__"}


def test_parts_import_from_below_only():
    for path, own, named in library():
        for other in named if own in FLOOR else ():
            assert other in FLOOR, f"{path}: {own} imports {other or 'the package itself'}"
            below = FLOOR[other] < FLOOR[own] or other == own
            assert below, f"{path}: {own} imports {other}"


def packages(folder):
    """Top-level packages other than the standard library's and our own."""
    named = {name.split(".")[0] for path in files(folder) for name in imports(path)}
    return named - sys.stdlib_module_names - {"reseg_jax"}


def test_sweeps_need_jax_only():
    """What is used as torch.nn.GRU is needs no Flax."""
    assert packages("reseg_jax/recurrent") == {"jax"}
    assert parts_of("recurrent") <= {"errors", "padding", "devices"}


def test_layers_need_jax_and_flax_only():
    assert packages("reseg_jax/layers") <= {"jax", "flax", "numpy"}
    assert parts_of("layers") <= {"devices", "errors", "padding", "recurrent"}


def test_a_network_knows_no_other_network():
    """And nothing of devices and files: all of that is done once, in api.py."""
    for path in files("reseg_jax/networks"):
        others = {name for name in imports(path) if within(name, "reseg_jax.networks")}
        assert all(within(name, "reseg_jax.networks.base") for name in others), path
    assert parts_of("networks") <= {"errors", "padding", "recurrent", "layers", "backbones"}


@pytest.mark.parametrize("module", NETWORKS.values())
def test_a_network_is_a_short_file(module):
    """What would make it longer is a part of its own in `layers`."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 150


def test_two_files_know_which_networks_there_are():
    """The package itself names ReSegConfig."""
    known = importers("reseg_jax.networks", ["reseg_jax"], but=["reseg_jax.networks.base"])
    assert known == {"reseg_jax/api.py", "reseg_jax/saving.py", "reseg_jax/__init__.py"}


@pytest.mark.parametrize("folder", ["training", "inference"])
def test_training_and_inference_know_no_network(folder):
    """Only the type of every config, for annotations."""
    named = {name for path in files(f"reseg_jax/{folder}") for name in imports(path)}
    known = {name for name in named if part(name) in ("networks", "backbones")}
    assert known <= {"reseg_jax.networks.base.NetworkConfig"}
    assert not parts_of(folder) & {"training", "inference"}


@pytest.mark.parametrize(
    ("package", "importer"),
    [
        ("orbax", {"reseg_jax/training/checkpoints.py"}),
        ("tensorflow_datasets", {"data/tfds_records.py"}),
        ("h5py", {"reseg_jax/files/hdf5_files.py", "experiments/faults/hdf5.py"}),
        ("safetensors", {"reseg_jax/files/safetensors_files.py"}),
        ("sklearn", {"data/digits/__init__.py"}),
        ("jax.experimental.pallas", {"reseg_jax/recurrent/pallas_gru.py"}),
    ],
)
def test_what_changes_often_has_one_importer(package, importer):
    assert importers(package) == importer


def test_flags_are_read_in_experiments_only():
    assert importers("absl", ["reseg_jax", "data"]) == set()


# --- what a user sees -----------------------------------------------------------------------------


def test_importing_the_library_is_light():
    """A fresh Python: reading and predicting load none of the heavy packages."""
    code = f"""
import sys
import reseg_jax, data
print([name for name in {HEAVY} if name in sys.modules])
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_public_names_are_there_and_documented():
    import reseg_jax

    for name in reseg_jax.__all__:
        value = getattr(reseg_jax, name)
        assert name == "VOID" or value.__doc__, name
    wanted = {"ReSegConfig", "init", "apply", "predict", "renet_layer", "sweep", "load", "save"}
    assert wanted <= set(reseg_jax.__all__)
