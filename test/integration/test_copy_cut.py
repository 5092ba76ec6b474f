"""A COPY that fails while one of its messages is half sent: the server is still reading that message,
so its rest must reach the server before anybody else's request does."""
import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER


def until(client, kind):
    msgs = [client.read()]
    while msgs[-1].type != kind:
        msgs.append(client.read())
    return msgs


@pytest.mark.parametrize("cut", [3, 6, 3000])
@pytest.mark.parametrize("tx", [False, True])
def test_rest_of_a_message_is_sent_before_the_next_request(pg, proxy, cut, tx):
    p = proxy(pg, pool_size=1)
    a = p.connect(USER, SECRET, DB)
    a.query("CREATE TABLE IF NOT EXISTS copy_cut (a int, b text)")
    b = p.connect(USER, SECRET, DB)
    bad = w.copy_data(b"x\ty\n" * 2000)
    for _ in range(5):
        if tx:
            a.query("BEGIN")
        a.send(w.query("COPY copy_cut FROM STDIN"))
        until(a, "G")
        a.send(bad + bad[:cut])
        assert any(m.type == "E" for m in until(a, "Z"))
        a.send(bad[cut:] + w.copy_done())
        if tx:
            a.query("ROLLBACK")
        assert b.query("SELECT 42") == [["42"]]
        assert a.query("SELECT 43") == [["43"]]
    a.close()
    b.close()
