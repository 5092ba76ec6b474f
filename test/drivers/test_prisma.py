"""Prisma with its WebAssembly query compiler and @prisma/adapter-pg: node/prisma/main.mjs."""
import os
import shutil

import pytest

import program

CHECKS = "login models transactions errors_and_timeout many_clients".split()
NODE_AT_LEAST = (20, 19)
pytestmark = [pytest.mark.timeout(400), pytest.mark.full]


def prepared():
    if program.node_version() < NODE_AT_LEAST:
        raise program.Missing("Prisma needs Node 20.19 or newer")
    folder = program.node("node/prisma")
    shutil.copy(os.path.join(program.HERE, "node", "report.mjs"), folder)
    generated = os.path.join(folder, "generated", "index.js")
    schema = os.path.join(folder, "schema.prisma")
    if not os.path.exists(generated) or os.path.getmtime(generated) < os.path.getmtime(schema):
        # generate never runs the schema engine but would fetch it: a program that is there stops that.
        env = {**os.environ, "CHECKPOINT_DISABLE": "1", "PRISMA_HIDE_UPDATE_MESSAGE": "1",
               "PRISMA_SCHEMA_ENGINE_BINARY": shutil.which("true")}
        program.call(["node", "node_modules/prisma/build/index.js", "generate"], folder,
                     "prisma generate", env)
    return ["node", "main.mjs"], folder


@pytest.fixture(scope="module")
def report(shared_door):
    return program.report(prepared, shared_door)


@pytest.mark.parametrize("check", CHECKS)
def test_prisma(report, door, check):
    report.expect(check)


def test_prisma_ends(report, door):
    report.expect_end(CHECKS)
