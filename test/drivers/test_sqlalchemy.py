"""SQLAlchemy over psycopg and over asyncpg: ORM, savepoints, streams, its pool with 200 connections."""
import asyncio
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_async

pytestmark = pytest.mark.full


class Base(orm.DeclarativeBase):
    pass


class Parent(Base):
    __tablename__ = "sa_parent"
    __table_args__ = {"schema": "drv"}
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)
    children: orm.Mapped[list["Child"]] = orm.relationship(back_populates="parent")


class Child(Base):
    __tablename__ = "sa_child"
    __table_args__ = {"schema": "drv"}
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    parent_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("drv.sa_parent.id"))
    note: orm.Mapped[str | None]
    data: orm.Mapped[dict] = orm.mapped_column(sa.JSON)
    parent: orm.Mapped[Parent] = orm.relationship(back_populates="children")


def url(door, driver):
    return sa.URL.create(f"postgresql+{driver}", door.user, door.secret, door.host, door.port, door.db)


@pytest.fixture
def engine(door):
    e = sa.create_engine(url(door, "psycopg"), pool_size=20, max_overflow=0, pool_pre_ping=True)
    yield e
    e.dispose()


@pytest.fixture
def tables(engine):
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)


def test_orm(engine, tables):
    with orm.Session(engine) as s:
        s.add_all([Parent(name=f"p{i}", children=[Child(note=f"c{i}-{j}", data={"j": j}) for j in range(5)])
                   for i in range(40)])
        s.commit()
        with pytest.raises(sa.exc.IntegrityError):
            with s.begin_nested():
                s.add(Parent(name="p1"))
        s.add(Parent(name="after"))
        s.commit()
        got = s.scalars(sa.select(Parent).options(orm.selectinload(Parent.children)).order_by(Parent.id)).all()
        assert [p.name for p in got] == [f"p{i}" for i in range(40)] + ["after"]
        assert sorted(c.data["j"] for c in got[3].children) == [0, 1, 2, 3, 4]
        s.execute(sa.update(Child).where(Child.note == "c1-1").values(note=None))
        s.rollback()
        assert s.scalar(sa.select(sa.func.count()).where(Child.note.is_(None)).select_from(Child)) == 0


def test_reflection_and_ddl(engine, tables):
    found = sa.inspect(engine)
    assert {"sa_parent", "sa_child"} <= set(found.get_table_names(schema="drv"))
    assert found.get_foreign_keys("sa_child", schema="drv")[0]["referred_table"] == "sa_parent"
    with engine.begin() as c:
        for turn in range(8):       # past psycopg's prepare threshold, with the table changing under it
            row = c.execute(sa.text("SELECT * FROM drv.sa_parent")).fetchall()
            assert row == []
        c.execute(sa.text("ALTER TABLE drv.sa_parent ADD extra int"))
    with engine.connect() as c:
        assert "extra" in c.execute(sa.text("SELECT * FROM drv.sa_parent")).keys()


def test_stream_isolation_and_errors(engine):
    with engine.connect() as c:
        rows = c.execution_options(stream_results=True, max_row_buffer=100).execute(
            sa.text("SELECT generate_series(1, 5000)"))
        assert [r[0] for r in rows] == list(range(1, 5001))
        for _ in range(3):
            c.rollback()
            with pytest.raises(sa.exc.DataError):
                c.execute(sa.text("SELECT 1/0"))
            with pytest.raises(sa.exc.InternalError):
                c.execute(sa.text("SELECT 1"))
            c.rollback()
            assert c.scalar(sa.text("SELECT :n"), {"n": 4}) == 4
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as c:
        assert c.scalar(sa.text("SHOW transaction_isolation")) == "repeatable read"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        assert c.scalar(sa.text("SHOW transaction_isolation")) == "read committed"
        c.execute(sa.text("SET statement_timeout = '100ms'"))
        with pytest.raises(sa.exc.OperationalError):
            c.execute(sa.text("SELECT pg_sleep(20)"))
        c.execute(sa.text("RESET statement_timeout"))


WHO = sa.text("SELECT CAST(:who AS text), current_setting('app.who'), pg_backend_pid()")
LOAD = sa.text("INSERT INTO drv.load VALUES (:i, :who, :turn)")
COUNT = sa.text("SELECT count(*) FROM drv.load WHERE who = :who")


def test_many_threads(door, watch):
    engine = sa.create_engine(url(door, "psycopg"), pool_size=door.clients, max_overflow=0,
                              connect_args={"connect_timeout": 40})
    ready, failures, pids = threading.Barrier(door.clients), [], set()

    def one(i):
        who = f"sa-{i}"
        try:
            with engine.connect() as c:
                c.execute(sa.text(f"SET app.who = '{who}'"))
                c.commit()
                ready.wait(40)
                for turn in range(4):
                    row = c.execute(WHO, {"who": who}).one()
                    assert tuple(row)[:2] == (who, who), f"{who} got {row}"
                    pids.add(row[2])
                    c.execute(LOAD, {"i": i, "who": who, "turn": turn})
                    (c.rollback if turn % 2 else c.commit)()
                assert c.scalar(COUNT, {"who": who}) == 2
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(door.clients)]
    with watch():
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    engine.dispose()
    assert not failures, failures[0]
    assert len(pids) <= door.servers


def test_many_tasks_over_asyncpg(door, watch):
    async def one(engine, i):
        who, pids = f"saa-{i}", set()
        async with engine.connect() as c:
            await c.execute(sa.text(f"SET app.who = '{who}'"))
            await c.commit()
            for turn in range(4):
                row = (await c.execute(WHO, {"who": who})).one()
                assert tuple(row)[:2] == (who, who), f"{who} got {row}"
                pids.add(row[2])
                await c.execute(LOAD, {"i": i, "who": who, "turn": turn})
                await (c.rollback() if turn % 2 else c.commit())
            assert await c.scalar(COUNT, {"who": who}) == 2
        return pids

    async def all_of_them():
        engine = sa_async.create_async_engine(url(door, "asyncpg"), pool_size=door.clients, max_overflow=0)
        try:
            return await asyncio.gather(*[one(engine, i) for i in range(door.clients)])
        finally:
            await engine.dispose()

    with watch():
        pids = set().union(*asyncio.run(all_of_them()))
    assert len(pids) <= door.servers


def test_orm_over_asyncpg(door, tables):
    async def work():
        engine = sa_async.create_async_engine(url(door, "asyncpg"))
        async with sa_async.AsyncSession(engine) as s:
            s.add_all([Parent(name=f"a{i}") for i in range(50)])
            await s.commit()
            with pytest.raises(sa.exc.IntegrityError):
                async with s.begin_nested():
                    s.add(Parent(name="a1"))
            await s.rollback()
            names = [p.name async for p in await s.stream_scalars(sa.select(Parent).order_by(Parent.id))]
            assert names == [f"a{i}" for i in range(50)]
        await engine.dispose()

    asyncio.run(work())
