"""S3 and SQS servers for the proofs, started in a folder, as the keys of a properties file that selects them."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.servers import Server, make_bucket, ministack, moto, seaweedfs

Keys = dict[str, str]
Servers = Callable[[Path], contextlib.AbstractContextManager[Keys]]


@contextlib.contextmanager
def on_embedded(_folder: Path) -> Iterator[Keys]:
    """The program's own, as shipped."""
    yield {}


@contextlib.contextmanager
def on_moto(folder: Path) -> Iterator[Keys]:
    """S3 and SQS of moto."""
    with moto(new_folder(folder / "moto")) as server:
        yield _keys(server, aws_endpoint_url=server.endpoint)


@contextlib.contextmanager
def on_seaweed(folder: Path) -> Iterator[Keys]:
    """S3 of SeaweedFS beside the SQS of ministack, which takes any credentials."""
    with on_two(seaweedfs(new_folder(folder / "weed")), ministack(new_folder(folder / "ministack"))) as keys:
        yield keys


@contextlib.contextmanager
def on_two(store: Server, queues: Server) -> Iterator[Keys]:
    """S3 of one server beside SQS of another; both are started here."""
    with store, queues:
        places = {"aws_endpoint_url_s3": store.endpoint, "aws_endpoint_url_sqs": queues.endpoint}
        yield _keys(store, aws_endpoint_url="", **places)


def new_folder(folder: Path) -> Path:
    """Made just now, for the data of one server."""
    folder.mkdir()
    return folder


def _keys(store: Server, **places: str) -> Keys:
    make_bucket(store, "relay")
    return {**places, "aws_access_key_id": store.credentials[0], "aws_secret_key": store.credentials[1]}


SERVERS: dict[str, Servers] = {"embedded": on_embedded, "moto": on_moto, "seaweed": on_seaweed}
