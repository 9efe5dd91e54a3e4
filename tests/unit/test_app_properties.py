"""Application.properties → Settings; every complaint names file, line, section, key and value."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app_properties import PropertiesError, Settings, known_keys, load
from pipeline.drop import OWN_METADATA, Drop, Fingerprint
from pipeline.names import Key
from pipeline.values import EXTRA_METADATA_LIMIT

HOME = Path("/home/relay")

OLDER = (Path(__file__).resolve().parents[1] / "older.properties").read_text(encoding="utf-8")


def read(folder: Path, text: str | bytes, mode: int = 3) -> Settings:
    path = folder / "Application.properties"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path, mode, HOME)


def complaint(folder: Path, text: str | bytes, mode: int = 3) -> str:
    with pytest.raises(PropertiesError) as caught:
        read(folder, text, mode)
    said = str(caught.value)
    assert said.startswith(str(folder / "Application.properties"))
    assert "\n" not in said
    return said


@pytest.mark.parametrize("mode", [1, 2, 3, 4])
def test_an_older_file_works_unchanged(tmp_path: Path, mode: int) -> None:
    """A file with the system's own keys alone means AWS, the default chain, and the folders it names."""
    settings = read(tmp_path, OLDER, mode)
    assert settings.watch == HOME / "TEMP/Atanu/Watch"
    assert settings.queued == HOME / "TEMP/Atanu/QueuedForUpload"
    assert settings.uploaded == HOME / "TEMP/Atanu/UploadedToS3"
    assert settings.downloaded == HOME / "TEMP/Atanu/DownloadedFromS3"
    assert settings.log_file == HOME / "TEMP/Atanu/s3uploadTest-Atanu.log"
    assert (settings.aws_s3_bucket, settings.aws_s3_folder) == ("icd-users", "atanu.banik/s3uploadTest")
    assert (settings.aws_region, settings.aws_sqs, settings.aws_access_key_id) == ("us-west-2", "atanu_banik", "")
    assert settings.aws_endpoint_url == ""
    assert (settings.sleep_watch_local_folder, settings.sleep_upload_to_s3, settings.sleep_poll_sqs) == (6, 3, 2)
    assert settings.operation_mode == "0"


def test_a_byte_order_mark_and_crlf_are_nothing(tmp_path: Path) -> None:
    """Editors of other systems add them."""
    assert read(tmp_path, b"\xef\xbb\xbf" + OLDER.replace("\n", "\r\n").encode()) == read(tmp_path, OLDER)


def test_a_percent_sign_is_itself(tmp_path: Path) -> None:
    """Secrets and folders hold them; nothing is interpolated."""
    text = OLDER.replace("aws_secret_key=", "aws_secret_key=a%b%(c)s").replace("_key_id=", "_key_id=AKIA")
    assert read(tmp_path, text).aws_secret_key == "a%b%(c)s"


def test_absolute_folders_stay(tmp_path: Path) -> None:
    """Relative ones lie under folderToStoreTempFiles, that one under the program's folder."""
    settings = read(tmp_path, OLDER.replace("folderToWatch=Watch", "folderToWatch=/srv/drop"))
    assert settings.watch == Path("/srv/drop")
    assert read(tmp_path, OLDER.replace("TEMP/Atanu", "/var/relay")).queued == Path("/var/relay/QueuedForUpload")


