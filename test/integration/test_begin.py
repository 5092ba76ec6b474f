"""BEGIN is answered before a server has it: the first statement decides where its transaction runs."""
import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.penstock import Penstock
from support.pgwire import ServerError
from support.procs import wait_for
from support.relay import Relay
from support.trio import section, wait_nodes

pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(120)]


class Spoiler(Relay):
    """On the way to the primary; while `on`, each BEGIN that comes through becomes a syntax error."""
    on = False

    def _pump(self, source, sink):
        while True:
            try:
                data = source.recv(65536)
                sink.sendall(data.replace(b"begin", b"begim") if self.on else data)
            except OSError:
                data = b""
            if not data:
                break
        for s in (sink, source):
            s.close()


@pytest.fixture
def start(proxy, trio):
    def make(config=None, mode="transaction", **keys):
        p = proxy(databases={DB: {"cluster": "main", "dbname": DB}}, mode=mode, config=config,
                  extra=section(trio, **keys))
        wait_nodes(p, primary=1, replica=len(trio.replicas))
        return p
    return make


@pytest.fixture
def client(start, trio):
    """A function that starts a proxy and logs in a client whose reads go to replicas."""
    opened = []

    def make(**keys):
        c = start(**keys).connect(USER, SECRET, DB)
        opened.append(c)
        warm(trio, c)
        return c
    yield make
    for c in opened:
        c.close()


@pytest.fixture(scope="module")
def held(trio):
    """One client for all of a table."""
    p = Penstock(databases={DB: {"cluster": "main", "dbname": DB}}, users={USER: SECRET},
                 extra=section(trio, begin_hold=0.5))
    with p.connect(USER, SECRET, DB) as c:
        yield c
    p.close()


def warm(trio, c):
    wait_for(lambda: int(c.value("SELECT node()")) != trio.primary.port, 10, "reads on replicas")


def place(trio, c):
    return "primary" if int(c.value("SELECT node()")) == trio.primary.port else "replica"


def tag_and_status(msgs):
    return [m.fields["tag"] for m in msgs if m.type == "C"], msgs[-1].fields["status"]


