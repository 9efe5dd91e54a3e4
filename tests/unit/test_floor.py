"""What `python -m tests.floor` installs."""

from __future__ import annotations

import re

from tests.floor import ROOT, lower_bounds


def test_a_lower_bound_is_the_oldest_version() -> None:
    """G11. Every requirement has one, but for those that are pinned."""
    assert lower_bounds("# a>=1\nb[crt]>=1.43,<2\nc==1\n d-e>=2 # f>=1\n") == ["b[crt]==1.43", "d-e==2"]
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    wanted = re.findall(r"^[a-z0-9-]+", text, re.MULTILINE)
    found = [re.split(r"[\[=]", item)[0] for item in lower_bounds(text)]
    assert found == [name for name in wanted if name != "ministack"]
