"""What every benchmark against peers needs: throwaway clusters, a stopwatch that sees processor
time and memory, a comparison of what both sides hold, and the facts of the machine."""

import contextlib
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "benches" / "peers"
REPORTS = ROOT / "docs" / "performance"
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

# The same on both sides; a real server would keep fsync, which here would measure the disk. Old
# segments of the log are removed rather than kept, because the folder may lie in memory.
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{home}'
shared_buffers = '1GB'
max_wal_size = '4GB'
wal_recycle = off
wal_init_zero = off
wal_level = logical
max_locks_per_transaction = 1024
fsync = off
autovacuum = off
"""


# Bytes that both clusters and a dump take at most, at scale 1.
ROOM = 11 << 30


def place(scale):
    """Where the clusters go: into memory if there is room. What a file system does just after a
    database was dropped costs more than many small tables, and differs from run to run."""
    memory = pathlib.Path("/dev/shm")
    if memory.is_dir():
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        available = int(line.split()[1]) * 1024
        if min(shutil.disk_usage(memory).free, available) > ROOM * max(scale, 0.2):
            return memory
    return pathlib.Path(tempfile.gettempdir())


def server_user():
    """The PostgreSQL server refuses root."""
    if os.getuid() == 0:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
    return []


class Cluster:
    """A throwaway cluster behind a Unix socket."""

    def __init__(self, folder, name, bindir):
        self.bindir = bindir
        self.home = folder / name
        self.run(["mkdir", self.home])
        self.run([bindir / "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8",
                  "--locale=C.UTF-8", "--no-sync", "-D", self.home / "data"])
        settings = SETTINGS.format(home=self.home)
        self.run(["tee", "-a", self.home / "data" / "postgresql.conf"], input=settings.encode())
        self.run([bindir / "pg_ctl", "--silent", "--wait", "-D", self.home / "data",
                  "-l", self.home / "log", "start"])
        self.postmaster = int((self.home / "data" / "postmaster.pid").read_text().split()[0])

    def run(self, command, **kwargs):
        subprocess.run(server_user() + [str(word) for word in command], cwd="/", check=True,
                       stdout=subprocess.DEVNULL, **kwargs)

    def dsn(self, db):
        return f"postgresql://postgres@{str(self.home).replace('/', '%2F')}/{db}"

    def pgloader_dsn(self, db):
        return f"pgsql://postgres@unix:{self.home}:5432/{db}"

    def psql(self, db, sql=None, file=None, **variables):
        command = [self.bindir / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(db)]
        for name, value in variables.items():
            command += ["-v", f"{name}={value}"]
        command += ["-f", file] if file else ["-c", sql]
        done = subprocess.run([str(word) for word in command], check=True, text=True,
                              stdout=subprocess.PIPE)
        return done.stdout.strip()

    def cpu(self):
        """Processor seconds of the server and all its processes, ended ones included."""
        return sum(processor_seconds(pid) for pid in [self.postmaster, *children(self.postmaster)])

    def wal(self):
        return int(self.psql("postgres", "SELECT pg_current_wal_insert_lsn() - '0/0'"))

    def stop(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run([self.bindir / "pg_ctl", "--silent", "--mode=immediate", "-D",
                      self.home / "data", "stop"])


def stat(pid):
    """The fields of /proc/<pid>/stat after the name, or None for a process that is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def children(parent):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat(entry)
            if fields and int(fields[1]) == parent:
                found.append(int(entry))
    return found


def processor_seconds(pid):
    """Of a process and those of its children that it has waited for."""
    fields = stat(pid)
    return sum(int(field) for field in fields[11:15]) / TICK if fields else 0.0


class Memory(threading.Thread):
    """Samples the anonymous memory of a process group: all its processes together, and the peak of
    each program. Pages that forked processes share count for each of them."""

    def __init__(self, group):
        super().__init__(daemon=True)
        self.group, self.peak, self.programs, self.over = group, 0, {}, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            total = 0
            for entry in os.listdir("/proc"):
                if not entry.isdigit():
                    continue
                fields = stat(entry)
                if not fields or int(fields[2]) != self.group:
                    continue
                with contextlib.suppress(OSError, StopIteration):
                    lines = pathlib.Path(f"/proc/{entry}/status").read_text().splitlines()
                    line = next(line for line in lines if line.startswith("RssAnon:"))
                    size = int(line.split()[1]) * 1024
                    total += size
                    name = program(entry)
                    self.programs[name] = max(self.programs.get(name, 0), size)
            self.peak = max(self.peak, total)


