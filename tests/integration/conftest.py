"""The fixture that starts programs and sees that nothing of them outlives its test."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import proxy
from tests.integration.program import Launch, Program, write_properties
from tests.servers import MotoServer


@pytest.fixture
def dam(moto_server: MotoServer) -> Iterator[proxy.Dam]:
    """In front of moto; `endpoint` is where it is."""
    with proxy.dam(moto_server.port) as it:
        yield it


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Write a properties file into a folder and run main.py with it; ended at the end of the test."""
    programs: list[Program] = []

    def run(
        folder: Path, mode: int | None, *options: str, env: Mapping[str, str] | None = None, **keys: object
    ) -> Program:
        folder.mkdir(exist_ok=True)
        program = Program(write_properties(folder, **keys), mode, *options, env=env)
        programs.append(program)
        return program

    yield run
    for program in programs:
        program.end()
