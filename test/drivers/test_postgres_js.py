"""postgres.js: node/postgres.mjs."""
import pytest

import program

CHECKS = ("login values pipelined transactions errors cancel_and_timeout cursor copy notifications "
          "many_clients").split()
pytestmark = [pytest.mark.timeout(400), pytest.mark.full]


@pytest.fixture(scope="module")
def report(shared_door):
    def argv():
        folder = program.node()
        return ["node", "postgres.mjs"], folder

    return program.report(argv, shared_door)


@pytest.mark.parametrize("check", CHECKS)
def test_postgres_js(report, door, check):
    report.expect(check)


def test_postgres_js_ends(report, door):
    report.expect_end(CHECKS)
