"""Events that another S3 produces, on each way that they come to a queue, into the program's own consumer."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aws_util import Aws
from pipeline.acceptance import Acceptance
from pipeline.aws.checksum import crc64nvme
from pipeline.aws.sqs import Queue
from pipeline.dead_letters import keep_message
from pipeline.folders import Folder
from pipeline.landing import Landing
from pipeline.poller import Poller
from tests.conftest import require
from tests.contract import reach
from tests.servers import Server, make_bucket, ministack

SECONDS = 20.0
KEYS = ["a b", "a+b", "a%2Bb", "100%", "é/ñ \U0001f600", 'q"uo\\te', "&=?#;", "d/e/f"]


class Site:
    """A bucket of somebody else's objects, the queue that is told of them, and a consumer of ours."""

    def __init__(self, server: Server, root: Path) -> None:
        self.server, self.root = server, root
        self.name = f"events-{uuid.uuid4().hex[:12]}"
        make_bucket(server, self.name)
        self.s3 = server.client("s3")
        aws = reach.aws(root, server.endpoint, server.credentials, self.name, self.name)
        self.queue: Queue = aws.queue()
        self.arn = self.attributes("QueueArn")
        self.store = self._store(aws)
        self.top = root / "DownloadedFromS3"
        self.top.mkdir()
        (root / "FailedMessages").mkdir()
        self.landing = Landing(Folder(self.top, durable=False), crc64nvme)
        self.poller = Poller(
            self.queue,
            self.store,
            self.landing,
            Acceptance(self.name, "in", crc64nvme),
            partial(keep_message, root / "FailedMessages"),
            concurrency=8,
            visibility=60,
        )

    def _store(self, aws: Aws) -> Any:
        return aws.store(self.root / "multipart", 8, writes=False)

    def attributes(self, name: str) -> str:
        client = self.server.client("sqs")
        answer = client.get_queue_attributes(QueueUrl=self.queue.url, AttributeNames=[name])
        return str(answer["Attributes"][name])

    def allow(self, *services: str) -> None:
        """What AWS asks for before it lets a service send to a queue."""
        statement = {"Effect": "Allow", "Principal": {"Service": list(services)}, "Action": "sqs:SendMessage"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": self.arn}]})
        self.server.client("sqs").set_queue_attributes(QueueUrl=self.queue.url, Attributes={"Policy": policy})

    def notify(self, **configuration: Any) -> None:
        self.s3.put_bucket_notification_configuration(Bucket=self.name, NotificationConfiguration=configuration)

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=body)

    def files(self) -> dict[str, bytes]:
        found = (path for path in self.top.rglob("*") if path.is_file())
        return {
            name: path.read_bytes()
            for path in found
            if not (name := str(path.relative_to(self.top))).startswith(".relay/")
        }

    def receive_until(self, condition: Callable[[], object]) -> None:
        """Receive until something is so, and then until nothing is left."""
        deadline = time.monotonic() + SECONDS
        while self.poller.step(1, 0.01) or not self.poller.idle() or not condition():
            assert time.monotonic() < deadline, (self.files(), self.queue.depth())

    def close(self) -> None:
        self.poller.close(5)
        self.store.close()
        self.landing.ledger.close()
        self.s3.close()


def to_queue(site: Site) -> None:
    """Bucket → SQS."""
    site.allow("s3.amazonaws.com")
    site.notify(QueueConfigurations=[{"QueueArn": site.arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}])


def to_topic(site: Site, *, raw: bool = False) -> None:
    """Bucket → SNS → SQS."""
    site.allow("sns.amazonaws.com")
    sns = site.server.client("sns")
    topic = sns.create_topic(Name=site.name)["TopicArn"]
    attributes = {"RawMessageDelivery": str(raw).lower()}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=site.arn, Attributes=attributes)
    sns.close()
    site.notify(TopicConfigurations=[{"TopicArn": topic, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}])


def to_bus(site: Site) -> None:
    """Bucket → EventBridge → SQS."""
    # Without versions moto speaks of the version "null", which it then does not find.
    site.s3.put_bucket_versioning(Bucket=site.name, VersioningConfiguration={"Status": "Enabled"})
    site.allow("events.amazonaws.com")
    events = site.server.client("events")
    events.put_rule(Name=site.name, EventPattern=json.dumps({"source": ["aws.s3"]}))
    events.put_targets(Rule=site.name, Targets=[{"Id": "1", "Arn": site.arn}])
    site.notify(EventBridgeConfiguration={})
    events.close()


WAYS: dict[str, Callable[[Site], None]] = {
    "SQS": to_queue,
    "SNS": to_topic,
    "SNS, raw": partial(to_topic, raw=True),
    "EventBridge": to_bus,
}


@pytest.fixture(scope="module")
def ministack_events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the services that events pass through."""
    require(ministack)
    with ministack(tmp_path_factory.mktemp("events"), services="s3,sqs,sns,events") as server:
        yield server


@pytest.fixture(params=["moto", "ministack"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    name = "moto_server" if request.param == "moto" else "ministack_events"
    with contextlib.closing(Site(request.getfixturevalue(name), tmp_path)) as site:
        yield site


@pytest.mark.parametrize("way", WAYS)
def test_objects_of_others_arrive(site: Site, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """Under their exact keys, once, whatever stands around the event; what brings no file is counted, not buried."""
    caplog.set_level(logging.INFO)
    WAYS[way](site)
    expected = {key: f"of {key}".encode() for key in KEYS} | {"empty": b"", "large": b"x" * 300_000}
    for key, body in expected.items():
        site.put(f"in/{key}", body)
    site.put("in/gone", b"1")
    site.receive_until(lambda: site.files().keys() >= {*expected, "gone"})
    site.s3.delete_object(Bucket=site.name, Key="in/gone")
    site.receive_until(lambda: re.search("no file comes of it: Object", caplog.text))
    assert site.files() == {**expected, "gone": b"1"}
    depth = site.queue.depth()
    assert (depth.visible, depth.in_flight, depth.dead) == (0, 0, 0)
    assert caplog.text.count("s3:TestEvent") == (way != "EventBridge")


def test_an_object_that_is_replaced_arrives_as_it_is(site: Site) -> None:
    """Two events of one key, of which the first is late: the object arrives once."""
    to_queue(site)
    site.put("in/a", b"first")
    site.put("in/a", b"the second")
    site.receive_until(lambda: "a" in site.files())
    assert site.files() == {"a": b"the second"}
    depth = site.queue.depth()
    assert (depth.visible, depth.in_flight, depth.dead) == (0, 0, 0)
