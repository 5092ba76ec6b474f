"""What is measured: the cluster, the two proxies, the two references, and the programs of the bench.

Every rig has name, host, port and pids(); stop() ends it.  Load is measured with a role that everybody
trusts (LOAD), because pgbench computes a salted password per connection, which takes longer than what
is measured; logins and memory use a role with SCRAM (LOGIN).  The proxies know that role by its SCRAM
verifier, as production does, and pass its keys on to the servers.
"""
import glob
import os
import shutil
import signal
import subprocess

from support import procs
from support.cluster import PgCluster
from support.penstock import Penstock
from support.pgwire import RawClient

LOAD, LOGIN, SECRET, DB = "load", "login", "login secret", "bench"
SHARED, DEPTH = "penstock, shared", 16
ROUTED = "penstock, routed"
DIRECT_OF = "direct, {} connections"
PGBOUNCER = "/usr/sbin/pgbouncer"
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(procs.BUILD, "bench")

INI = """\
[databases]
{db} = host={server_host} port={server_port} dbname={db}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = {auth}
auth_file = {userlist}
stats_users = {stats}
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = {max_clients}
listen_backlog = 4096
server_tls_sslmode = disable
client_tls_sslmode = allow
client_tls_cert_file = {dir}/cert.pem
client_tls_key_file = {dir}/key.pem
log_connections = 0
log_disconnections = 0
"""


# Nodes are asked rarely: what is counted is the way of a statement.
CLUSTER = """\
[cluster main]
hosts = {hosts}
probe_user = {user}
check_interval = 20
"""


def compile_route_cost():
    """The decision itself, from the product's own sources."""
    program = f"{OUT}/route_cost"
    sources = [f"{HERE}/route_cost.c", f"{procs.ROOT}/protocol/catalog.c"]
    for folder in ("protocol/sql", "router", "base"):
        sources += sorted(glob.glob(f"{procs.ROOT}/{folder}/*.c"))
    subprocess.run([os.environ.get("CC", "gcc"), "-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-pthread",
                    "-I", procs.ROOT, *sources, "-o", program, "-lpg_query", "-lcrypto", "-lm"], check=True)
    return program


def compile_tools():
    """Builds the C programs of this folder into build/bench; returns that folder."""
    os.makedirs(OUT, exist_ok=True)
    for name in ("floor", "bare_pooler", "swarm"):
        source, program = f"{HERE}/{name}.c", f"{OUT}/{name}"
        if os.path.exists(program) and os.path.getmtime(program) > os.path.getmtime(source):
            continue
        subprocess.run([os.environ.get("CC", "gcc"), "-std=c11", "-D_GNU_SOURCE", "-O2", "-g",
                        "-I", procs.ROOT, source, "-o", program, "-lssl", "-lcrypto"], check=True)
    return OUT