@pytest.mark.parametrize(
    ("old", "new", "line", "parts"),
    [
        ("aws_region=", "aws_regoin=", 13, ["[AWS]", "aws_regoin", "unknown", "did you mean aws_region?"]),
        ("folderToWatch=", "FolderToWatch=", 4, ["[General]", "FolderToWatch", "did you mean folderToWatch?"]),
        ("operationMode=0", "nonsense=0", 22, ["[Environment]", "nonsense", "unknown key", "README"]),
        ("operationMode=0", "aws_sqs=q", 22, ["[Environment]", "aws_sqs", "[AWS]"]),
        ("sleepPollSQS=2.0", "sleepPollSQS=two", 18, ["[Concurrency]", "sleepPollSQS", "'two'", "a number from"]),
        ("sleepPollSQS=2.0", "sleepPollSQS=nan", 18, ["sleepPollSQS", "'nan'"]),
        ("sleepPollSQS=2.0", "sleepPollSQS=inf", 18, ["sleepPollSQS", "'inf'"]),
        ("sleepPollSQS=2.0", "sleepPollSQS=-1", 18, ["sleepPollSQS", "'-1'"]),
        ("folderToWatch=", "ledgerDays=24\nfolderToWatch=", 4, ["[General] ledgerDays", "'24'", "25"]),
        ("folderToWatch=", "ledgerDays=-0\nfolderToWatch=", 4, ["[General] ledgerDays", "'-0'", "for ever"]),
        ("folderToWatch=", "reconcileMinAge=-1\nfolderToWatch=", 4, ["[General] reconcileMinAge", "'-1'"]),
        ("sleepPollSQS=2.0", "uploadProcesses=0", 18, ["uploadProcesses", "'0'", "a whole number from 1 to 64"]),
        ("sleepPollSQS=2.0", "uploadProcesses=1.5", 18, ["uploadProcesses", "'1.5'"]),
        ("sleepPollSQS=2.0", "visibilitySeconds=43201", 18, ["visibilitySeconds", "'43201'", "43200"]),
        ("aws_s3_bucket=icd-users", "aws_s3_bucket=s3://x", 9, ["aws_s3_bucket", "'s3://x'", "a bucket name"]),
        ("aws_s3_bucket=icd-users", "aws_s3_bucket=", 9, ["aws_s3_bucket", "''", "a bucket name"]),
        ("aws_s3_folder=atanu.banik", "aws_s3_folder=a/../b", 10, ["aws_s3_folder", "a/../b/s3uploadTest"]),
        ("aws_s3_folder=atanu.banik", "aws_s3_folder=a//b", 10, ["aws_s3_folder", "a key prefix"]),
        ("aws_sqs=atanu_banik", "aws_sqs=https://sqs/1/q", 14, ["aws_sqs", "a queue name"]),
        ("aws_sqs=atanu_banik", "aws_sqs=", 14, ["aws_sqs", "a queue name"]),
        ("aws_region=us-west-2", "aws_region=", 13, ["aws_region", "empty"]),
        ("aws_sqs=", "aws_endpoint_url=localhost\naws_sqs=", 14, ["aws_endpoint_url", "'localhost'", "embedded"]),
        ("aws_sqs=", "aws_endpoint_url_s3=embedded\naws_sqs=", 14, ["aws_endpoint_url_s3", "a URL"]),
        ("aws_sqs=", "aws_endpoint_url=http://u:hush@h\naws_sqs=", 14, ["aws_endpoint_url", "user name or password"]),
        ("aws_sqs=", "aws_endpoint_url_sqs=u:hush@h\naws_sqs=", 14, ["aws_endpoint_url_sqs", "user name or password"]),
        ("aws_secret_key=", "aws_secret_key=hush\0", 12, ["aws_secret_key", "its value is not text"]),
        ("aws_secret_key=", "aws_secret_key hush", 12, ["not a properties file", "neither key=value"]),
        ("[General]", "aws_secret_key=hush\n[General]", 1, ["not a properties file", "before the first section"]),
        ("operationMode=0", "hush/hush=1\nhush/hush=1", 23, ["this key already exists"]),
        ("aws_sqs=", "aws_sqs_message_format=json\naws_sqs=", 14, ["aws_sqs_message_format", "key, s3-event"]),
        ("aws_secret_key=", "aws_secret_key=hush-hush", 11, ["aws_access_key_id", "empty", "partner"]),
        ("aws_access_key_id=", "aws_access_key_id=AKIAHUSH", 12, ["aws_secret_key", "empty", "partner"]),
        ("folderToWatch=Watch", "folderToWatch=x\nfollowSubfolders=2", 5, ["followSubfolders", "'2' is not 0 or 1"]),
        ("folderToWatch=Watch", "folderToWatch=x\ncompletionMarker=*.ok", 5, ["completionMarker", "such as .done"]),
        ("folderToWatch=Watch", "folderToWatch=x\ncompletionMarker=/ok", 5, ["completionMarker", "such as .done"]),
        ("folderToWatch=Watch", "folderToWatch=x\nmaxQueuedFiles=-1", 5, ["maxQueuedFiles", "from 0 to"]),
        (
            "folderToWatch=Watch",
            "folderToWatch=x\nminimumFileBytes=2\nmaximumFileBytes=1",
            6,
            ["[General] maximumFileBytes", "less than minimumFileBytes"],
        ),
        ("folderToWatch=Watch", "folderToWatch=", 4, ["folderToWatch", "Mode 3 needs it"]),
        (
            "aws_sqs=",
            "aws_s3_extra_metadata=drop-id=x\naws_sqs=",
            14,
            ["aws_s3_extra_metadata", "none of the program's"],
        ),
        ("operationMode=0", "operationMode=0\noperationMode=1", 23, ["operationMode", "already exists"]),
    ],
)
def test_a_complaint_says_where_and_what(tmp_path: Path, old: str, new: str, line: int, parts: list[str]) -> None:
    """G1. File, line, section, key and value, what would be right, and never the value of a secret."""
    assert old in OLDER
    said = complaint(tmp_path, OLDER.replace(old, new, 1))
    assert f"Application.properties:{line}: " in said
    for part in parts:
        assert part in said
    assert "hush" not in said.lower()


