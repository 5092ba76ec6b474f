"""penstock --check FILE.ini: good or not, and what each key of the file does here."""
import re
import subprocess

import pytest

from support.penstock import binary

pytestmark = pytest.mark.penstock_only

OLD = """\
[databases]
app = host=10.0.0.1,10.0.0.2 port=5433 dbname=app_main user=app password='se cret' pool_size=10
* = host=/var/run/postgresql query_timeout=5
[users]
batch = pool_mode=session max_user_connections=4
[peers]
2 = host=10.0.0.9 pool_size=3
[pgbouncer]
listen_addr = *
auth_type = trust
pool_mode = transaction
pkt_buf = 8192
query_wait_timeout = 10
%include {more}
"""
MORE = "max_client_conn = 500\nauth_ldap_options = host=x bindpasswd=hidden\n"


def check(path):
    p = subprocess.run([binary(), "--check", str(path)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=20)
    return p.returncode, p.stdout, p.stderr


@pytest.fixture
def old(tmp_path):
    (tmp_path / "more.ini").write_text(MORE)
    path = tmp_path / "pgbouncer.ini"
    path.write_text(OLD.format(more=tmp_path / "more.ini"))
    return path


def told(text, key):
    """The lines about a key, joined."""
    lines = text.split("\n")
    at = [i for i, x in enumerate(lines) if re.fullmatch(rf" +{key} = .*", x)][0]
    depth = len(lines[at]) - len(lines[at].lstrip())
    out = []
    for x in lines[at + 1:]:
        if not x.strip() or len(x) - len(x.lstrip()) <= depth:
            break
        out.append(x.strip())
    return " ".join(out)


def test_every_key_is_explained_in_its_section(old):
    code, text, _ = check(old)
    assert code == 0 and text.startswith("configuration is good\n")
    assert re.findall(r"^\[(\w+)\]$", text, re.M) == ["databases", "users", "peers", "pgbouncer"]
    for key in ("host", "port", "dbname", "user", "pool_size", "query_timeout", "pool_mode", "listen_addr", "auth_type",
                "query_wait_timeout", "max_client_conn"):
        assert told(text, key), key
    assert "No effect here: a worker has one buffer" in told(text, "pkt_buf")
    assert "Unlike PgBouncer: The query ends with an error, and the client stays" in told(text, "query_wait_timeout")
    assert told(text, "query_timeout").startswith("For this entry: Cancel queries that run longer.")
    assert max(map(len, text.split("\n"))) <= 100


def test_secrets_are_not_told(old):
    _, text, said = check(old)
    assert "password = (not shown)" in text and "auth_ldap_options = (not shown)" in text
    for secret in ("se cret", "hidden"):
        assert secret not in text and secret not in said


def test_defaults_that_hang_on_the_name_of_the_section_are_listed(old):
    _, text, _ = check(old)
    tail = text[text.index("The file has a [pgbouncer] section"):]
    assert "multiplex_depth: 1, with [penstock] 16" in tail
    assert "pool_mode" not in tail and "max_client_conn" not in tail         # the file sets them
    old.write_text(old.read_text().replace("[pgbouncer]", "[penstock]"))
    assert "with [penstock]" not in check(old)[1]


def test_a_bad_file_is_not_explained(old):
    old.write_text(old.read_text().replace("pkt_buf = 8192", "pkt_buf = many"))
    code, text, said = check(old)
    assert (code, text) == (1, "") and "pgbouncer.ini:12: pkt_buf" in said


def test_nothing_is_explained_for_a_url():
    code, text, _ = check("postgres://app:secret@127.0.0.1/app")
    assert (code, text) == (0, "configuration is good\n")


CLUSTERED = """\
[databases]
app = cluster=main route=replica
[cluster main]
hosts = 10.0.0.1:5432, 10.0.0.2:5432
probe_user = monitor
probe_password = se cret
max_replica_lag = 2
rule = primary SELECT * FROM queue*
[cache]
store = redis://user:hidden@10.0.0.3/0
mode = ttl
memory = 8MB
[cache balance]
query = SELECT balance FROM app.accounts WHERE user_id = $1
key = balance:$1
ttl = 300
table.app.accounts = user_id
[penstock]
listen_addr = 127.0.0.1
auth_type = trust
"""


def test_every_key_of_clusters_and_caches_is_explained(tmp_path):
    path = tmp_path / "penstock.ini"
    path.write_text(CLUSTERED)
    code, text, _ = check(path)
    assert code == 0, text
    assert re.findall(r"^\[(.+)\]$", text, re.M) == ["databases", "cluster main", "cache", "cache balance", "penstock"]
    for line in CLUSTERED.split("\n"):
        if " = " in line and not line.startswith("app ="):
            assert told(text, line.split(" = ")[0]), line
    for key in ("cluster", "route"):
        assert told(text, key), key
    assert "A replica that is further behind than this serves no reads" in told(text, "max_replica_lag")
    assert "probe_password = (not shown)" in text and "store = (not shown)" in text
    for secret in ("se cret", "hidden"):
        assert secret not in text
