"""The accounts of a soak test: every file is counted once, and none is forgotten."""

from pipeline.soak.accounts import ANNOUNCED, CLAIMED, UPLOADED, Accounts
from pipeline.soak.content import File
from pipeline.soak.facts import STAGES

ONE, TWO = File(1, 1), File(2, 1)


def begun(*files: File, deadline: float = 10) -> Accounts:
    accounts = Accounts(deadline)
    for file in files:
        accounts.generated(file, 0.0)
        accounts.dropped(file, 1.0)
    return accounts


def kinds(accounts: Accounts) -> list[tuple[str, str]]:
    return [(found.kind, found.name) for found in accounts.violations]


def test_a_file_that_goes_its_way() -> None:
    """Settled when it is delivered, archived and seen in the store, in whichever order; then it ends."""
    accounts = begun(ONE)
    assert accounts.delivered(ONE, 3.5) == 2.5
    assert list(accounts.settled()) == []
    accounts.reached(ONE, ANNOUNCED)
    assert list(accounts.settled()) == []
    accounts.reached(ONE, UPLOADED)
    assert list(accounts.settled()) == [ONE]
    assert accounts.expire(100) == accounts.unsettled() == []
    accounts.fed_back(ONE)
    assert accounts.totals == dict.fromkeys(STAGES, 1)
    assert not accounts.knows(ONE)
    assert accounts.violations == []


def test_each_stage_is_counted_once() -> None:
    """Seen twice, or seen late, it does not count again; those under way stand where they came to."""
    accounts = begun(ONE, TWO)
    for stage in (CLAIMED, CLAIMED, UPLOADED, CLAIMED):
        accounts.reached(ONE, stage)
    assert [accounts.totals[stage] for stage in STAGES] == [2, 1, 1, 0, 0, 0]
    assert accounts.under_way() == {"generated": 1, "claimed": 0, "uploaded": 1, "announced": 0, "delivered": 0}


def test_what_does_not_come_is_lost_once() -> None:
    """With where it was seen last; it is not expected any more."""
    accounts = begun(ONE)
    accounts.reached(ONE, ANNOUNCED)
    assert accounts.expire(10.9) == []
    assert accounts.unsettled() == [ONE]
    assert accounts.expire(11.0) == [ONE]
    assert accounts.expire(12.0) == []
    assert kinds(accounts) == [("lost", ONE.name)]
    assert "UploadedToS3" in accounts.violations[0].text
    assert accounts.unsettled() == []


def test_delivered_is_not_enough() -> None:
    """An archive that lacks it, or a store, has lost it as well."""
    accounts = begun(ONE, TWO)
    for file in (ONE, TWO):
        accounts.delivered(file, 2)
    accounts.reached(TWO, ANNOUNCED)
    assert accounts.expire(20) == [ONE, TWO]
    assert [found.text.split("; ")[1] for found in accounts.violations] == [
        "delivered, but not archived",
        "delivered, but its object is missing",
    ]


def test_what_was_generated_and_never_dropped_is_missed() -> None:
    """A feeder that hangs or fails is no success."""
    accounts = Accounts(10)
    accounts.generated(ONE, 5)
    assert accounts.expire(15) == [ONE]


def test_late_is_not_lost() -> None:
    """It arrived after all, and that it was late is said instead."""
    accounts = begun(ONE)
    accounts.expire(20)
    accounts.delivered(ONE, 25)
    assert kinds(accounts) == [("late", ONE.name)]


def test_what_arrives_damaged_is_corrupt_and_not_lost() -> None:
    """One violation for one fault; the file is given up at its deadline."""
    accounts = begun(ONE)
    for _ in range(2):
        accounts.spoil(ONE, "corrupt", ONE.name, "byte 7 differs", 3)
    assert accounts.expire(20) == [ONE]
    assert kinds(accounts) == [("corrupt", ONE.name)]


def test_many_violations_stay_within_bounds() -> None:
    """The first thousand one by one, the rest as a number."""
    accounts = Accounts(10)
    for number in range(1_500):
        accounts.violate("invented", f"x{number}", "", 0)
    assert (len(accounts.violations), accounts.left_out) == (1_000, 500)
