"""The paper's tables with our runs beside them, as text and as a Markdown page.

  python -m experiments.results
  python -m experiments.results --runs=runs,more/runs --record --plot=results/curves.png

Reads every run below --runs (run.json, metrics.jsonl, times.jsonl, and the scores that
experiments.evaluate --json wrote into the run's folder) and the records that are kept in
results/runs. Figures of others are read from results/published.json and results/test_scores.json.
Rows that were not run say so.
"""

from pathlib import Path

from absl import flags

from experiments import cli
from experiments.reporting import curves, records, tables
from reseg_jax.files import atomic

_RESULTS = tables.PUBLISHED.parent

_RUNS = flags.DEFINE_list("runs", ["runs"], "folders of runs, at any depth")
_RECORDS = flags.DEFINE_string("records", None, "folder of kept records [results/runs]")
_RECORD = flags.DEFINE_bool("record", False, "keep a record of each run in --records")
_OUTPUT = flags.DEFINE_string("output", None, "the page to write [results/RESULTS.md]")
_PLOT = flags.DEFINE_string("plot", None, "picture of validation mIoU to write (matplotlib)")


def main(_):
    kept = Path(_RECORDS.value or _RESULTS / "runs")
    rows = records.merge(records.find_runs(map(Path, _RUNS.value)) + records.read(kept))
    if _RECORD.value:
        written = {records.write(record, kept) for alike in rows.values() for record in alike}
        for path in set(kept.glob("*.json")) - written:
            path.unlink()  # a changed preset has given its record another name
    page = tables.report(rows)
    print(page)
    output = Path(_OUTPUT.value or _RESULTS / "RESULTS.md")
    atomic.write_file(output, page.encode(errors="backslashreplace"))
    print(f"written to {output}")
    if _PLOT.value:
        curves.draw(rows, Path(_PLOT.value))
        print(f"curves in {_PLOT.value}")


if __name__ == "__main__":
    cli.run(main)
