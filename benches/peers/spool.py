"""Times extract and load through a spool against ADBC with pyarrow, and against the channel.

Two comparisons, each interleaved round by round:

* Through a spool that both sides use at the same time, against `pghaul migrate`: everything, with
  schema, indexes, constraints and statistics.
* Each half by itself, against a process of ADBC and pyarrow that writes and reads Parquet files.
  The peer moves rows alone, so indexes and constraints are dropped from the source before, and
  statistics are left out. Whatever was extracted is loaded, and what arrived is compared with the
  source; an extraction that lost something has no time either.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

from measure import DATA, ROOT, TABLES, contents, difference, execute, median, say

PEERS = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "peers"

EXTRACT = ('PGHAUL_SOURCE=$SOURCE "$PGHAUL" extract --skip-validation --no-checksums'
           ' --spool "$WORK/spool" --output json')
LOAD = ('PGHAUL_TARGET=$TARGET "$PGHAUL" load --skip-validation --spool "$WORK/spool"'
        ' --output json')
TO = ' > "$WORK/{}.json"'
COPY = " --spool-encoding copy"
CREATE = '"$BIN/createdb" -T template0 --maintenance-db="$MAINTENANCE" "$DB"\n'


def halves(encoding, jobs):
    return (EXTRACT + encoding + jobs + TO.format("extract"),
            LOAD + " --keep --no-analyze" + jobs + TO.format("load"))


# Scripts that extract and load. The first is what ratios are of.
HALVES = {
    "typed": ("pghaul, typed", *halves("", "")),
    "typed-j4": ("pghaul, typed, --jobs 4", *halves("", " --jobs 4")),
    "copy": ("pghaul, copy", *halves(COPY, "")),
    "copy-j4": ("pghaul, copy, --jobs 4", *halves(COPY, " --jobs 4")),
    "adbc": ("ADBC + pyarrow",
             'mkdir "$WORK/spool"\n"$PYTHON" "$ADBC" extract "$SOURCE" "$WORK/spool" $TABLES',
             CREATE + '"$PYTHON" "$ADBC" load "$TARGET" "$WORK/spool"'),
}


def overlapping(encoding, jobs=""):
    """Both at once. Whoever fails ends the other one."""
    return ('trap \'kill $(jobs -p) 2>/dev/null || true\' EXIT\n'
            + EXTRACT + encoding + jobs + TO.format("extract") + " &\n"
            + LOAD + " --wait 60" + jobs + TO.format("load") + " &\n"
            + "wait -n; wait -n")


# Whole migrations. The first is what ratios are against.
WHOLE = {
    "migrate": ("pghaul migrate (the channel)",
                'PGHAUL_SOURCE=$SOURCE PGHAUL_TARGET=$TARGET "$PGHAUL" migrate --skip-validation'
                ' --output json' + TO.format("migrate")),
    "typed": ("extract and load, typed", overlapping("")),
    "typed-j4": ("extract and load, typed, --jobs 4", overlapping("", " --jobs 4")),
    "copy": ("extract and load, copy", overlapping(COPY)),
}

# What a table has besides rows, in an order in which it can be dropped.
STRIP = """
SELECT coalesce(string_agg(format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
                           '; ' ORDER BY contype <> 'f'), '')
  FROM pg_constraint AS k JOIN pg_namespace AS n ON n.oid = connamespace
 WHERE contype IN ('p', 'u', 'f', 'c') AND conrelid <> 0 AND nspname !~ '^(pg_|information_schema)'
"""
STRIP_INDEXES = """
SELECT coalesce(string_agg(format('DROP INDEX %s', indexrelid::regclass), '; '), '')
  FROM pg_index AS i JOIN pg_class AS c ON c.oid = indrelid
  JOIN pg_namespace AS n ON n.oid = relnamespace
 WHERE nspname !~ '^(pg_|information_schema)'
