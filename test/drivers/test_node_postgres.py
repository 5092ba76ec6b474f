"""node-postgres with pg-cursor and pg-copy-streams: node/pg.mjs."""
import pytest

import program

VERIFIER = True
CHECKS = ("login values named_statements many_statements transactions errors failed_parse_is_forgotten "
          "timeout_and_cancel cursor copy notifications large_rows queued_queries pool many_clients").split()
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def report(shared_door):
    def argv():
        folder = program.node()
        return ["node", "pg.mjs"], folder

    shared_door.pg.sql("TRUNCATE drv.load", shared_door.db)
    return program.report(argv, shared_door)


@pytest.mark.parametrize("check", CHECKS)
def test_node_postgres(report, door, check):
    report.expect(check)


def test_node_postgres_ends(report, door):
    report.expect_end(CHECKS)
