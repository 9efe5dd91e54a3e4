"""Names and content that trip programs up: each arrives as it was, byte for byte; the numbers: docs/faults.md."""

from __future__ import annotations

import gzip
import io
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.integration.program import Launch, files, wait_for
from tests.odd_names import names
from tests.servers import make_bucket, ministack

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


def contents() -> dict[bytes, bytes]:
    """Contents that something on the way may think it understands."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../outside", b"1")
    packed = gzip.compress(b"packed" * 1000)
    return {
        b"content.gz": packed,
        b"content.gz.txt": packed,
        b"content.zip": archive.getvalue(),
        b"content.elf": Path(sys.executable).read_bytes()[: 1 << 20],
        b"content.com": EICAR,
        b"page.html": b"<script>alert(1)</script>\r\n",
        b"x.json": b'\xef\xbb\xbf{"a": NaN}\n',
    }


@pytest.mark.parametrize("form", ["key", "s3-event"])
def test_e1_to_e9_names_and_contents(tmp_path: Path, launch: Launch, start: Start, form: str) -> None:
    """E1, E2, E3, E4, E5, E6, E7, E8, E9. All at once, in both forms of message; keys that are too long fail."""
    server = start(ministack)
    make_bucket(server, "names")
    keys: dict[str, Any] = {"aws_endpoint_url": server.endpoint, "aws_s3_bucket": "names", "aws_sqs": "names"}
    keys |= {"aws_access_key_id": server.credentials[0], "aws_secret_key": server.credentials[1]}
    program = launch(
        tmp_path, 3, aws_sqs_message_format=form, ignorePatterns="", sleepWatchLocalFolder=0.5, **keys
    ).started()
    known = contents()
    expected = {name: known.get(name.rpartition(b"/")[2], b"of " + name) for row in names().values() for name in row}
    expected = {b"d/" + name: content for name, content in expected.items()}
    # E8: three components of 255 bytes fit; quoted threefold, or with a fourth and a fifth, they are no key.
    too_long = {b"long/" + b"/".join([b"y" * 255] * 4): b"1", b"long/" + b"\xff" * 200 + b"/" + b"\xff" * 200: b"2"}
    everything = {os.path.join(os.fsencode(program.watch), name): data for name, data in (expected | too_long).items()}
    for path, data in everything.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(data)

    failed = program.state / "Failed"
    wait_for(lambda: len(files(program.downloaded)) >= len(expected), 60, program.output)
    assert files(program.downloaded) == expected
    wait_for(lambda: len(files(failed)) == len(too_long) and not files(program.watch), explain=program.output)
    assert files(failed) == too_long
    assert files(program.state / "UploadedToS3") == expected
    reasons = [path.read_text(encoding="utf-8") for path in (failed / ".reason").rglob("*.json")]
    assert len(reasons) == len(too_long)
    assert all("S3 allows 1024" in reason for reason in reasons), reasons
    assert program.stopped() == 0
    for text in (program.output(), program.log()):
        assert all(line.isprintable() for line in text.split("\n"))
        assert not [line for line in text.split("\n")[:-1] if not re.match(r"[0-9-]*T?\d\d:\d\d:\d\d", line)]
        assert len(re.findall(r"(?m) sent  .*$", text)) == len(expected)
        assert len(re.findall(r"(?m) received  .*$", text)) == len(expected)