def make_cluster(clients):
    """PostgreSQL with pgbench's tables; room for that many direct connections."""
    pg = PgCluster(options={"max_connections": str(clients + 200), "shared_buffers": "128MB",
                            "autovacuum": "off"},
                   hba=[f"host all {LOAD} 127.0.0.1/32 trust"])
    pg.role(LOAD)
    pg.role(LOGIN, SECRET)
    pg.database(DB)
    done = subprocess.run(["pgbench", "-i", "-q", "-s", "10", "-h", pg.sockets, "-p", str(pg.port),
                           "-U", "postgres", DB], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError("pgbench -i: " + done.stderr[-2000:])
    pg.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC", DB)
    return pg


class Direct:
    """No proxy at all; connections: that many, however many clients the proxies have."""

    def __init__(self, pg, connections=None, unix=False):
        self.name = DIRECT_OF.format(connections) if connections else "direct"
        self.connections = connections
        self.host, self.port = "127.0.0.1", pg.port
        if unix:
            self.name, self.host = "direct, Unix socket", pg.sockets

    def pids(self):
        return []

    def stop(self):
        pass


class Reference:
    """One of our two C references in front of the cluster."""
    host = "127.0.0.1"

    def __init__(self, name, program, args):
        self.name = name
        self.lock = procs.Port()
        self.port = self.lock.number
        self.dir = procs.temp_dir()
        copy = shutil.copy(f"{OUT}/{program}", self.dir)
        self.child = procs.Child([copy, str(self.port), *map(str, args)], log=f"{self.dir}/log")
        procs.wait_for(self._answers, 20, lambda: f"{name}: {self.child.text()}")

    def _answers(self):
        try:
            RawClient(self.port, "127.0.0.1", 2).abort()
            return True
        except OSError:
            return False

    def pids(self):
        return [self.child.pid]

    def stop(self):
        self.child.kill()
        self.lock.release()
        shutil.rmtree(self.dir, ignore_errors=True)


def forwarder(pg):
    return Reference("forwarder", "floor", [pg.port])


def bare_pooler(pg, servers):
    return Reference("bare pooler", "bare_pooler", [pg.port, servers, LOAD, DB])


class Proxy(Penstock):
    """Penstock or PgBouncer with one and the same configuration.

    wrap goes in front of the program; depth is Penstock's multiplex_depth; unix: the servers are
    reached through PostgreSQL's Unix socket; replicas: pg and these are a cluster; more: further lines of
    Penstock's file.
    """

    def __init__(self, name, pg, servers, auth="trust", workers=1, wrap=(), max_clients=11000,
                 depth=1, unix=False, replicas=(), more=""):
        self.name, self.wrap, self.mine = name, list(wrap), not name.startswith("pgbouncer")
        self.shares = self.mine and depth > 1
        super().__init__(cluster=pg, start=False, auth_type=auth)
        self._certificate()
        verifier = pg.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{LOGIN}'")
        self.users = {LOAD: "", LOGIN: verifier}
        self.raw_ini = INI.format(db=DB, server_host=pg.sockets if unix else pg.host,
                                  server_port=pg.port, port=self.port, auth=auth, stats=LOAD,
                                  userlist=self.userlist, servers=servers, dir=self.dir,
                                  max_clients=max_clients)
        if self.mine:
            self.raw_ini += (f"workers = {workers}\nmax_prepared_statements = 200\n"
                             f"multiplex_depth = {depth}\n{more}")
        if replicas:
            plain = f"{DB} = host={pg.host} port={pg.port}"
            assert plain in self.raw_ini
            self.raw_ini = self.raw_ini.replace(plain, f"{DB} = cluster=main") + CLUSTER.format(
                hosts=", ".join(f"{n.host}:{n.port}" for n in (pg, *replicas)), user=LOAD)
        self.write()
        self.start(60)
        if replicas:
            procs.wait_for(lambda: self._up() == len(replicas) + 1, 60, "the nodes to be known")

    def _up(self):
        with self.console(LOAD, "") as c:
            return sum(row["state"] == "up" for row in c.query("SHOW NODES"))

    def _program(self):
        return PGBOUNCER if not hasattr(self, "mine") or not self.mine else super()._program()

    def _certificate(self):
        """RSA for both: cheap to verify, dear to sign, so the server's side is the bottleneck."""
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048",
                        "-nodes", "-days", "2", "-subj", "/CN=bench",
                        "-keyout", f"{self.dir}/key.pem", "-out", f"{self.dir}/cert.pem"],
                       check=True, capture_output=True)
        for name in ("key.pem", "cert.pem"):
            procs.give(f"{self.dir}/{name}")

    def start(self, timeout=20):
        self.child = procs.Child([*self.wrap, self.program, self.ini], log=self.log, env=self.env)
        procs.at_close(self.kill)
        procs.wait_for(self._answers, timeout, lambda: f"{self.name}:\n{self.log_text()[-3000:]}")
        return self

    def pids(self):
        return [self.child.pid]

    def stop(self, signo=None, timeout=30):
        """SIGQUIT is Penstock's immediate end, SIGTERM PgBouncer's."""
        if self.child:
            self.child.stop(signo or (signal.SIGQUIT if self.mine else signal.SIGTERM), timeout)
            self.child = None
            if self.mine:
                self.check_log()
        procs.forget(self.kill)
        self.port_lock.release()
        shutil.rmtree(self.dir, ignore_errors=True)


def penstock(pg, servers, **kw):
    """Pools only, like the others: one client at a time on a server."""
    workers = kw.get("workers", 1)
    return Proxy("penstock" if workers == 1 else f"penstock, {workers} workers", pg, servers, **kw)


def shared(pg, servers, **kw):
    """Penstock as it comes: reads of several clients in flight on one server."""
    return Proxy(SHARED, pg, servers, depth=DEPTH, **kw)


def routed(pg, servers, replicas, **kw):
    """A cluster of pg and its replicas: reads go to those."""
    return Proxy(ROUTED, pg, servers, replicas=replicas, **kw)


def pgbouncer(pg, servers, **kw):
    return Proxy("pgbouncer", pg, servers, **kw)
