"""Whether it is one object that is refused, or all."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from botocore.exceptions import ClientError

from pipeline.aws.answers import Answer
from pipeline.aws.engine import Get
from pipeline.aws.errors import translate
from pipeline.aws.evidence import Evidence
from pipeline.ports import DeniedError, LaterError, PausedError, RefusedError

WHAT = "GET s3://bucket/in/a"


def refused(code: str = "AccessDenied", status: int = 403) -> Exception:
    """As a download raises it."""
    meta = {"HTTPStatusCode": status, "RequestId": "REQ1"}
    cause = ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": meta}, "GetObject")  # type: ignore[typeddict-item]  # of a real answer only what is read
    error = translate(cause, WHAT)
    error.__cause__ = cause
    return error


class Reader:
    """Evidence, a clock that stands still, and the ranges that are asked for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[tuple[Get, Future[Answer]]] = []
        self.evidence = Evidence(self._get, lambda: self.now)

    def _get(self, get: Get) -> Future[Answer]:
        self.asked.append((get, Future()))
        return self.asked[-1][1]

    def judge(self, error: Exception | None = None) -> Future[None]:
        download: Future[None] = Future()
        download.set_exception(error or refused())
        return self.evidence.judged(download, WHAT)


@pytest.fixture
def reader() -> Reader:
    made = Reader()
    made.evidence.note(Get("in/good", 8, 15, "v1", "etag"))
    made.now += 2
    return made


@pytest.mark.parametrize(("code", "status"), [("AccessDenied", 403), ("KMS.DisabledException", 400), ("Odd", 403)])
def test_it_is_this_object_where_another_can_be_read(reader: Reader, code: str, status: int) -> None:
    """F15. One byte of the last one that came is asked for; the text says who refused what, and what to do."""
    outcome = reader.judge(refused(code, status))
    ((asked, answer),) = reader.asked
    assert asked == Get("in/good", 0, 0, "v1")
    assert not outcome.done()
    answer.set_result(Answer("etag"))
    error = outcome.exception(0)
    assert type(error) is DeniedError
    for part in (WHAT, f"({code}, HTTP {status}, request REQ1)", "others can be read", "KMS key", "remove the message"):
        assert part in str(error)
    assert "README" not in str(error)


@pytest.mark.parametrize("answer", [refused(), LaterError("throttled"), RuntimeError("closed")])
def test_it_may_be_all_where_the_other_cannot_be_read(reader: Reader, answer: Exception) -> None:
    """F15. The side pauses, as for any refusal; once the other can be read again that is known."""
    outcome = reader.judge()
    reader.asked[0][1].set_exception(answer)
    assert type(outcome.exception(0)) is RefusedError
    assert "README" in str(outcome.exception(0))
    reader.now += 2
    outcome = reader.judge()
    reader.asked[1][1].set_result(Answer("etag"))
    assert type(outcome.exception(0)) is DeniedError


def test_nothing_was_read_yet() -> None:
    """There is nothing to ask for."""
    reader = Reader()
    assert type(reader.judge().exception(0)) is RefusedError
    assert reader.asked == []


@pytest.mark.parametrize("readable", [True, False])
def test_a_flood_of_refusals_costs_a_request_a_second(reader: Reader, readable: bool) -> None:
    """F15. Those who ask at once share an answer, which holds for a second."""
    outcomes = [reader.judge() for _ in range(100)]
    answer = reader.asked[0][1]
    answer.set_result(Answer("etag")) if readable else answer.set_exception(refused())
    reader.now += 0.9
    outcomes += [reader.judge() for _ in range(100)]
    assert {type(outcome.exception(0)) for outcome in outcomes} == {DeniedError if readable else RefusedError}
    assert len(reader.asked) == 1
    reader.now += 0.2
    reader.judge()
    assert len(reader.asked) == 2


def test_what_came_since_is_asked_for_at_once(reader: Reader) -> None:
    """That others could not be read is over; that they could holds on."""
    reader.judge()
    reader.asked[0][1].set_exception(refused())
    reader.evidence.note(Get("in/other", 0, 9))
    outcome = reader.judge()
    assert reader.asked[1][0] == Get("in/other", 0, 0)
    reader.asked[1][1].set_result(Answer("etag"))
    reader.evidence.note(Get("in/third", 0, 9))
    assert [type(each.exception(0)) for each in (outcome, reader.judge())] == [DeniedError] * 2
    assert len(reader.asked) == 2


@pytest.mark.parametrize(
    "error",
    [
        refused("SignatureDoesNotMatch"),
        refused("ExpiredToken", 400),
        refused("NoSuchBucket", 404),
        refused("SlowDown", 503),
        PausedError("the disk is full"),
    ],
    ids=str,
)
def test_what_is_true_for_all_is_not_asked(reader: Reader, error: Exception) -> None:
    """Credentials, the bucket, the disk: nothing about one object."""
    assert reader.judge(error).exception(0) is error
    if isinstance(error, PausedError):
        assert reader.evidence.refusal(error, WHAT) is error
    assert reader.asked == []


def test_what_went_well_is_passed_on(reader: Reader) -> None:
    """The outcome of a download is its own."""
    download: Future[int] = Future()
    download.set_result(7)
    assert reader.evidence.judged(download, WHAT).result(0) == 7