# begin, the statements before the one that is asked where it runs, where that is
DECIDED = [
    ("BEGIN", [], "primary"),
    ("BEGIN READ ONLY", [], "replica"),
    ("BEGIN", ["SET TRANSACTION READ ONLY"], "replica"),
    ("START TRANSACTION", ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"], "replica"),
    ("BEGIN ISOLATION LEVEL REPEATABLE READ", ["SET TRANSACTION READ ONLY"], "replica"),
    ("BEGIN", ["SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = '1min'"], "replica"),
    ("BEGIN", ["SET TRANSACTION READ ONLY", "SAVEPOINT a"], "replica"),
    ("BEGIN", ["SET TRANSACTION READ ONLY", "SET TRANSACTION READ WRITE"], "primary"),
    ("BEGIN", ["SET TRANSACTION READ ONLY", "SELECT pg_export_snapshot()"], "primary"),
    ("BEGIN", ["SET TRANSACTION READ WRITE"], "primary"),
    ("BEGIN", ["SAVEPOINT a", "ROLLBACK TO a"], "primary"),
    ("BEGIN", ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"], "primary"),
    ("BEGIN READ ONLY", ["SET LOCAL statement_timeout = '1min'"], "replica"),
    ("BEGIN READ ONLY", ["SELECT pg_advisory_xact_lock(5)"], "primary"),
    ("BEGIN READ ONLY", ["SHOW transaction_read_only"], "primary"),
    ("BEGIN READ ONLY", ["SELECT pg_is_in_recovery()"], "primary"),
    ("BEGIN READ WRITE", ["SELECT 1"], "primary"),
    ("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", [], "primary"),
    ("BEGIN", ["/* penstock: route=replica */ SELECT 1"], "replica"),
    ("BEGIN READ ONLY", ["/* penstock: route=primary */ SELECT 1"], "primary"),
    ("/* penstock: route=replica */ BEGIN", [], "replica"),
    ("BEGIN; SET TRANSACTION READ ONLY", [], "primary"),
]


@pytest.mark.parametrize("begin,first,where", DECIDED)
def test_the_first_statement_decides(held, trio, begin, first, where):
    warm(trio, held)
    for text in (begin, *first):
        msgs = held.ask(w.query(text))
        assert msgs[-1].fields["status"] == "T", (text, msgs)
    assert place(trio, held) == where
    assert tag_and_status(held.ask(w.query("COMMIT"))) == (["COMMIT"], "I")


def test_nothing_is_held_where_that_is_not_wanted(client, trio):
    c = client(begin_hold=0)
    for begin, where in (("BEGIN", "primary"), ("BEGIN READ ONLY", "replica")):
        warm(trio, c)
        assert c.ask(w.query(begin))[-1].fields["status"] == "T"
        assert c.query("SHOW LAST")[0][1] == where
        c.query("COMMIT")


SCRIPTS = [
    ["BEGIN", "COMMIT"],
    ["START TRANSACTION READ ONLY", "ROLLBACK"],
    ["begin work;", "SELECT 1", "END"],
    ["BEGIN", "BEGIN", "COMMIT", "COMMIT"],
    ["BEGIN", "SET TRANSACTION READ ONLY", "UPDATE t SET v = 0 WHERE id = 1", "SELECT 1", "ROLLBACK"],
    ["BEGIN READ ONLY", "SELECT v FROM still WHERE id = 1", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "ROLLBACK"],
    ["BEGIN", "SELECT 1/0", "SELECT 1", "ROLLBACK"],
    ["BEGIN", "nonsense", "COMMIT"],
    ["BEGIN READ ONLY", "", "SELECT 1", "COMMIT AND CHAIN", "SHOW transaction_read_only", "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "SELECT nowhere", "ROLLBACK TO a", "SELECT 1", "COMMIT"],
    ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SHOW transaction_isolation", "COMMIT"],
    ["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", "SHOW transaction_isolation",
     "SHOW transaction_read_only", "COMMIT"],
    ["BEGIN", "INSERT INTO t VALUES (2000, 1)", "SELECT v FROM t WHERE id = 2000", "ROLLBACK"],
    ["BEGIN", "DECLARE k CURSOR FOR SELECT id FROM still ORDER BY id", "FETCH 2 FROM k", "CLOSE k", "COMMIT"],
    ["BEGIN", "SET LOCAL work_mem = '1MB'", "SHOW work_mem", "ROLLBACK", "SHOW work_mem"],
    ["BEGIN", "SET TRANSACTION SNAPSHOT 'no'", "ROLLBACK"],
]


def comparable(msgs):
    hidden = ("L", "F", "R")    # where in PostgreSQL's source
    return [(m.type, {k: v for k, v in m.fields.items() if k not in hidden} if m.type in "EN" else m.fields)
            for m in msgs if m.type != "S"]


@pytest.mark.parametrize("extended", [False, True])
def test_a_client_sees_what_it_would_see_without_us(client, trio, extended):
    c = client(begin_hold=0.5)
    with trio.primary.connect(USER, SECRET, DB) as direct:
        for script in SCRIPTS:
            said = []
            for conn in (c, direct):
                ask = lambda text: w.parse(text) + w.bind() + w.describe("", "P") + w.execute() + w.sync()  # noqa: E731
                said.append([comparable(conn.ask((ask if extended else w.query)(text))) for text in script])
            assert said[0] == said[1], script


def test_a_begin_may_have_a_name_and_come_in_pieces(client, trio):
    c = client(begin_hold=0.5)
    assert [m.type for m in c.ask(w.parse("BEGIN READ ONLY", "b") + w.describe("b") + w.sync())] == ["1", "t", "n", "Z"]
    for _ in range(3):
        warm(trio, c)
        msgs = c.ask(w.bind((), "b") + w.execute() + w.sync())
        assert [m.type for m in msgs] == ["2", "C", "Z"] and msgs[-1].fields["status"] == "T"
        assert c.query("SHOW LAST")[0][2] == "begin_held"
        assert place(trio, c) == "replica"
        c.query("COMMIT")
    for text in ("SELECT 1", "BEGIN"):      # a name that is taken stays what it is
        warm(trio, c)
        msgs = c.ask(w.parse(text, "s") + w.bind((), "s") + w.execute() + w.sync())
    assert [m.fields["C"] for m in msgs if m.type == "E"] == ["42P05"] and msgs[-1].fields["status"] == "I"
    c.send(w.parse("BEGIN") + w.bind() + w.execute() + w.flush())
    assert [m.type for m in c.read_until("C")] == ["1", "2", "C"]
    assert c.ask(w.sync())[-1].fields["status"] == "T"
    assert place(trio, c) == "primary"
    c.query("ROLLBACK")


@pytest.mark.parametrize("hold", [0.5, 0])
@pytest.mark.parametrize("begin,where", [("BEGIN READ ONLY", "replica"), ("BEGIN", "primary")])
def test_begin_and_the_first_statement_in_one_request(client, trio, begin, where, hold):
    c = client(begin_hold=hold)
    warm(trio, c)
    c.send(w.parse(begin) + w.bind() + w.execute() + w.parse("SELECT node()") + w.bind() + w.describe("", "P")
           + w.execute() + w.sync())
    msgs = c.read_until()
    assert (int(w.rows_of(msgs)[0][0]) == trio.primary.port) == (where == "primary")
    assert msgs[-1].fields["status"] == "T"
    assert place(trio, c) == where
    c.query("COMMIT")


@pytest.mark.parametrize("begin,node", [("BEGIN", 0), ("BEGIN READ ONLY", None)])
def test_a_client_that_takes_its_time_has_its_transaction_begun(client, trio, begin, node):
    c = client(begin_hold=0.05)
    c.ask(w.query(begin))
    open_there = lambda: [i for i, n in enumerate(trio.nodes) if n.backends(  # noqa: E731
        DB, f"usename = '{USER}' AND state = 'idle in transaction'")]
    wait_for(open_there, 10, "the transaction")
    assert open_there() == [node] if node is not None else 0 not in open_there()
    c.query("SELECT 1")
    c.query("COMMIT")
    assert not open_there()


def test_now_is_hardly_later_than_the_answer_to_begin(client, trio):
    c = client(begin_hold=0.05)
    c.ask(w.query("BEGIN"))
    wait_for(lambda: trio.primary.backends(DB, f"usename = '{USER}' AND state = 'idle in transaction'"), 10, "begin")
    then = trio.primary.value("SELECT clock_timestamp()", DB)
    assert c.value(f"SELECT now() < '{then}'") == "t"
    c.query("COMMIT")


def test_a_transaction_that_no_server_can_be_had_for_has_failed(start, trio):
    p = start(begin_hold=1, config={"default_pool_size": 1, "query_wait_timeout": 3, "multiplex_depth": 1})
    with p.connect(USER, SECRET, DB) as holds, p.connect(USER, SECRET, DB) as c:
        warm(trio, c)
        holds.query("BEGIN READ WRITE")
        holds.query("UPDATE t SET v = v WHERE id = 80")
        assert c.ask(w.query("BEGIN"))[-1].fields["status"] == "T"
        msgs = c.ask(w.query("UPDATE t SET v = v + 1 WHERE id = 81"))
        assert [m.type for m in msgs] == ["E", "Z"] and msgs[-1].fields["status"] == "E"
        with pytest.raises(ServerError) as e:
            c.query("SELECT 1")
        assert e.value.code == "25P02"
        assert tag_and_status(c.ask(w.query("COMMIT"))) == (["ROLLBACK"], "I")
        holds.query("ROLLBACK")
        assert c.query("UPDATE t SET v = v + 1 WHERE id = 81 RETURNING v") == [["1"]]
        c.query("UPDATE t SET v = 0 WHERE id = 81")


@pytest.mark.parametrize("first", ["INSERT INTO t VALUES (3000, 1)", "SELECT v FROM still WHERE id = 1"])
def test_nothing_runs_outside_of_a_transaction_that_could_not_begin(proxy, trio, first):
    relay = Spoiler(trio.primary.host, trio.primary.port)
    hosts = ", ".join([f"{relay.host}:{relay.port}", *(f"{r.host}:{r.port}" for r in trio.replicas)])
    p = proxy(databases={DB: {"cluster": "main", "dbname": DB}}, extra=section(trio, hosts=hosts, begin_hold=0.5))
    wait_nodes(p, primary=1, replica=2)
    with p.connect(USER, SECRET, DB) as c:
        c.query("UPDATE t SET v = v WHERE id = 82")
        warm(trio, c)
        assert c.ask(w.query("BEGIN"))[-1].fields["status"] == "T"
        relay.on = True
        msgs = c.ask(w.query(first))
        relay.on = False
        assert [m.type for m in msgs] == ["E", "Z"] and msgs[-1].fields["status"] == "E"
        assert tag_and_status(c.ask(w.query("ROLLBACK"))) == (["ROLLBACK"], "I")
        assert c.value("SELECT 1") == "1"
    assert trio.primary.value("SELECT count(*) FROM t WHERE id = 3000", DB) == "0"


def test_show_last_tells_that_a_begin_is_held(client, trio):
    c = client(begin_hold=0.5)
    c.ask(w.query("BEGIN"))
    msgs = c.ask(w.query("SHOW LAST"))
    assert w.rows_of(msgs)[0][:3] == [None, None, "begin_held"] and msgs[-1].fields["status"] == "T"
    c.query("SET TRANSACTION READ ONLY")
    c.query("SELECT v FROM still WHERE id = 1")
    assert c.query("SHOW LAST")[0][1:3] == ["replica", "read_only"]
    c.query("COMMIT")


def test_a_transaction_sees_every_table_as_new_as_its_first(start, trio):
    """With `database`: which tables it will read is not known when it is sent to a replica."""
    p = start(begin_hold=0.5, consistency="database")
    with p.connect(USER, SECRET, DB) as a, p.connect(USER, SECRET, DB) as b:
        warm(trio, b)
        try:
            for r in trio.replicas:
                r.pause_replay()
            a.query("UPDATE t SET v = 5 WHERE id = 90")
            first = "SELECT v FROM still WHERE id = 1"
            for begin in (w.parse("BEGIN READ ONLY") + w.bind() + w.execute()
                          + w.parse(first) + w.bind() + w.describe("", "P") + w.execute() + w.sync(),
                          w.query("BEGIN READ ONLY") + w.query("SET TRANSACTION READ ONLY") + w.query(first)):
                b.send(begin)
                while not any(m.type == "D" for m in b.read_until()):
                    pass
                assert b.value("SELECT v FROM t WHERE id = 90") == "5"
                b.query("COMMIT")
        finally:
            for r in trio.replicas:
                r.resume_replay()


def test_a_read_that_is_often_asked_stays_in_its_transaction(start, trio):
    """Known to be short, it could stand behind others' on a server that no transaction holds."""
    p = start(begin_hold=0.5, config={"multiplex_depth": 16})
    with p.connect(USER, SECRET, DB) as c:     # node() would keep its servers from being shared
        on_replicas = lambda: c.value("SELECT v FROM still WHERE id = 1") and (  # noqa: E731
            c.query("SHOW LAST")[0][1] == "replica")
        for _ in range(30):
            wait_for(on_replicas, 10, "reads on replicas")
        for _ in range(20):
            c.ask(w.query("BEGIN READ ONLY"))
            assert c.ask(w.query("SELECT v FROM still WHERE id = 1"))[-1].fields["status"] == "T"
            assert tag_and_status(c.ask(w.query("COMMIT"))) == (["COMMIT"], "I")


def test_the_first_statement_may_be_described_before_it_is_bound(client, trio):
    """As asyncpg does it: a piece of a request, whose end comes when that was answered."""
    c = client(begin_hold=0.5)
    for begin, text, where in (("BEGIN READ ONLY", "SELECT node()", "replica"), ("BEGIN", "SELECT node()", "primary"),
                               ("BEGIN READ ONLY", "SELECT node(), pg_try_advisory_xact_lock(9)", "primary")):
        warm(trio, c)
        c.ask(w.query(begin))
        assert [m.type for m in c.ask(w.parse(text) + w.describe() + w.flush(), until="T")] == ["1", "t", "T"]
        port = int(w.rows_of(c.ask(w.bind() + w.execute() + w.sync()))[0][0])
        assert (port == trio.primary.port) == (where == "primary")
        c.query("COMMIT")
