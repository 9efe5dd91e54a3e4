"""Application.properties → a frozen Settings value; every complaint names file, section, key and value.

The fields of `Settings` are the table of keys: the key of a field is its name as it stands, or in camelCase outside
[AWS], and section, default and reader stand beside it. Nothing else in the program knows the spelling of a key.
"""

import configparser
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline import values
from pipeline.keys import KeyTemplate
from pipeline.ports import EXIT_CONFIG

SECTIONS = ("General", "AWS", "Concurrency", "Environment")
_REQUIRED = object()


class PropertiesError(Exception):
    """The file cannot be used; the text says which line of it and what to write instead."""

    code = EXIT_CONFIG


def _key(section: str, read: Callable[[str], Any], default: Any = _REQUIRED, *, secret: bool = False) -> Any:
    return field(metadata={"section": section, "read": read, "default": default}, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """One properties file, read and checked. Times are seconds; folders are absolute once loaded."""

    log_file_path: str = _key("General", values.text, "relay.log")
    folder_to_store_temp_files: str = _key("General", values.text, "TEMP")
    folder_to_watch: str = _key("General", values.text, "")
    folder_queued_for_upload: str = _key("General", values.text, "QueuedForUpload")
    folder_for_uploaded_files: str = _key("General", values.text, "UploadedToS3")
    folder_for_downloaded_files: str = _key("General", values.text, "")
    folder_for_failed_files: str = _key("General", values.text, "Failed")
    folder_for_failed_messages: str = _key("General", values.text, "FailedMessages")
    ignore_patterns: tuple[str, ...] = _key(
        "General", values.patterns, ".* *.tmp *.part *.partial *.crdownload *.filepart ~$* *~ *.swp"
    )
    include_patterns: tuple[str, ...] = _key("General", values.patterns, "")
    follow_subfolders: bool = _key("General", values.flag, "1")
    minimum_file_bytes: int = _key("General", values.count(0, values.BYTES), "0")
    maximum_file_bytes: int = _key("General", values.count(0, values.BYTES), "0")
    completion_marker: str = _key("General", values.name_ending, "")
    minimum_age_seconds: float = _key("General", values.number(0, 86_400), "0")
    completion_check: str = _key("General", values.one_of("auto", "settle"), "auto")
    settle_seconds: float = _key("General", values.number(0.1, 86_400), "5")
    max_queued_files: int = _key("General", values.count(0, 10**9), "10000")
    max_queued_bytes: int = _key("General", values.count(0, values.BYTES), "0")
    max_object_bytes: int = _key("General", values.count(0, values.BYTES), "0")
    min_free_bytes: int = _key("General", values.count(0, values.BYTES), "67108864")
    on_name_conflict: str = _key("General", values.one_of(*values.ON_CONFLICT), values.VERSION)
    folder_layout: str = _key("General", values.one_of("path", "flat"), "path")
    accept_keys_outside_folder: bool = _key("General", values.flag, "0")
    cross_device_moves: bool = _key("General", values.flag, "0")
    ledger_days: int = _key("General", values.days, "0")
    reconcile_min_age: float = _key("General", values.number(0, 31_536_000), "3600")
    command_after_download: tuple[str, ...] = _key("General", values.command, "")
    command_timeout_seconds: float = _key("General", values.number(0.1, 43_200), "300")
    command_tries: int = _key("General", values.count(1, 100), "10")
    durability: str = _key("General", values.one_of("power", "process"), "power")

    aws_s3_bucket: str = _key("AWS", values.bucket)
    aws_s3_folder: str = _key("AWS", values.key_folder)
    aws_s3_key_template: KeyTemplate = _key("AWS", KeyTemplate, "{path}")  # noqa: RUF009  # as the others: a field
    aws_access_key_id: str = _key("AWS", values.text, "", secret=True)
    aws_secret_key: str = _key("AWS", values.text, "", secret=True)
    aws_region: str = _key("AWS", values.text)
    aws_sqs: str = _key("AWS", values.queue)
    aws_profile: str = _key("AWS", values.text, "")
    aws_endpoint_url: str = _key("AWS", values.endpoint, "")
    aws_endpoint_url_s3: str = _key("AWS", values.url, "")
    aws_endpoint_url_sqs: str = _key("AWS", values.url, "")
    aws_sqs_message_format: str = _key("AWS", values.one_of("key", "s3-event"), "key")
    aws_s3_extra_metadata: tuple[tuple[str, str], ...] = _key("AWS", values.metadata, "")
    aws_s3_extra_storage_class: str = _key("AWS", values.header, "")
    aws_s3_extra_server_side_encryption: str = _key("AWS", values.one_of("", "AES256", "aws:kms", "aws:kms:dsse"), "")
    aws_s3_extra_sse_kms_key_id: str = _key("AWS", values.header, "")
    aws_s3_extra_tagging: str = _key("AWS", values.tags, "")
    aws_s3_extra_cache_control: str = _key("AWS", values.header, "")
    aws_s3_extra_acl: str = _key("AWS", values.header, "")
    aws_s3_expected_bucket_owner: str = _key("AWS", values.account, "")
    aws_transfer_client: str = _key("AWS", values.one_of(values.AUTO, values.CRT, values.CLASSIC), values.AUTO)
    multipart_max_age_hours: float = _key("General", values.number(0, 8_760), "24")

    sleep_watch_local_folder: float = _key("Concurrency", values.number(0.05, 86_400), "6.0")
    sleep_upload_to_s3: float = _key("Concurrency", values.number(0.05, 86_400), "3.0")
    sleep_poll_sqs: float = _key("Concurrency", values.number(0.05, 86_400), "2.0")
    upload_processes: int = _key("Concurrency", values.count(1, 64), "2")
    upload_concurrency: int = _key("Concurrency", values.count(1, 256), "64")
    poll_processes: int = _key("Concurrency", values.count(1, 64), "2")
    download_concurrency: int = _key("Concurrency", values.count(1, 256), "64")
    command_concurrency: int = _key("Concurrency", values.count(1, 64), "2")
    visibility_seconds: int = _key("Concurrency", values.count(10, 43_200), "60")
    shutdown_seconds: float = _key("Concurrency", values.number(0, 3_600), "25")

    operation_mode: str = _key("Environment", values.text, "0")

    @property
    def state_root(self) -> Path:
        """folderToStoreTempFiles, absolute."""
        return Path(self.folder_to_store_temp_files)

    @property
    def log_file(self) -> Path:
        """logFilePath, absolute."""
        return self.state_root / self.log_file_path

    @property
    def own_folder(self) -> Path:
        """The program's own things: the embedded server's data, multipart uploads under way."""
        return self.state_root / ".relay"

    @property
    def watch(self) -> Path:
        """folderToWatch, absolute."""
        return self.state_root / self.folder_to_watch

    @property
    def queued(self) -> Path:
        """folderQueuedForUpload, absolute."""
        return self.state_root / self.folder_queued_for_upload

    @property
    def uploaded(self) -> Path:
        """folderForUploadedFiles, absolute."""
        return self.state_root / self.folder_for_uploaded_files

    @property
    def failed(self) -> Path:
        """folderForFailedFiles, absolute."""
        return self.state_root / self.folder_for_failed_files

    @property
    def downloaded(self) -> Path:
        """folderForDownloadedFiles, absolute."""
        return self.state_root / self.folder_for_downloaded_files

    @property
    def failed_messages(self) -> Path:
        """folderForFailedMessages, absolute."""
        return self.state_root / self.folder_for_failed_messages

    @property
    def all_embedded(self) -> bool:
        """Whether S3 and SQS are both the program's own: no request leaves this machine."""
        return self.aws_endpoint_url == values.EMBEDDED and not (self.aws_endpoint_url_s3 or self.aws_endpoint_url_sqs)

    @property
    def durable(self) -> bool:
        """Whether what is said done has to survive a power cut."""
        return self.durability == "power"


def key_of(field_name: str, section: str) -> str:
    """The spelling of a field's key in the file."""
    if section == "AWS":
        return field_name
    head, *rest = field_name.split("_")
    # "S3" is the one word that keeps its capital inside a key: sleepUploadToS3.
    return head + "".join(part.upper() if part in ("s3", "sqs") else part.capitalize() for part in rest)


def known_keys() -> dict[str, dict[str, str | None]]:
    """Section → key → default as text; None where a value has to be given."""
    table: dict[str, dict[str, str | None]] = {section: {} for section in SECTIONS}
    for item in fields(Settings):
        section, default = item.metadata["section"], item.metadata["default"]
        table[section][key_of(item.name, section)] = None if default is _REQUIRED else default
    return table


def load(path: Path, mode: int | None, home: Path) -> Settings:
    """Read a properties file, for a mode if any; PropertiesError.

    `home` is what folderToStoreTempFiles is relative to.
    """
    parser, text = _parse(path)
    complaint = _Complaint(path, text)
    _refuse_unknown(parser, complaint)
    given = {item.name: _value(item, parser, complaint) for item in fields(Settings)}
    _refuse_missing_folders(given, mode, complaint)
    _refuse_half_credentials(given, complaint)
    if 0 < given["maximum_file_bytes"] < given["minimum_file_bytes"]:
        raise complaint.about("General", "maximumFileBytes", "less than minimumFileBytes: no file could be both")
    given["folder_to_store_temp_files"] = str((home / given["folder_to_store_temp_files"]).absolute())
    return Settings(**given)


@dataclass(frozen=True)
class _Complaint:
    path: Path
    text: str

    def about(self, section: str, key: str, problem: str) -> PropertiesError:
        line = self._line(section, key)
        where = f"{self.path}:{line}" if line else f"{self.path}"
        return PropertiesError(f"{where}: [{section}] {key}: {problem}")

    def _line(self, section: str, key: str) -> int:
        current = ""
        for number, line in enumerate(self.text.split("\n"), 1):
            header = re.match(r"\[([^\]]+)\]", line)
            current = header.group(1) if header else current
            if current == section and re.match(rf"{re.escape(key)}\s*([=:]|$)", line):
                return number
        return 0


def _parse(path: Path) -> tuple[configparser.ConfigParser, str]:
    parser = configparser.ConfigParser(interpolation=None, default_section="\0")
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # the documented way to keep the case of keys
    try:
        text = path.read_text(encoding="utf-8-sig")
        parser.read_string(text, source=str(path))
    except FileNotFoundError:
        raise PropertiesError(f"{path}: no such file; give another with --config FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PropertiesError(f"{path}: cannot be read: {error}") from None
    except configparser.Error as error:
        line, problem = _syntax(error)
        raise PropertiesError(f"{path}:{line}: not a properties file: {problem}") from None
    return parser, text


def _syntax(error: configparser.Error) -> tuple[int, str]:
    """Line and problem. Never the text of the line, as the error itself has it: it may be a secret."""
    if isinstance(error, configparser.DuplicateOptionError):
        known = any(error.option in keys for keys in known_keys().values())
        name = f"[{error.section}] {error.option}" if known else "this key"
        return error.lineno or 0, f"{name} already exists above; keep one of them"
    if isinstance(error, configparser.DuplicateSectionError):
        return error.lineno or 0, f"section {error.section!r} already exists above; put its keys there"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return error.lineno, "a line stands before the first section, such as [General]"
    lines = [line for line, _ in error.errors] if isinstance(error, configparser.ParsingError) else []
    more = f" (so are {', '.join(map(str, lines[1:]))})" if lines[1:] else ""
    return (lines or [0])[0], f"the line is neither key=value, nor [section], nor a comment{more}"


def _refuse_unknown(parser: configparser.ConfigParser, complaint: _Complaint) -> None:
    known = known_keys()
    home_of = {key: section for section, keys in known.items() for key in keys}
    for section in parser.sections():
        if section not in known:
            raise PropertiesError(f"{complaint.path}: [{section}]: unknown section{values.nearest(section, known)}")
        for key in parser[section]:
            if key in known[section]:
                continue
            if key in home_of:
                raise complaint.about(section, key, f"this key belongs into [{home_of[key]}]")
            raise complaint.about(section, key, f"unknown key{values.nearest(key, home_of)}")


def _value(item: Any, parser: configparser.ConfigParser, complaint: _Complaint) -> Any:
    section, read, default = item.metadata["section"], item.metadata["read"], item.metadata["default"]
    key = key_of(item.name, section)
    text = parser.get(section, key, fallback=None)
    if text is None and default is _REQUIRED:
        raise PropertiesError(f"{complaint.path}: [{section}] {key}: missing, and it has no default; add {key}=… there")
    # An empty value means the default, as an absent key does: properties files are often kept with all keys listed.
    if text is None or (text == "" and default is not _REQUIRED and read is not values.patterns):
        text = default
    try:
        return read(text)
    except values.ExplainedError as error:
        raise complaint.about(section, key, str(error)) from None
    except ValueError:
        shown = repr(text) if item.repr else "its value"
        raise complaint.about(section, key, f"{shown} is not {read.__doc__}") from None


def _refuse_missing_folders(given: dict[str, Any], mode: int | None, complaint: _Complaint) -> None:
    needed = {"folder_to_watch": (1, 3, 4), "folder_for_downloaded_files": (2, 3, 4)}
    for name, modes in needed.items():
        if not given[name] and mode in modes:
            raise complaint.about("General", key_of(name, "General"), f"missing, and Mode {mode} needs it")
    if not given["aws_region"]:
        raise complaint.about("AWS", "aws_region", "empty; give the region of bucket and queue, for instance eu-west-1")


def _refuse_half_credentials(given: dict[str, Any], complaint: _Complaint) -> None:
    if bool(given["aws_access_key_id"]) == bool(given["aws_secret_key"]):
        return
    missing = "aws_secret_key" if given["aws_access_key_id"] else "aws_access_key_id"
    raise complaint.about("AWS", missing, "empty while its partner is set; set both, or neither for the default chain")
