"""The rules of the house, read off the imports: what may lean on what."""

import ast
import copy
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEAVY = (
    *("orbax", "tensorflow", "tensorflow_datasets", "h5py", "safetensors", "torch"),
    *("jax.experimental.pallas", "reseg_jax.kernels"),
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


@pytest.mark.parametrize("name", ["cells", "parallel_cells", "sweep", "devices", "inside", "renet"])
def test_the_core_is_jax_alone(name):
    """What stands on the shelf beside torch.nn.GRU needs no Flax."""
    packages = {module.split(".")[0] for module in imports(ROOT / "reseg_jax" / f"{name}.py")}
    assert packages - {"jax", "reseg_jax"} <= sys.stdlib_module_names


def library_imports():
    """{"reseg_jax.cells": the modules of the library that it imports when it is loaded}."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in files("reseg_jax")
        if path.name != "__init__.py"
    }
    graph = {}
    for name, path in modules.items():
        tree = copy.deepcopy(TREES[path])
        inner = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for function in inner:  # imports inside functions run later
            function.body = []
        named = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                named |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        graph[name] = named & set(modules)
    return graph


def test_the_library_is_a_staircase():
    """No module imports, by however many steps, one that imports it."""
    graph = library_imports()
    below = {f"reseg_jax.{name}" for name in ("devices", "errors", "inside", "sweep")}
    assert graph["reseg_jax.renet"] == below
    assert graph["reseg_jax.kernels.gru"] == {"reseg_jax.cells", "reseg_jax.errors"}
    assert not any("reseg_jax.kernels.gru" in below for below in graph.values())
    while graph:
        ground = {name for name, below in graph.items() if not below & set(graph)}
        assert ground, f"these import each other in a circle: {sorted(graph)}"
        graph = {name: below for name, below in graph.items() if name not in ground}


def test_no_network_knows_how_it_is_trained():
    """And the training steps know no network."""
    networks = {"cells", "parallel_cells", "kernels.gru", "sweep", "renet"}
    networks |= {"upsample", "vgg", "modules", "model"}
    above = {"training", "fitting", "losses", "optimizers", "checkpoints", "metrics", "images"}
    graph = library_imports()
    for name in networks:
        assert not graph[f"reseg_jax.{name}"] & {f"reseg_jax.{other}" for other in above}
    for name in ("training", "fitting"):
        assert not graph[f"reseg_jax.{name}"] & {f"reseg_jax.{network}" for network in networks}


@pytest.mark.parametrize(
    ("package", "door"),
    [
        ("orbax", {"reseg_jax/checkpoints.py"}),
        ("tensorflow_datasets", {"data/records.py"}),
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