@pytest.mark.parametrize("key", ["aws_s3_bucket", "aws_s3_folder", "aws_region", "aws_sqs"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    """G1. Those without a default."""
    text = "\n".join(line for line in OLDER.split("\n") if not line.startswith(f"{key}="))
    said = complaint(tmp_path, text)
    assert f"[AWS] {key}: missing" in said


@pytest.mark.parametrize(("key", "needed"), [("folderToWatch", {1, 3, 4}), ("folderForDownloadedFiles", {2, 3, 4})])
def test_a_folder_is_needed_by_its_modes(tmp_path: Path, key: str, needed: set[int]) -> None:
    """A consumer watches nothing, an ingest machine downloads nothing."""
    text = "\n".join(line for line in OLDER.split("\n") if not line.startswith(f"{key}="))
    for mode in (1, 2, 3, 4):
        if mode in needed:
            assert f"[General] {key}: missing, and Mode {mode} needs it" in complaint(tmp_path, text, mode)
        else:
            read(tmp_path, text, mode)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (OLDER + "\n[Enviroment]\nx=1\n", "[Enviroment]: unknown section; did you mean Environment?"),
        (OLDER + "\n[DEFAULT]\naws_sqs=other\n", "[DEFAULT]: unknown section"),
        (OLDER + "\n[AWS]\naws_sqs=other\n", "'AWS' already exists"),
        ("", "aws_s3_bucket: missing"),
        ("\n# nothing\n", "aws_s3_bucket: missing"),
        ("aws_sqs=q\n", "not a properties file"),
        ("[AWS]\naws_sqs\n", "not a properties file"),
        (OLDER.encode() + b"\n# caf\xe9\n", "cannot be read"),
        (OLDER.encode("utf-16"), "cannot be read"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str | bytes, part: str) -> None:
    """G1. One line that says so."""
    assert part in complaint(tmp_path, text)


def test_no_file_at_all(tmp_path: Path) -> None:
    """G1. Nor a folder in its place."""
    for path, part in ((tmp_path / "gone", "no such file"), (tmp_path, "cannot be read")):
        with pytest.raises(PropertiesError, match=part):
            load(path, 1, HOME)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """G5. Neither credential stands in the text of Settings, which logs and tracebacks print."""
    text = OLDER.replace("_key_id=", "_key_id=AKIAHUSH").replace("secret_key=", "secret_key=very/hush")
    settings = read(tmp_path, text)
    assert (settings.aws_access_key_id, settings.aws_secret_key) == ("AKIAHUSH", "very/hush")
    assert "hush" not in f"{settings!r} {settings}".lower()


def test_settings_are_frozen(tmp_path: Path) -> None:
    """What crosses processes does not change."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        read(tmp_path, OLDER).aws_sqs = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ("", ()),
        ("team=north", (("team", "north"),)),
        ("soak-run=r1;source=a b=c ~!", (("soak-run", "r1"), ("source", "a b=c ~!"))),
        ("x" * 64 + "=1", (("x" * 64, "1"),)),
        ("a=" + "v" * 511, (("a", "v" * 511),)),
    ],
)
def test_extra_metadata(tmp_path: Path, value: str, pairs: tuple[tuple[str, str], ...]) -> None:
    """Pairs in the order they stand in; only the first = of a pair separates, and 512 bytes still pass."""
    text = OLDER.replace("aws_sqs=", f"aws_s3_extra_metadata={value}\naws_sqs=")
    assert read(tmp_path, text).aws_s3_extra_metadata == pairs


@pytest.mark.parametrize(
    "value",
    [
        *(f"{name}=1" for name in ("", "Team", "a_b", "a b", "é", "x" * 65)),
        *(f"a=1;{name}=1" for name in ("drop-id", "crc64nvme", "mtime", "path", "path-base64", "key-encoding")),
        *("a", "a=", "a=é", "a=\t", "a=1\t2", "a=1;", ";a=1", "a=1;;b=2", "a=1; b=2", "a=1 ;b=2", "a= 1", "a=1;a=2"),
        "a=" + "v" * 512,
        "a=" + "v" * 255 + ";b=" + "v" * 256,
    ],
)
def test_extra_metadata_that_no_object_can_carry(tmp_path: Path, value: str) -> None:
    """Other names, the program's own, one twice; values that are no header; more than 512 bytes in all."""
    text = OLDER.replace("aws_sqs=", f"aws_s3_extra_metadata={value}\naws_sqs=")
    assert "[AWS] aws_s3_extra_metadata: " in complaint(tmp_path, text)


def test_the_template_of_keys(tmp_path: Path) -> None:
    """As it stands there, or the path; what makes no key is refused with the line, and what was meant."""
    assert str(read(tmp_path, OLDER).aws_s3_key_template) == "{path}"
    text = OLDER.replace("aws_sqs=", "aws_s3_key_template={yyyy}/{path}\naws_sqs=")
    assert str(read(tmp_path, text).aws_s3_key_template) == "{yyyy}/{path}"
    said = complaint(tmp_path, text.replace("{yyyy}", "{yyy}"))
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "template" in line)
    assert f":{line}: [AWS] aws_s3_key_template: {{yyy}} is not a field" in said
    assert "did you mean yyyy?" in said


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", ()),
        ("import", ("import",)),
        ("/opt/my\\ tools/import --to 'a b' \"$HOME;\"", ("/opt/my tools/import", "--to", "a b", "$HOME;")),
    ],
)
def test_a_command(tmp_path: Path, value: str, words: tuple[str, ...]) -> None:
    """Words as a shell would split them, and nothing else that it would do."""
    text = OLDER.replace("folderToWatch=", f"commandAfterDownload={value}\nfolderToWatch=")
    assert read(tmp_path, text).command_after_download == words


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("import 'to", '"import \'to" cannot be split into words: No closing quotation'),
        ("import \\", "No escaped character"),
        ("bin/import", "'bin/import' is not empty, or a program (its name, or its full path)"),
        ("'' x", "is not empty, or a program"),
        ("import \0", "is not empty, or a program"),
    ],
)
def test_a_command_that_cannot_be_run(tmp_path: Path, value: str, part: str) -> None:
    """File, line and key; a relative path would be one of another folder for each process."""
    text = OLDER.replace("folderToWatch=", f"commandAfterDownload={value}\nfolderToWatch=")
    said = complaint(tmp_path, text)
    assert "Application.properties:4: [General] commandAfterDownload: " in said
    assert part in said


