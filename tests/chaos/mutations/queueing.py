"""SQS: batches, receipts, dead letters, and a queue that is not there yet."""

from tests.chaos.mutations.mutant import Mutant

MUTANTS = {
    "failed-entries-are-done": Mutant(
        "pipeline/aws/sqs.py",
        '            outcomes[int(failed["Id"])] = describe_entry(failed, f"{what} {self.url}")\n',
        '            outcomes[int(failed["Id"])] = None\n',
        (
            "contract/test_queue.py::test_one_bad_message_fails_alone",
            "contract/test_queue.py::test_a_bad_receipt_fails_alone",
            "unit/test_queue_faults.py::test_some_entries_of_a_call_fail",
        ),
    ),
    "entries-mixed": Mutant(
        "pipeline/aws/sqs.py",
        '        for failed in answer.get("Failed", []):\n            outcomes[int(failed["Id"])] =',
        '        for index, failed in enumerate(answer.get("Failed", [])):\n            outcomes[index] =',
        (
            "unit/test_queue_faults.py::test_some_entries_of_a_call_fail",
            "unit/test_queue_faults.py::test_ids_of_entries_are_numbers",
        ),
    ),
    "forgotten-entries-are-done": Mutant(
        "pipeline/aws/sqs.py",
        "        outcomes: list[RelayError | None] = [unknown] * count\n",
        "        outcomes: list[RelayError | None] = [unknown and None] * count\n",
        ("contract/test_queue.py::test_an_entry_the_answer_forgets_is_not_accepted",),
    ),
    "one-refusal-is-of-the-whole-call": Mutant(
        "pipeline/aws/sqs.py",
        "            return [error] if len(messages) == 1 else [self.send([message])[0] for message in messages]\n",
        "            return [error] * len(messages)\n",
        ("contract/test_queue.py::test_a_call_refused_as_a_whole_is_taken_apart",),
    ),
    "more-than-was-asked-for": Mutant(
        "pipeline/aws/sqs.py",
        "                MaxNumberOfMessages=min(limit, QUEUE_BATCH),\n",
        "                MaxNumberOfMessages=QUEUE_BATCH,\n",
        ("contract/test_queue.py::test_never_more_than_asked_for",),
    ),
    "worn-out-at-once": Mutant(
        "pipeline/aws/sqs.py",
        "MAX_RECEIVES = 100\n",
        "MAX_RECEIVES = 3\n",
        ("contract/test_queue.py::test_a_missing_queue_is_made",),
    ),
    "forgotten-soon": Mutant(
        "pipeline/aws/sqs.py",
        "RETENTION_SECONDS = 10 * 24 * 3600\n",
        "RETENTION_SECONDS = 4 * 24 * 3600\n",
        ("contract/test_queue.py::test_a_missing_queue_is_made",),
    ),
    "buried-without-its-reason": Mutant(
        "pipeline/aws/sqs.py",
        '        attributes = {**dict(others[: ATTRIBUTES - 1]), "reason": printable(reason)[:1000]}\n',
        "        attributes = dict(others[: ATTRIBUTES - 1])\n",
        ("contract/test_queue.py::test_buried_with_its_reason",),
    ),
    "unburied-is-buried": Mutant(
        "pipeline/aws/sqs.py",
        "        except NeverError as error:  # with its reason it is too large, for instance\n"
        '            log.warning("%s", error)\n            return False\n',
        '        except NeverError as error:\n            log.warning("%s", error)\n',
        ("contract/test_queue.py::test_too_large_for_a_reason_it_is_kept_here",),
    ),
    "missing-dead-letters-stop-all": Mutant(
        "pipeline/aws/sqs.py",
        "            if code_of(error.__cause__) not in (*DENIED, *_MISSING):\n",
        "            if error:\n",
        ("contract/test_queue.py::test_dead_letters_that_cannot_be_written",),
    ),
    "buried-out-of-its-group": Mutant(
        "pipeline/aws/sqs.py",
        'group=message.group or "dead-letters", unique=message.id))\n',
        'group="dead-letters", unique=message.id))\n',
        ("contract/test_queue.py::test_a_burial_travels_in_its_group",),
    ),
    "the-same-is-taken-twice": Mutant(
        "pipeline/aws/sqs.py",
        '            entry["MessageDeduplicationId"] = message.unique or str(message.attributes["drop_id"])\n',
        '            entry["MessageDeduplicationId"] = str(time.time_ns())\n',
        ("contract/test_queue.py::test_the_same_is_taken_once",),
    ),
    "two-instances-make-two-queues": Mutant(
        "pipeline/aws/sqs.py",
        '        if code_of(error) in ("QueueAlreadyExists", "QueueNameExists"):  # by another instance, just now\n',
        "        if not name:\n",
        ("unit/test_aws_queue.py::test_a_queue_that_another_instance_just_made_is_used",),
    ),
    "every-thread-looks-for-the-queue": Mutant(
        "pipeline/aws/late.py",
        "            if self._found is None and self._tries == before:\n",
        "            if self._found is None:\n",
        ("unit/test_queue_faults.py::test_a_queue_that_nobody_finds_is_looked_for_once_at_a_time",),
    ),
    "a-queue-is-looked-for-once": Mutant(
        "pipeline/aws/late.py",
        "            if self._found is None and self._tries == before:\n",
        "            if self._found is None and self._tries == 0:\n",
        ("unit/test_queue_faults.py::test_a_queue_that_is_found_later",),
    ),
    "a-queue-that-is-down-ends-the-start": Mutant(
        "aws_util.py",
        "            if not (patient and is_passing(error)):\n",
        "            if error:\n",
        (
            "contract/test_errors.py::test_a_queue_that_cannot_be_reached_at_the_start",
            "integration/test_queue_faults.py::test_the_queue_is_down_at_the_start",
        ),
    ),
    "everybody-is-patient": Mutant(
        "aws_util.py",
        "            if not (patient and is_passing(error)):\n",
        "            if not is_passing(error):\n",
        ("integration/test_queue_faults.py::test_once_needs_the_queue",),
    ),
    "any-trouble-is-waited-for": Mutant(
        "aws_util.py",
        "            if not (patient and is_passing(error)):\n",
        "            if not patient:\n",
        ("contract/test_errors.py::test_an_answer_that_nobody_understands_is_not_waited_for",),
    ),
}
