"""psql and pgbench: libpq's own programs, in all three protocols of pgbench."""
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from support import procs

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]
BIN = "/usr/lib/postgresql/15/bin"


def program(name):
    path = shutil.which(name) or os.path.join(BIN, name)
    if not os.path.exists(path):
        pytest.skip(f"{name} is not installed")
    return path


def run(door, argv, seconds=100, **kw):
    """A program of PostgreSQL's, found, run with the door's environment, gone when we are."""
    return subprocess.run([program(argv[0]), *argv[1:]], env=door.env(), capture_output=True, text=True,
                          timeout=seconds, preexec_fn=procs.die_with_parent, **kw)


def psql(door, text, *args, fails=False):
    """What psql prints for a script on its standard input; `fails` wants an error, else there is none."""
    done = run(door, ["psql", "-X", "-A", "-t", "-v", "VERBOSITY=verbose", *args], input=text)
    if not fails:
        assert done.returncode == 0 and "ERROR" not in done.stderr, done.stdout + done.stderr
        return done.stdout
    return done.stdout + done.stderr


def bench(door, *args):
    done = run(door, ["pgbench", "-n", *args])
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    assert int(re.search(r"number of failed transactions: (\d+)", text).group(1)) == 0
    return int(re.search(r"number of transactions actually processed: (\d+)", text).group(1))


def test_session_commands(door):
    out = psql(door, r"""
        \conninfo
        SELECT 'a' || 1;
        SET app.note = 'kept';
        BEGIN; INSERT INTO drv.item VALUES (50, 'psql'); SAVEPOINT s; DELETE FROM drv.item; ROLLBACK TO s; COMMIT;
        SHOW app.note;
        PREPARE p(int) AS SELECT $1 + 1;
        EXECUTE p(41);
        DEALLOCATE p;
        CREATE TEMP TABLE t AS SELECT 7 AS seven;
        SELECT seven FROM t;
        DELETE FROM drv.item WHERE id = 50;
        \d drv.item
        \dt drv.*
        \l
        \du
        """)
    for line in ("a1", "kept", "42", "7", "DELETE 1"):
        assert line in out.splitlines(), out
    assert "id|integer||not null|" in out and "drv|copied|table" in out


def test_errors_and_on(door):
    out = psql(door, "SELEC 1;\nSELECT 1/0;\nSELECT 'on';\nBEGIN;\nSELECT none_such;\nSELECT 1;\nCOMMIT;\n"
               "SELECT 'still on';\n", fails=True)
    for line in ("ERROR:  42601", "ERROR:  22012", "ERROR:  42703", "ERROR:  25P02", "ROLLBACK", "still on"):
        assert line in out, out
    done = psql(door, "SELECT 1", "-U", "nobody_here", fails=True)
    assert "FATAL" in done or "failed" in done


def test_copy(door, tmp_path):
    lines = "".join(f"{i}\tw{i}\t{i}.5\t\\N\n" for i in range(50000))
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text(lines)
    psql(door, f"TRUNCATE drv.copied;\n\\copy drv.copied FROM '{source}'\n"
         f"\\copy (SELECT * FROM drv.copied ORDER BY id) TO '{target}'\n")
    assert target.read_text() == lines
    out = psql(door, "COPY drv.copied FROM stdin;\nx\ty\n\\.\nSELECT count(*) FROM drv.copied;\n", fails=True)
    assert "22P02" in out and "50000" in out


def test_interrupt_cancels(door):
    with subprocess.Popen([program("psql"), "-X", "-A", "-t"], env=door.env(), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          preexec_fn=procs.die_with_parent) as p:
        try:
            p.stdin.write("SELECT pg_sleep(30);\n")
            p.stdin.flush()
            door.pg.wait_backends(door.db, 1, "state = 'active' AND query LIKE '%pg_sleep(30)%'")
            p.send_signal(signal.SIGINT)
            door.pg.wait_backends(door.db, 0, "state = 'active'")
        finally:
            p.stdin.close()
            out = p.stdout.read()
    assert "canceling statement due to user request" in out


def test_variables_and_cursors(door):
    out = psql(door, "SELECT 6 AS six \\gset\nSELECT :six * 7;\n\\set FETCH_COUNT 100\n"
               "SELECT generate_series(1, 1000);\n").split()
    assert out == ["42"] + [str(i) for i in range(1, 1001)]


@pytest.fixture(scope="module")
def bank(shared_door):
    shared_door.ensure()
    done = run(shared_door, ["pgbench", "-i", "-s", "2", "-q"])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench_reads_by_many(door, bank, watch, protocol):
    with watch():
        done = bench(door, "-M", protocol, "-S", "-c", str(door.clients), "-j", "2", "-t", "20")
    assert done == door.clients * 20


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench_money_is_conserved(door, bank, protocol):
    """TPC-B in transactions.  As many clients as servers: pgbench prepares synchronously, so that a
    thread of it with one client in a transaction may wait for another client for ever."""
    before = door.pg.value("SELECT count(*) FROM pgbench_history", door.db)
    done = bench(door, "-M", protocol, "-c", "8", "-j", "2", "-t", "50")
    assert done == 400
    a, b, t, h, n = door.pg.sql(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), "
        "(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history), "
        "(SELECT count(*) FROM pgbench_history)", door.db)[0]
    assert a == b == t == h and int(n) == int(before) + 400


def test_pgbench_says_who(door, tmp_path, watch):
    """Every row is for the client that asked; a wrong one makes the division fail."""
    script = tmp_path / "who.sql"
    script.write_text("\\set n random(1, 1000000000)\n"
                      "SELECT :n::bigint AS got, :client_id::int AS who \\gset\n"
                      "\\if :got <> :n\nSELECT 1/0;\n\\endif\n"
                      "\\if :who <> :client_id\nSELECT 1/0;\n\\endif\n")
    for protocol in ("simple", "extended", "prepared"):
        with watch():
            began = time.monotonic()
            done = bench(door, "-M", protocol, "-f", str(script), "-c", str(door.clients), "-j", "2", "-t", "10")
        assert done == door.clients * 10
        assert time.monotonic() - began < 30