@pytest.mark.parametrize("path", ["\udcff" * 333, "x" * 1062])
def test_own_and_extra_metadata_fit_into_an_object(path: str) -> None:
    """The most that the program itself says, with a path of either encoding, and the most beside it: S3's 2 KB."""
    seen = Fingerprint(1, 2, 1_700_000_000_123_456_789, 4)
    own = Drop(path, seen, "AAAAAAAAAAA=", Key("in/%FF", quoted=True)).metadata()
    assert len(own) == len(OWN_METADATA) - 1  # the path stands in one of two ways
    assert own.keys() < OWN_METADATA
    assert sum(len(name) + len(text) for name, text in own.items()) + EXTRA_METADATA_LIMIT <= 2048


def test_an_empty_value_is_the_default(tmp_path: Path) -> None:
    """As an absent key is; only patterns may be empty on purpose."""
    text = OLDER.replace("sleepPollSQS=2.0", "sleepPollSQS=\nuploadProcesses=")
    settings = read(tmp_path, text.replace("folderToWatch", "ignorePatterns=\nfolderToWatch"))
    assert settings.sleep_poll_sqs == float(known_keys()["Concurrency"]["sleepPollSQS"] or "")
    assert settings.upload_processes == 2
    assert settings.ignore_patterns == ()


@pytest.mark.parametrize(("text", "days"), [("", 0), ("0", 0), ("25", 25), ("36500", 36_500)])
def test_a_ledger_is_kept_for_ever_or_longer_than_any_message(tmp_path: Path, text: str, days: int) -> None:
    """In whole days."""
    assert read(tmp_path, OLDER.replace("[AWS]", f"ledgerDays={text}\n[AWS]")).ledger_days == days


def test_without_a_mode_no_folder_is_needed(tmp_path: Path) -> None:
    """What only looks at bucket and queue runs anywhere."""
    path = tmp_path / "Application.properties"
    path.write_text("[AWS]\naws_s3_bucket=relay\naws_s3_folder=in\naws_region=eu-west-1\naws_sqs=relay\n")
    assert load(path, None, HOME).folder_for_downloaded_files == ""
