"""The server as a process of its own, and its control address.

with strict(tmp_path) as server:
    make_bucket(server, "drops")
    server.tell("faults", {"put.503": 0.02, "get.flip": 0.005})
    …
    assert server.ask("violations") == []
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers import Credentials, Server, ServerError, free_ports
from tests.strict.server import EVENTS, INTRUDER_ID, INTRUDER_SECRET, KEY_ID, SECRET

ROOT = Path(__file__).resolve().parents[2]
INTRUDER = Credentials(INTRUDER_ID, INTRUDER_SECRET)
"""Of somebody else, whose messages may say anything: nobody judges the program by them."""
_SECONDS = 60.0


class StrictServer(Server):
    """A strict server. What it knows ends with it: it is not to be killed amid a proof."""

    def tell(self, what: str, said: object) -> None:
        """POST to the control address; ServerError if it is not understood."""
        self._call(urllib.request.Request(f"{self.endpoint}/_strict/{what}", json.dumps(said).encode()))

    def ask(self, what: str) -> Any:
        """GET from the control address."""
        return self._call(urllib.request.Request(f"{self.endpoint}/_strict/{what}"))

    def events(self) -> list[dict[str, Any]]:
        """What has taken effect so far."""
        self.ask("counts")  # brings them into the file
        return [json.loads(line) for line in (self.folder / EVENTS).read_text(encoding="utf-8").splitlines()]

    def _call(self, request: urllib.request.Request) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ServerError(f"{request.full_url}: {error.read().decode()}") from error


def strict(folder: Path, seed: str = "0") -> StrictServer:
    """S3 and SQS as AWS documents them: nothing survives its end."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.strict", "--folder", str(folder), "--port", str(port), "--seed", seed]
    return StrictServer(folder, port, Credentials(KEY_ID, SECRET), command, {"PYTHONPATH": str(ROOT)}, _answers)


def _answers(server: Server) -> bool:
    with urllib.request.urlopen(f"{server.endpoint}/_strict/counts", timeout=2) as answer:
        return bool(answer.status == 200)
