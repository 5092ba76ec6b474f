"""lib/pq with database/sql: go/pq."""
import pytest

import program

CHECKS = "login statements transactions errors cancel copy notifications many_clients".split()
pytestmark = [pytest.mark.timeout(400), pytest.mark.full]
VERIFIER = True


@pytest.fixture(scope="module")
def report(shared_door):
    shared_door.pg.sql("TRUNCATE drv.load", shared_door.db)
    return program.report(lambda: ([program.go("pq")], None), shared_door)


@pytest.mark.parametrize("check", CHECKS)
def test_lib_pq(report, door, check):
    report.expect(check)


def test_lib_pq_ends(report, door):
    report.expect_end(CHECKS)
