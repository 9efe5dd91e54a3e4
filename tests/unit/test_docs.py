"""Application.properties, Settings and README's table hold the same keys and defaults."""

from __future__ import annotations

import configparser
import re
import signal
import tomllib
from pathlib import Path

import main
from app_properties import known_keys, load
from pipeline import arguments, ports
from pipeline.soak import content, options
from pipeline.soak.options import SoakOptions
from pipeline.values import EMBEDDED

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "Application.properties"

# The shipped file has to work as it is: values where the program has no default, and the embedded S3 and SQS.
SHIPPED_VALUES = {
    "aws_s3_bucket": "relay",
    "aws_s3_folder": "inbox",
    "aws_region": "us-east-1",
    "aws_sqs": "relay",
    "aws_endpoint_url": EMBEDDED,
    "folderToWatch": "Watch",
    "folderForDownloadedFiles": "DownloadedFromS3",
}


def defaults() -> dict[str, str]:
    """Key → default as README shows it: empty where there is none."""
    return {key: value or "" for keys in known_keys().values() for key, value in keys.items()}


def test_the_shipped_file_holds_every_key_with_its_default() -> None:
    """Section by section; nothing missing, nothing else, and only SHIPPED_VALUES differ."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(SHIPPED, encoding="utf-8")
    shipped = {section: dict(parser[section]) for section in parser.sections()}
    expected = {
        section: {key: SHIPPED_VALUES.get(key, default) for key, default in keys.items()}
        for section, keys in known_keys().items()
    }
    assert shipped == expected


def test_the_shipped_file_works_as_it_is(tmp_path: Path) -> None:
    """In every mode, with the embedded S3 and SQS."""
    for mode in (1, 2, 3, 4):
        assert load(SHIPPED, mode, tmp_path).aws_endpoint_url == EMBEDDED


def test_each_group_of_keys_has_its_comment() -> None:
    """A line of comment stands above each group; only keys whose names say it all follow another without one."""
    speaking = re.compile(r"aws_(s3_bucket|region|sqs|secret_key|endpoint_url_sqs)$|sleepUploadToS3$|\w+Processes$")
    uncommented = []
    previous = ""
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        key = line.partition("=")[0]
        if "=" in line and not line.startswith("#") and not previous.startswith("# ") and not speaking.match(key):
            uncommented.append(key)
        previous = line
    assert set(uncommented) <= {"downloadConcurrency"}


def test_the_readme_lists_every_key_with_its_default() -> None:
    """Each once, none that does not exist, no other default."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", text, re.MULTILINE)
    table = {key: cell.strip().strip("`") for key, cell in rows}
    assert len(rows) == len(table), "a key stands twice"
    assert table == defaults()


def test_the_readme_lists_every_exit_code() -> None:
    """Those of the program, and that of a Ctrl-C before it began; each once."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("| exit code |")[2].partition("\n\n")[0]
    codes = [int(code) for code in re.findall(r"^\| ([0-9]+) \|", text, re.MULTILINE)]
    known = {value for name, value in vars(ports).items() if name.startswith("EXIT_")}
    assert codes == sorted(known | {128 + signal.SIGINT})


def test_there_is_one_version() -> None:
    """What --version says, what the package is, and what the changelog begins with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [first, *_] = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert main.VERSION == project["version"] == first


def test_the_readme_lists_every_option() -> None:
    """Of the soak test and of the rest, each once, with its metavar and the default that it has."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `--([a-z-]+)(?: [^`]*)?`(?:, `--help`)? \|([^|]*)\|", text, re.MULTILINE))
    parser = arguments.parser_of("", "", Path("Application.properties"))
    ours = {action.option_strings[-1].removeprefix("--") for action in parser._actions} - {"help", "mode"}
    assert rows.keys() == ours
    asked = SoakOptions()
    shown = {"files": str(asked.files), "deadline": f"{asked.deadline / 60:.0f}m", "sizes": "1KiB-8MiB"}
    assert {name: rows[name].strip(" `") for name in shown} == shown
    assert options.duration(shown["deadline"]) == asked.deadline
    assert content.sizes(shown["sizes"]) == asked.sizes