"""


def measure_set(name, options, source, target, pghaul, bindir, folder):
    """All comparisons of one data set."""
    db = f"set_{name}"
    say(f"{name}: filling the source")
    source.psql("postgres", f'CREATE DATABASE "{db}" TEMPLATE template0')
    source.psql(db, file=str(DATA / f"{name}.sql"), scale=options.scale)
    tables = source.psql(db, TABLES).splitlines()
    work = folder / "work"
    env = {"BIN": str(bindir), "SOURCE": source.dsn(db), "TARGET": target.dsn(db),
           "MAINTENANCE": target.dsn("postgres"), "DB": db, "WORK": str(work),
           "PGHAUL": str(pghaul), "PYTHON": sys.executable, "ADBC": str(DATA / "adbc.py"),
           "PYTHONPATH": str(PEERS), "TABLES": " ".join(tables),
           "PATH": f"{bindir}:{os.environ['PATH']}"}
    result = {"set": name, "bytes": int(source.psql(db, f"SELECT pg_database_size('{db}')")),
              "sizes": sizes(source, db, tables, bindir),
              "whole": {method: [] for method in WHOLE},
              "extract": {method: [] for method in HALVES},
              "load": {method: [] for method in HALVES}}

    def step(kind, method, script, expected=None):
        """One run; what arrived is compared if something should have."""
        run = execute(script, env, source, target, folder / "log")
        if expected:
            run["error"] = run["error"] or difference(expected, contents(target, db))
        result[kind][method].append(run)
        say(f"{name}: {kind}, {method}: "
            + (run["error"] or f"{run['seconds']:.1f} s, processor seconds of tool"
               f" {run['tool_cpu']:.1f}, source {run['source_cpu']:.1f}, target"
               f" {run['target_cpu']:.1f}, memory {max(run['programs'].values()) / 2**20:,.0f} MiB"))
        return run

    def clear():
        target.psql("postgres", f'DROP DATABASE IF EXISTS "{db}" WITH (FORCE)')
        shutil.rmtree(work)

    expected = contents(source, db)
    for _ in range(options.rounds):
        for method, (_, script) in WHOLE.items():
            work.mkdir()
            step("whole", method, script, expected)
            clear()

    for statement in (STRIP, STRIP_INDEXES):
        source.psql(db, source.psql(db, statement))
    expected = contents(source, db)
    for _ in range(options.rounds):
        for method, (_, extract, load) in HALVES.items():
            work.mkdir()
            extracted = step("extract", method, extract)
            if not extracted["error"]:
                extracted["stored"] = stored(work / "spool")
                extracted["error"] = step("load", method, load, expected)["error"]
            clear()
    source.psql("postgres", f'DROP DATABASE "{db}" WITH (FORCE)')
    return result


def sizes(source, db, tables, bindir):
    """Bytes, and the seconds of one run, of what a spool is compared with."""
    dsn = shlex.quote(source.dsn(db))
    psql = f"{shlex.quote(str(bindir / 'psql'))} -XAtq -d {dsn}"
    found = {}
    for name, script in {
        "COPY binary": "; ".join(
            f"{psql} -c {shlex.quote(f'COPY {table} TO STDOUT (FORMAT binary)')}"
            for table in tables),
        "pg_dump | gzip -6": f"{shlex.quote(str(bindir / 'pg_dump'))} -d {dsn} | gzip -6",
    }.items():
        began = time.monotonic()
        done = subprocess.run(["bash", "-c", f"set -euo pipefail; {{ {script}; }} | wc -c"],
                              check=True, stdout=subprocess.PIPE)
        found[name] = {"bytes": int(done.stdout), "seconds": time.monotonic() - began}
    return found


def stored(folder):
    """Bytes of all files of a spool."""
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())


def largest(runs, prefix):
    """The largest peak of one process of a program in any run, or None."""
    peaks = [peak for run in runs if not run["error"] for name, peak in run["programs"].items()
             if name.startswith(prefix)]
    return max(peaks, default=None)


def mib(size):
    return "" if size is None else f"{size / 2**20:,.0f} MiB"


def quotient(over, under):
    return over / under if over is not None and under else None


def ratio(over, under):
    value = quotient(over, under)
    return "" if value is None else f"{value:.2f}"


def table(results, _processors):
    """What was aimed at, then a Markdown table for each comparison of each data set."""
    lines = ["## Aims", "", *aims(results), ""]
    for result in results:
        binary = result["sizes"]["COPY binary"]["bytes"]
        lines += [f"## Data set {result['set']}: {mib(result['bytes'])}", "",
                  "### A whole migration", "",
                  "Indexes, constraints and statistics are included.", "",
                  *comparison(result["whole"], WHOLE, "against the channel",
                              lambda runs: ratio(median(runs, "seconds"),
                                                 median(result["whole"]["migrate"], "seconds"))),
                  "### Extract: tables without indexes", "",
                  *comparison(result["extract"], HALVES, "against ADBC + pyarrow",
                              lambda runs: ratio(median(runs, "seconds"),
                                                 median(result["extract"]["adbc"], "seconds"))),
                  "### Load: tables without indexes, no statistics", "",
                  *comparison(result["load"], HALVES, "against ADBC + pyarrow",
                              lambda runs: ratio(median(runs, "seconds"),
                                                 median(result["load"]["adbc"], "seconds"))),
                  "### Size", "", "| what | size | of COPY binary |", "|---|---|---|"]
        for name, size in result["sizes"].items():
            lines.append(f"| {name.replace('|', chr(92) + '|')} | {mib(size['bytes'])}"
                         f" | {ratio(size['bytes'], binary)} |")
        for method, (label, *_) in HALVES.items():
            size = median(result["extract"][method], "stored")
            if size is not None:
                lines.append(f"| {label} | {mib(size)} | {ratio(size, binary)} |")
        lines.append("")
    return "\n".join(lines)


def comparison(measured, methods, heading, against):
    """The rows of one comparison."""
    lines = [f"| method | seconds (min–max) | {heading} | processor s: tool / source / target"
             " | memory of the largest process |", "|---|---|---|---|---|"]
    for method, (label, *_) in methods.items():
        runs = measured[method]
        good = [run for run in runs if not run["error"]]
        if not good:
            reason = runs[0]["error"].replace("|", "\\|") if runs else "it was not extracted"
            lines.append(f"| {label} | failed: {reason} | | | |")
            continue
        low, high = min(r["seconds"] for r in good), max(r["seconds"] for r in good)
        failed = f", {len(runs) - len(good)} failed" if len(good) < len(runs) else ""
        lines.append(
            f"| {label} | {median(runs, 'seconds'):.1f} ({low:.1f}–{high:.1f}){failed}"
            f" | {against(runs)} | {median(runs, 'tool_cpu'):.1f}"
            f" / {median(runs, 'source_cpu'):.1f} / {median(runs, 'target_cpu'):.1f}"
            f" | {mib(largest(good, ''))} |")
    return [*lines, ""]


def aims(results):
    """What docs/performance/README.md calls the aims, with what was measured."""
    lines = ["| set | what | measured | aim | |", "|---|---|---|---|---|"]

    def line(name, what, value, aim, form):
        met = "met" if value is not None and value <= aim else "missed"
        shown = "no time" if value is None else form(value)
        lines.append(f"| {name} | {what} | {shown} | {form(aim)} | {met} |")

    for result in results:
        name, whole = result["set"], result["whole"]
        extract, load = result["extract"], result["load"]

        def seconds(kind, method):
            return median(kind[method], "seconds")

        if seconds(extract, "adbc") is None:
            arrived = all(run["error"] is None for run in load["typed"] + extract["typed"])
            lines.append(f"| {name} | arrives without loss where ADBC + pyarrow fails"
                         f" | {'yes' if arrived else 'no'} | yes"
                         f" | {'met' if arrived else 'missed'} |")
        else:
            for what, kind, aim in (("extract, typed, against ADBC + pyarrow", extract, 0.60),
                                    ("load, typed, against ADBC + pyarrow", load, 0.55)):
                value = quotient(seconds(kind, "typed"), seconds(kind, "adbc"))
                line(name, what, value, aim, "{:.2f}".format)
        for encoding, aim in (("typed", 1.5), ("copy", 1.25)):
            value = quotient(seconds(whole, encoding), seconds(whole, "migrate"))
            line(name, f"extract and load at once, {encoding}, against the channel", value, aim,
                 "{:.2f}".format)
        size = quotient(median(extract["typed"], "stored"), result["sizes"]["COPY binary"]["bytes"])
        if name == "d":
            line(name, "the spool, typed, of COPY binary", size, 0.35, "{:.2f}".format)
        runs = [run for kind in (extract, load, whole) for key in kind if key.endswith("-j4")
                for run in kind[key]]
        line(name, "memory of each process of pghaul at 4 jobs", largest(runs, "pghaul"), 300 << 20,
             mib)
    return lines


def lost(results):
    """What went wrong in runs of pghaul."""
    return [run["error"] for result in results for kind in ("whole", "extract", "load")
            for method, runs in result[kind].items() if method != "adbc"
            for run in runs if run["error"]]
