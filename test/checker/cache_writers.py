"""The table of cache_checker.py, and all the ways in which it writes one row.

A writer is a coroutine of a client and a row's number: it raises the row's version and returns the new one when that
was acknowledged, or None when it was rolled back.
"""
import asyncio
import random
import struct

from support import aio
from support import pgwire as w

DB, USER, SECRET = "check", "checker", "checker secret"

SCHEMA = f"""
CREATE TABLE ck (id int PRIMARY KEY, v bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE ck_request (id int, v bigint);
CREATE VIEW ck_view AS SELECT id, v FROM ck;
CREATE FUNCTION ck_bump(k int) RETURNS bigint LANGUAGE sql AS
    'UPDATE ck SET v = v + 1 WHERE id = k RETURNING v';
CREATE FUNCTION ck_on_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN UPDATE ck SET v = v + 1 WHERE id = NEW.id RETURNING v INTO NEW.v; RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON ck_request FOR EACH ROW EXECUTE FUNCTION ck_on_request();
CREATE PROCEDURE ck_call(k int, INOUT n bigint) LANGUAGE plpgsql AS $$
BEGIN UPDATE ck SET v = v + 1 WHERE id = k RETURNING v INTO n; COMMIT; END $$;
ALTER TABLE ck OWNER TO {USER};
ALTER VIEW ck_view OWNER TO {USER};
ALTER TABLE ck_request OWNER TO {USER};
"""


def version_of(msgs):
    return int(aio.rows(msgs)[-1][0])


async def ask(c, *texts):
    out = None
    for t in texts:
        out = await c.request(w.query(t), 1)
        for kind, body in out:
            if kind == "E":         # a COMMIT that was refused is no acknowledgement
                raise w.ServerError(w.error_fields(body))
    return out


BUMP = "UPDATE ck SET v = v + 1 WHERE id = {} RETURNING v"


async def write_text(c, k):
    return version_of(await ask(c, BUMP.format(k)))


async def write_bound(c, k):
    return version_of(await c.request(w.parse(BUMP.format("$1"), types=(23,)) +
                                      w.bind([struct.pack("!i", k)], formats=(1,)) + w.execute() + w.sync()))


async def write_tx(c, k):
    await ask(c, "BEGIN")
    v = version_of(await ask(c, BUMP.format(k)))
    if random.random() < 0.3:
        await asyncio.sleep(random.random() * 0.01)
    await ask(c, "COMMIT")
    return v


async def write_savepoint(c, k):
    await ask(c, "BEGIN", "SAVEPOINT a", BUMP.format(k), "ROLLBACK TO a")
    v = version_of(await ask(c, BUMP.format(k)))
    await ask(c, "RELEASE a", "SET LOCAL synchronous_commit = off", "COMMIT")
    return v


async def write_rollback(c, k):
    await ask(c, "BEGIN", BUMP.format(k), "ROLLBACK")


async def write_two_phases(c, k):
    name = f"ck{random.getrandbits(48)}"
    await ask(c, "BEGIN")
    v = version_of(await ask(c, BUMP.format(k)))
    await ask(c, f"PREPARE TRANSACTION '{name}'", f"COMMIT PREPARED '{name}'")
    return v


async def write_multi(c, k):
    return version_of(await ask(c, f"BEGIN; {BUMP.format(k)}; COMMIT"))


async def write_pipeline(c, k):
    msgs = await c.request(w.query("BEGIN") + w.query(BUMP.format(k)) + w.query("COMMIT"), 3)
    return version_of(msgs)


async def write_function(c, k):
    return version_of(await ask(c, f"SELECT ck_bump({k})"))


async def write_trigger(c, k):
    return version_of(await ask(c, f"INSERT INTO ck_request VALUES ({k}) RETURNING v"))


async def write_view(c, k):
    return version_of(await ask(c, f"UPDATE ck_view SET v = v + 1 WHERE id = {k} RETURNING v"))


async def write_with(c, k):
    return version_of(await ask(c, f"WITH x AS ({BUMP.format(k)}) SELECT v FROM x"))


async def write_call(c, k):
    return version_of(await ask(c, f"CALL ck_call({k}, NULL)"))


async def write_execute(c, k):
    await ask(c, "PREPARE p (int) AS " + BUMP.format("$1"))
    v = version_of(await ask(c, f"EXECUTE p({k})"))
    await ask(c, "DEALLOCATE p")
    return v


POINTS = [write_text, write_bound, write_tx, write_pipeline, write_savepoint, write_multi]
KINDS = POINTS * 4 + [write_rollback, write_two_phases, write_function, write_trigger, write_view,
                      write_with, write_call, write_execute]
