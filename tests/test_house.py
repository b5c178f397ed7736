"""The rules of the house, read off the imports: what may lean on what."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEAVY = (
    *("orbax", "tensorflow", "tensorflow_datasets", "h5py", "safetensors", "torch"),
    *("jax.experimental.pallas", "reseg_jax.recurrent.pallas_gru"),
)


def files(folder):
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


# Parsed before any test runs: among others Python 3.11 once failed to ("AST constructor recursion
# depth mismatch"), it seems because a thread that they left behind parsed at the same time.
TREES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
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


def importers(package, folders=("reseg_jax", "data", "experiments")):
    """Files that import `package` or something inside it, as paths from the root."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in files(folder)
        if any(f"{name}.".startswith(f"{package}.") for name in imports(path))
    }


@pytest.mark.parametrize(
    ("floor", "above"),
    [
        ("reseg_jax", "data"),
        ("reseg_jax", "experiments"),
        ("reseg_jax", "tests"),
        ("data", "experiments"),
        ("data", "tests"),
        ("experiments", "tests"),
    ],
)
def test_nothing_knows_what_is_above_it(floor, above):
    assert importers(above, [floor]) == set()


# Who may import whom: a part imports from the lines above its own, and from its own folder.
FLOORS = (
    ("errors",),
    ("config",),
    ("labels", "padding", "devices", "files", "flops"),
    ("metrics", "canvas", "drawing", "recurrent"),
    ("layers",),
    ("backbones",),
    ("networks",),
    ("api",),
    ("saving",),
    ("inference", "training"),
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
LAZY = {("saving", "training")}  # inside a function: a workdir is loaded by name


def part(module):
    """ "recurrent" of reseg_jax.recurrent.sweep; "" of reseg_jax itself."""
    return module.split(".")[1] if "." in module else ""


def library():
    """(path, its part, parts that it imports) of every file of the library."""
    for path in files("reseg_jax"):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        named = {part(name) for name in imports(path) if name.startswith("reseg_jax.")}
        yield path, part(own), {name for name in named if name in FLOOR}


def test_every_part_of_the_library_has_its_floor():
    assert {own for _, own, _ in library()} == {*FLOOR, "__init__"}


def test_parts_import_from_below_only():
    for path, own, named in library():
        for other in named if own in FLOOR else ():
            below = FLOOR[other] < FLOOR[own] or other == own or (own, other) in LAZY
            assert below, f"{path}: {own} imports {other}"


def packages(folder):
    """Top-level packages other than the standard library's and our own."""
    named = {name.split(".")[0] for path in files(folder) for name in imports(path)}
    return named - sys.stdlib_module_names - {"reseg_jax"}


def test_recurrent_is_jax_alone():
    """What stands on the shelf beside torch.nn.GRU needs no Flax."""
    assert packages("reseg_jax/recurrent") <= {"jax"}


@pytest.mark.parametrize(
    ("package", "door"),
    [
        ("orbax", {"reseg_jax/training/checkpoints.py"}),
        ("tensorflow_datasets", {"data/tfds_records.py"}),
    ],
)
def test_what_churns_has_one_door(package, door):
    assert importers(package) == door


def test_flags_are_read_in_experiments_alone():
    assert importers("absl", ["reseg_jax", "data"]) == set()


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
