"""READ ONLY transactions as drivers begin them, in front of a cluster: on a replica; all others on the primary."""
import asyncio

import asyncpg
import psycopg
import psycopg2
import pytest
import sqlalchemy

from support.common import DB, SECRET, USER
from support.penstock import Penstock
from support.procs import wait_for
from support.trio import Trio, section, wait_nodes

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def cluster():
    """(keyword arguments of a connection, port of the primary)"""
    trio = Trio(replicas=1)
    p = Penstock(databases={DB: {"cluster": "main", "dbname": DB}}, users={USER: SECRET}, extra=section(trio))
    try:
        wait_nodes(p, primary=1, replica=1)
        with p.connect(USER, SECRET, DB) as c:
            wait_for(lambda: int(c.value("SELECT node()")) != trio.primary.port, 10, "reads on the replica")
        yield {"host": p.host, "port": p.port, "user": USER, "password": SECRET}, trio.primary.port
    finally:
        p.close()
        trio.close()


def with_psycopg2(at, only):
    conn = psycopg2.connect(dbname=DB, **at)
    conn.set_session(readonly=only)
    with conn, conn.cursor() as cur:
        cur.execute("SELECT node()")
        return cur.fetchone()[0]


def with_psycopg(at, only):
    with psycopg.connect(dbname=DB, **at) as conn:
        conn.read_only = only
        return conn.execute("SELECT node()").fetchone()[0]


def with_asyncpg(at, only):
    async def run():
        conn = await asyncpg.connect(database=DB, **at)
        async with conn.transaction(readonly=only):
            found = await conn.fetchval("SELECT node()")
        await conn.close()
        return found
    return asyncio.run(run())


def with_sqlalchemy(at, only):
    url = sqlalchemy.URL.create("postgresql+psycopg2", at["user"], at["password"], at["host"], at["port"], DB)
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect().execution_options(postgresql_readonly=only) as conn:
        return conn.execute(sqlalchemy.text("SELECT node()")).scalar()


def with_two_statements(at, only):
    """As lib/pq of Go has it: the mode comes after the BEGIN."""
    with psycopg.connect(dbname=DB, autocommit=True, **at) as conn:
        conn.execute("BEGIN")
        if only:
            conn.execute("SET TRANSACTION READ ONLY")
        found = conn.execute("SELECT node()").fetchone()[0]
        conn.execute("COMMIT")
        return found


@pytest.mark.parametrize("driver", [with_psycopg2, with_psycopg, with_asyncpg, with_sqlalchemy, with_two_statements],
                         ids=lambda f: f.__name__.removeprefix("with_"))
def test_a_read_only_transaction_reads_a_replica_and_any_other_the_primary(cluster, driver):
    at, primary = cluster
    assert driver(at, False) == primary
    # What a driver asks when it connects is read from the primary, and a replica must be as new as that.
    wait_for(lambda: driver(at, True) != primary, 10, "a transaction on the replica")
    assert driver(at, False) == primary
