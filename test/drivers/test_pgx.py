"""pgx v5 in its five execution modes: go/pgx."""
import pytest

import program

CHECKS = ["login"] + [f"{what}-{mode}" for mode in ("cache_statement", "cache_describe", "describe_exec",
                                                    "exec", "simple_protocol")
                      for what in ("session", "many_clients")]
CHECKS += "cancel-cached cancel-simple batch pipeline copy large_objects notifications pool".split()
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def report(shared_door):
    shared_door.pg.sql("TRUNCATE drv.load", shared_door.db)
    return program.report(lambda: ([program.go("pgx")], None), shared_door)


@pytest.mark.parametrize("check", CHECKS)
def test_pgx(report, door, check):
    report.expect(check)


def test_pgx_ends(report, door):
    report.expect_end(CHECKS)
