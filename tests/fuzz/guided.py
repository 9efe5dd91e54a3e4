"""One target, with atheris, which looks for what is new in the code: `python -m tests.fuzz.guided TARGET [options]`."""

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["app_properties", "pipeline"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].check)
    atheris.Fuzz()
