"""Readers of what training wrote: its records, logs, checkpoints and features."""

import json

import data
from data import manifest
from experiments.faults import mutations
from experiments.faults.materials import Materials
from experiments.faults.reader import Reader, put
from reseg_jax.training import epoch_logs, feature_files, workdir
from reseg_jax.training.checkpoints import Checkpoints


def of(files: Materials) -> list[Reader]:
    """One of each kind, once something was trained."""
    return list(_readers(files))


def _readers(files):
    run = (files.workdir / "run.json").read_bytes()
    plain = {name: value for name, value in json.loads(run).items() if name != "checksum"}
    (newest, *_) = sorted(files.workdir.glob("checkpoints/*/record/metadata"))
    (feature, *_) = sorted(files.cache.rglob("*.npy"))
    feature = feature.read_bytes()

    def read_run(content, folder):
        put(folder / "run.json", content)
        return workdir.describe(folder).config is not None

    def read_record(content, folder):
        put(folder / "7" / "record" / "metadata", content)
        record = Checkpoints(folder).record(7)
        return content == newest.read_bytes() or _same_json(content, newest.read_bytes(), record)

    def read_lines(content, folder):
        return all(isinstance(line, dict) for line in epoch_logs.read(put(folder / "m", content)))

    def read_feature(content, folder):
        why = feature_files.problem(put(folder / "f.npy", content))
        return why is not None or content == feature

    listed = (files.workdir / manifest.NAME).read_bytes()
    pairs = data.pairs("camvid", str(files.camvid))
    pairs = {split: pairs[split] for split in json.loads(listed)["splits"]}

    def read_manifest(content, folder):
        put(folder / manifest.NAME, content)
        return manifest.compare(folder, pairs)["splits"] == json.loads(listed)["splits"]

    lines = (files.workdir / "metrics.jsonl").read_bytes()
    yield Reader("manifest", [listed], mutations.mutate_json, read_manifest)
    yield Reader("run.json", [run], mutations.mutate_json, read_run)
    unsealed = json.dumps(plain).encode()
    yield Reader("run.json without checksum", [unsealed], mutations.mutate_json, read_run)
    yield Reader("checkpoint's record", [newest.read_bytes()], mutations.mutate_json, read_record)
    yield Reader("metrics.jsonl", [lines], mutations.mutate, read_lines)
    yield Reader("features", [feature], mutations.mutate, read_feature)


def _same_json(content, right, record):
    """What passes a record's checksum says what was written, whatever its spaces are."""
    return json.loads(content) == json.loads(right) and record.score is not None
