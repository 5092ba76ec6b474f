"""Sequelize: node/sequelize.mjs."""
import pytest

import program

CHECKS = "login models transactions errors_and_timeout many_clients".split()
pytestmark = [pytest.mark.timeout(400), pytest.mark.full]
VERIFIER = True


@pytest.fixture(scope="module")
def report(shared_door):
    def argv():
        folder = program.node()
        return ["node", "sequelize.mjs"], folder

    return program.report(argv, shared_door)


@pytest.mark.parametrize("check", CHECKS)
def test_sequelize(report, door, check):
    report.expect(check)


def test_sequelize_ends(report, door):
    report.expect_end(CHECKS)
