"""Data of a COPY FROM that comes in one go with its statement, before the server has asked for it."""
import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER

DATA = w.copy_data(b"1\n") + w.copy_data(b"2\n") + w.copy_done()
ASK = w.bind() + w.execute()
SEQUENCES = {
    "in one go": w.parse("COPY early FROM STDIN") + ASK + DATA + w.sync(),
    "with a flush": w.parse("COPY early FROM STDIN") + ASK + w.flush() + DATA + w.sync(),
    "two uploads": w.parse("COPY early FROM STDIN") + (ASK + DATA) * 2 + w.sync(),
    "an upload and more": w.parse("COPY early FROM STDIN") + ASK + DATA + w.parse("SELECT 7") + ASK + w.sync(),
    "no such table": w.parse("COPY nowhere FROM STDIN") + ASK + DATA + w.sync(),
    "bad data": w.parse("COPY early FROM STDIN") + ASK + w.copy_data(b"x\n") + DATA + w.sync(),
    "not an upload": w.parse("SELECT 1") + ASK + DATA + w.sync(),
    "given up": w.parse("COPY early FROM STDIN") + ASK + w.copy_fail("no") + w.sync(),
    "large": w.parse("COPY early FROM STDIN") + ASK + w.copy_data(b"3\n" * 20000) * 20 + w.copy_done() + w.sync(),
}


def seen(client, data):
    """What came up to the idle marker, and what the next statement says."""
    client.send(data)
    kinds = []
    while not kinds or kinds[-1] != "Z":
        kinds.append(client.read().type)
    return kinds, client.query("SELECT count(*), sum(a) FROM early")


@pytest.mark.parametrize("what", SEQUENCES)
def test_early_data_is_what_it_is_to_the_database(pg, proxy, what):
    p = proxy(pg, pool_size=1)
    direct, through = pg.connect(USER, SECRET, DB), p.connect(USER, SECRET, DB)
    direct.query("CREATE TABLE IF NOT EXISTS early (a int)")
    answers = []
    for client in (direct, through):
        direct.query("TRUNCATE early")
        answers.append(seen(client, SEQUENCES[what]))
    assert answers[0] == answers[1]
    direct.close()
    through.close()
