"""ministack as we need it: one port, two services, our folders, and every object on disk before it is acknowledged."""

import importlib
import logging
import os
from pathlib import Path
from typing import Any

from pipeline import kernel
from pipeline.aws.checksum import crc64nvme_value
from pipeline.local_aws import HOST, EmbeddedAws, EmbeddedAwsError

_CHECK_INPUT, _CHECK_VALUE = b"123456789", 0xAE8B14860A799888  # the check value that CRC-64/NVME is published with
_ITS_LOGGERS = (
    "ministack",
    "persistence",
    "s3",
    "sqs",
    "sns",
    "lambda",
    "events",
    "scheduler",
    "transfer",
    "hypercorn.error",
)


def load_ministack(embedded: EmbeddedAws, objects: Path, state: Path) -> Any:
    """Import ministack, which reads its settings at that moment, and make what it acknowledges durable."""
    foreign = ("AWS_", "MINISTACK_", "LOCALSTACK_")
    for name in [name for name in os.environ if name.startswith(foreign) or name in ("AUTH", "USE_SSL")]:
        del os.environ[name]
    os.environ |= {"GATEWAY_PORT": str(embedded.port), "BIND_HOST": HOST, "MINISTACK_HOST": HOST, "SERVICES": "s3,sqs"}
    os.environ |= {"S3_PERSIST": "1", "S3_DATA_DIR": str(objects), "PERSIST_STATE": "1", "STATE_DIR": str(state)}
    os.environ |= {"SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "LOG_LEVEL": "WARNING"}
    os.environ["DOCKER_HOST"] = "unix:///nonexistent"  # else it removes containers of other ministacks at start
    logging.getLogger().addHandler(logging.NullHandler())  # else its basicConfig() may write to the console
    for name in _ITS_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    importlib.import_module("ministack.services.sqs")  # what is not imported is not saved
    s3: Any = importlib.import_module("ministack.services.s3")
    _refuse_unknown(s3)
    s3._crc64nvme = crc64nvme_value  # its own, in Python, takes 0.2 s a MiB, in which nobody else is answered
    _make_durable(s3, objects)
    return importlib.import_module("ministack.app")


def _refuse_unknown(s3: Any) -> None:
    """See that what is replaced is there and does what it did: another ministack might lose what it acknowledges."""
    replaced = ("_crc64nvme", "_atomic_write", "_persist_object", "_buckets")
    absent = [name for name in replaced if not hasattr(s3, name)]
    if absent or not s3._crc64nvme(_CHECK_INPUT) == crc64nvme_value(_CHECK_INPUT) == _CHECK_VALUE:
        raise EmbeddedAwsError(
            f"The installed ministack is not the one this program was made for ({', '.join(absent) or 'CRC64NVME'} "
            "changed). Run `pip install -r requirements.txt`, or leave aws_endpoint_url empty to use AWS."
        )


def _make_durable(s3: Any, objects: Path) -> None:
    """Have ministack keep what it acknowledges, and not acknowledge what it could not write (it only logs that)."""
    persist = s3._persist_object

    def checked_persist(bucket: str, key: str, record: dict[str, Any]) -> None:
        persist(bucket, key, record)
        if record["body"] is not None:  # it lets go of the body once that is on disk
            s3._buckets[bucket]["objects"].pop(key, None)
            raise OSError(f"S3 object {bucket}/{key} could not be written; is the disk full?")

    s3._atomic_write, s3._persist_object = DurableFiles(objects).write, checked_persist


class DurableFiles:
    """Files below a folder that appear under their names whole, and stay there through a power cut."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._kept: set[Path] = set()  # folders whose own name is known to be on disk

    def write(self, path: str, data: bytes | str, *, text: bool = False) -> None:
        """Stands in for ministack's _atomic_write, which it calls for an object's bytes, then for its metadata."""
        unfinished = f"{path}.tmp"
        try:
            self._write_bytes(unfinished, data.encode() if isinstance(data, str) else data)
            os.replace(unfinished, path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
        if text:  # the metadata, written last: its folder's fsync is for both names
            self._keep_name(Path(path))

    def _write_bytes(self, path: str, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            os.fsync(descriptor)  # before the name is given: else metadata may be found empty, and the object without

    def _keep_name(self, path: Path) -> None:
        folder = path.parent
        kernel.fsync_path(folder)
        while folder != self._root and folder not in self._kept:
            kernel.fsync_path(folder.parent)
            self._kept.add(folder)
            folder = folder.parent
