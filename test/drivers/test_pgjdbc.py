"""pgjdbc and HikariCP: java/Drivers.java."""
import pytest

import program

CHECKS = ("login thresholds query_modes values transactions errors ddl batches cursors copy large_objects "
          "timeouts notifications hikari many_clients").split()
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def report(shared_door):
    def argv():
        folder, path = program.java()
        return ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", path, "Drivers"], folder

    shared_door.pg.sql("TRUNCATE drv.load", shared_door.db)
    return program.report(argv, shared_door)


@pytest.mark.parametrize("check", CHECKS)
def test_pgjdbc(report, door, check):
    report.expect(check)


def test_pgjdbc_ends(report, door):
    report.expect_end(CHECKS)