def program(pid):
    """The name of a process's program, and of pghaul's command."""
    words = pathlib.Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    name = os.path.basename(words[0])
    return " ".join([name, *words[1:2]]) if name == "pghaul" else name


def timed(script, env, log):
    """Runs a shell script in a process group of its own: its exit code, seconds, processor seconds,
    and what was sampled of its memory."""
    before = os.times()
    began = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(["bash", "-c", "set -euo pipefail\n" + script],
                                   env={**os.environ, **env}, start_new_session=True,
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        memory = Memory(process.pid)
        memory.start()
        try:
            code = process.wait(timeout=3600)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = "timeout"
    seconds = time.monotonic() - began
    memory.over.set()
    memory.join()
    after = os.times()
    cpu = (after.children_user - before.children_user
           + after.children_system - before.children_system)
    return code, seconds, cpu, memory


# What both sides must agree on; computed inside the servers, without the code under test.
TABLES = """
SELECT quote_ident(nspname) || '.' || quote_ident(relname)
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
 WHERE relkind = 'r' AND nspname !~ '^(pg_|information_schema|pghaul)' ORDER BY 1
"""
OBJECTS = """
SELECT (SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = indrelid
          JOIN pg_namespace AS n ON n.oid = relnamespace
         WHERE indisvalid AND nspname !~ '^(pg_|information_schema|pghaul)')
    || ' indexes, '
    || (SELECT count(*) FROM pg_constraint AS k JOIN pg_namespace AS n ON n.oid = connamespace
         WHERE contype IN ('p', 'u', 'f', 'c') AND convalidated AND conrelid <> 0
           AND nspname !~ '^(pg_|information_schema|pghaul)')
    || ' constraints'
"""


def contents(cluster, db):
    """Rows and a hash of every table, and how many indexes and constraints there are."""
    tables = cluster.psql(db, TABLES).splitlines()
    parts = [
        f"SELECT '{table.replace(chr(39), chr(39) * 2)}: ' || count(*) || ' rows, ' ||"
        f" coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM ONLY {table} AS t"
        for table in tables
    ]
    found = [cluster.psql(db, OBJECTS)]
    for first in range(0, len(parts), 200):
        found += cluster.psql(db, " UNION ALL ".join(parts[first:first + 200])).splitlines()
    return sorted(found)


def machine(bindir):
    model = next((line.split(":", 1)[1].strip() for line in
                  pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE
    version = subprocess.run([bindir / "postgres", "--version"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.strip()
    return {"processors": os.cpu_count(), "model": model, "memory_gib": round(memory / 2**30),
            "kernel": platform.release(), "postgresql": version,
            "load_before": os.getloadavg()[0]}


def execute(script, env, source, target, log):
    """Runs a shell script between two clusters after a checkpoint of both: what it took, and the
    error if it failed."""
    for cluster in (source, target):
        cluster.psql("postgres", "CHECKPOINT")
    cpu, wal = (source.cpu(), target.cpu()), target.wal()
    code, seconds, tool, memory = timed(script, env, log)
    error = None
    if code != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        # pghaul's error comes before its causes and remedy, that of others last.
        named = [line for line in lines if line.startswith("pghaul: ")][:1] or lines[-1:]
        error = f"exit {code}: {''.join(named)[:200]}"
    return {"seconds": seconds, "tool_cpu": tool, "source_cpu": source.cpu() - cpu[0],
            "target_cpu": target.cpu() - cpu[1], "memory": memory.peak,
            "programs": memory.programs, "wal": target.wal() - wal, "error": error}


def difference(expected, found):
    """The first lines in which two results of `contents` differ, or None."""
    if found == expected:
        return None
    return "source and target differ: " + "; ".join(sorted(set(expected) ^ set(found))[:4])


def conditions(facts, scale, rounds, today):
    """The head of a report."""
    where = "in memory" if facts["clusters"] == "memory" else "on disk"
    return (f"# Measured on {today}\n\n{facts['processors']} processors ({facts['model']}),"
            f" {facts['memory_gib']} GiB, Linux {facts['kernel']}, {facts['postgresql']}; both"
            f" servers and the tool on this machine, data directories {where}; scale {scale:g},"
            f" {rounds} rounds, medians.")


def median(runs, key):
    values = [run[key] for run in runs if not run["error"]]
    return statistics.median(values) if values else None


def say(text):
    print(f"bench-peers: {text}", file=sys.stderr, flush=True)
