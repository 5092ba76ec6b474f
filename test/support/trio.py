"""A primary with streaming replicas, and Penstock in front of them with a [cluster].

Which node ran a statement is told by the function node(), which is labelled STABLE and so may run
anywhere: the port of the server that it ran on.
"""
from . import procs
from .cluster import PgCluster
from .common import DB, SECRET, USER

PROBE, PROBE_SECRET = "monitor", "monitor secret"


class Trio:
    def __init__(self, replicas=2, delay=0, delays=(), **options):
        self.nodes = [PgCluster(options=options)]
        try:
            p = self.primary
            p.role(USER, SECRET)
            p.role(PROBE, PROBE_SECRET, "IN ROLE pg_monitor")
            p.database(DB, USER)
            p.sql("CREATE FUNCTION node() RETURNS int LANGUAGE sql STABLE AS 'SELECT inet_server_port()';"
                  " CREATE TABLE t (id int PRIMARY KEY, v int); GRANT ALL ON t TO PUBLIC;"
                  " CREATE TABLE still (id int PRIMARY KEY, v int); GRANT ALL ON still TO PUBLIC;"
                  " INSERT INTO t SELECT g, 0 FROM generate_series(1, 100) g;"
                  " INSERT INTO still SELECT * FROM t", DB)
            for i in range(replicas):
                self.nodes.append(p.replica(delays[i] if delays else delay))
            for r in self.replicas:
                r.catch_up(30)
        except BaseException:
            self.close()
            raise

    @property
    def primary(self):
        return self.nodes[0]

    @property
    def replicas(self):
        return self.nodes[1:]

    def hosts(self):
        return ", ".join(f"{n.host}:{n.port}" for n in self.nodes)

    def at(self, port):
        return next(n for n in self.nodes if n.port == int(port))

    def close(self):
        for n in self.nodes:
            n.close()


def section(trio, name="main", **keys):
    """The text of [cluster NAME] for it."""
    keys = {"hosts": trio.hosts(), "probe_user": PROBE, "probe_password": PROBE_SECRET,
            "check_interval": 0.05, **keys}
    return f"[cluster {name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items() if v is not None)


def nodes_of(proxy, name="main"):
    """SHOW NODES as name -> row."""
    return {row["node"]: row for row in proxy.show("NODES") if row["cluster"] == name}


def wait_nodes(proxy, timeout=15, **want):
    """Waits until so many nodes have each role and are up: primary=1, replica=2."""
    def there():
        have = [row["role"] for row in proxy.show("NODES") if row["state"] == "up"]
        return all(have.count(role) == n for role, n in want.items())
    procs.wait_for(there, timeout, lambda: f"{want}: {proxy.show('NODES')}")
