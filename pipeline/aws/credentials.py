"""Credentials of the default chain: whatever a source of them does wrong is an error of one kind."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from botocore.credentials import CredentialProvider
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError
from botocore.session import Session
from botocore.utils import parse_timestamp


def guard(session: Session) -> None:
    """Have the sources of a session raise botocore's errors alone, when they are asked first and at each renewal.

    What a `credential_process` writes is read as it is, and anything may be raised over it; only a part of it is
    known as an error of credentials, which wait to be mended.
    """
    resolver = session.get_component("credential_provider")
    resolver.providers = [_Guarded(provider) for provider in resolver.providers]


class _Guarded(CredentialProvider):
    def __init__(self, source: CredentialProvider) -> None:
        super().__init__()
        self._source = source
        self.METHOD, self.CANONICAL_NAME = source.METHOD, source.CANONICAL_NAME  # botocore's names

    def load(self) -> Any:
        method = str(self.METHOD)
        with _read(method):
            credentials = self._source.load()
        renew = getattr(credentials, "_refresh_using", None)
        if renew is not None:
            credentials._refresh_using = lambda: _renewed(method, renew)
        return credentials


def _renewed(method: str, renew: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    with _read(method):
        found = renew()
        parse_timestamp(str(found["expiry_time"]))  # botocore does so with what comes back from here
        return found


@contextlib.contextmanager
def _read(method: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError):
        raise
    except Exception as error:
        problem = f"what it gives cannot be read: {type(error).__name__}: {error}"
        raise CredentialRetrievalError(provider=method, error_msg=problem) from error
