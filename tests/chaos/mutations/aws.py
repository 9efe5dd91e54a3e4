"""S3: conditions, checksums, multipart uploads, ranges, and what an answer means."""

from tests.chaos.mutations.mutant import Mutant

MUTANTS = {
    "a-dead-event-loop-is-an-engine": Mutant(
        "pipeline/aws/crt.py",
        "        _refuse_dead(make)\n        self._client = make()\n",
        "        self._client = make()\n",
        ("contract/test_crt.py::test_an_event_loop_that_does_not_run_is_no_engine",),
    ),
    "unanswered-requests-are-not-made-again": Mutant(
        "aws_util.py",
        '            retries={"mode": "standard", "total_max_attempts": 3},\n',
        '            retries={"mode": "standard", "total_max_attempts": 1},\n',
        ("contract/test_queue_faults.py::test_a_queue_that_accepts_and_never_answers",),
    ),
    "a-full-line-is-a-dead-one": Mutant(
        "aws_util.py",
        "            patient = self._s3_client(connect_timeout=_SEND_SECONDS)\n",
        "            patient = self._s3_client()\n",
        ("contract/test_store_faults.py::test_a_line_that_takes_nothing_for_a_while",),
    ),
    "parts-are-sent-again": Mutant(
        "pipeline/aws/multipart.py",
        '        return {part["PartNumber"]: cast(Any, part) for page in pages for part in page.get("Parts", [])}\n',
        "        return {}\n",
        (
            "contract/test_store_faults.py::test_a_completion_that_fails_with_200",
            "contract/test_store_faults.py::test_a_completion_whose_answer_cannot_be_read",
        ),
    ),
    "a-broken-line-is-for-ever": Mutant(
        "pipeline/aws/errors.py",
        "    return NeverError(text) if isinstance(error, boto.ParamValidationError) else LaterError(text)\n",
        "    return NeverError(text)\n",
        (
            "contract/test_store_faults.py::test_an_answer_that_breaks_off",
            "contract/test_store_faults.py::test_a_line_that_falls_silent",
        ),
    ),
    "no-if-none-match-by-crt": Mutant(
        "pipeline/aws/crt.py",
        "        if put.if_none_match:\n",
        "        if not put.key:\n",
        ("contract/test_store.py::test_a_held_key_is_taken",),
    ),
    "no-if-none-match-by-classic": Mutant(
        "pipeline/aws/classic.py",
        '        condition = {"IfNoneMatch": put.if_none_match} if put.if_none_match else {}\n',
        "        condition: dict[str, str] = {}\n",
        ("contract/test_store.py::test_a_held_key_is_taken",),
    ),
    "parts-take-any-key": Mutant(
        "pipeline/aws/multipart.py",
        "            **cast(Any, condition),\n",
        "",
        ("contract/test_store.py::test_a_key_taken_while_its_parts_travel_stays",),
    ),
    "no-if-match": Mutant(
        "pipeline/aws/store.py",
        '        return {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}\n',
        '        return {"IfNoneMatch": "*"} if replaces is None else {}\n',
        ("contract/test_store.py::test_replaces_wants_the_etag_it_names",),
    ),
    "a-store-without-conditions-is-not-asked": Mutant(
        "pipeline/aws/store.py",
        "            if content.size >= MULTIPART_FROM or not self._conditional:\n",
        "            if content.size >= MULTIPART_FROM:\n",
        ("contract/test_store.py::test_a_store_that_ignores_the_condition_is_asked",),
    ),
    "every-store-honours-conditions": Mutant(
        "aws_util.py",
        "        conditional = not writes or not _is_foreign(client.meta.endpoint_url) or self._honours_if_none_match(client)\n",
        "        conditional = True\n",
        ("contract/test_store.py::test_a_store_that_ignores_the_condition_is_asked",),
    ),
    "sends-what-has-another-checksum": Mutant(
        "pipeline/aws/body.py",
        "    if read != content.crc64nvme:\n",
        "    if not read:\n",
        ("contract/test_store.py::test_a_file_that_is_not_its_checksum_is_not_stored",),
    ),
    "completes-what-has-another-checksum": Mutant(
        "pipeline/aws/multipart.py",
        "        refuse_changed(as_text(whole), content, what)\n",
        "",
        ("contract/test_store.py::test_a_file_that_is_not_its_checksum_is_not_stored",),
    ),
    "a-shorter-file-is-waited-for": Mutant(
        "pipeline/aws/body.py",
        '            raise ChangedError("the file became shorter while it was uploaded")\n',
        "            break\n",
        ("contract/test_store.py::test_a_file_that_became_shorter_is_tried_later",),
    ),
    "no-checksum-travels": Mutant(
        "pipeline/aws/crt.py",
        '[("Content-Length", str(len(put.body))), ("x-amz-checksum-crc64nvme", put.crc64nvme)]\n',
        '[("Content-Length", str(len(put.body)))]\n',
        ("contract/test_store.py::test_bytes_damaged_on_the_way_are_not_stored",),
    ),
    "the-stores-checksum-is-not-compared": Mutant(
        "pipeline/aws/store.py",
        "    if answer.crc64nvme not in (None, content.crc64nvme):\n",
        "    if not content:\n",
        ("unit/test_aws_store.py::test_a_store_that_reports_another_checksum",),
    ),
    "too-many-parts": Mutant(
        "pipeline/aws/body.py",
        "    return max(PART_SIZE, -(-size // PART_LIMIT))\n",
        "    return max(PART_SIZE, 0 * size)\n",
        ("contract/test_store.py::test_parts_of_a_size",),
    ),
    "anything-is-a-header": Mutant(
        "pipeline/aws/store.py",
        "    if not all(value.isascii() and value.isprintable() for value in metadata.values()):\n",
        "    if metadata is None:\n",
        ("contract/test_store.py::test_a_name_that_cannot_be_a_request_is_never_sent",),
    ),
    "journal-after-the-upload": Mutant(
        "pipeline/aws/journal.py",
        "                new.rename(path)\n            except BaseException:\n"
        "                new.unlink(missing_ok=True)\n                raise\n"
        "            fsync_path(self._folder)\n            yield Noted(path, record)\n",
        "            except BaseException:\n                new.unlink(missing_ok=True)\n                raise\n"
        "            yield Noted(path, record)\n            new.rename(path)\n            fsync_path(self._folder)\n",
        ("unit/test_aws_journal.py::test_a_record_is_durable_under_its_name",),
    ),
    "record-of-an-upload-not-durable": Mutant(
        "pipeline/aws/journal.py",
        "                os.fsync(file.fileno())\n",
        "",
        ("unit/test_aws_journal.py::test_a_record_is_durable_under_its_name",),
    ),
    "name-of-a-record-not-durable": Mutant(
        "pipeline/aws/journal.py",
        "            fsync_path(self._folder)\n            yield",
        "            yield",
        ("unit/test_aws_journal.py::test_a_record_is_durable_under_its_name",),
    ),
    "uploads-of-living-processes-are-cut-off": Mutant(
        "pipeline/aws/journal.py",
        "                if not try_lock(file.fileno()) or not os.fstat(file.fileno()).st_nlink:\n",
        "                if not os.fstat(file.fileno()).st_nlink:\n",
        (
            "unit/test_aws_journal.py::test_a_record_in_hand_is_nobody_elses",
            "unit/test_aws_journal.py::test_what_one_looks_at_no_other_takes",
        ),
    ),
    "anything-goes-on": Mutant(
        "pipeline/aws/journal.py",
        "        return self == same\n",
        "        return self.key == same.key\n",
        (
            "unit/test_aws_journal.py::test_only_the_same_goes_on",
            "contract/test_store.py::test_nothing_else_goes_on_with_it",
        ),
    ),
    "parts-of-anybody-are-ours": Mutant(
        "pipeline/aws/multipart.py",
        '    if there is None or there.get("Size") != len(put.body):\n        return None\n'
        '    etag = there["ETag"].strip(\'"\')\n',
        '    if there is None:\n        return None\n    etag = there["ETag"].strip(\'"\')\n'
        '    there = {"ChecksumCRC64NVME": put.crc64nvme}\n',
        ("contract/test_store.py::test_a_part_that_is_not_ours_is_sent_again",),
    ),
    "uploads-elsewhere-aborted": Mutant(
        "pipeline/aws/multipart.py",
        '        return record.bucket == self._bucket and record.endpoint in ("", self._endpoint)\n',
        "        return bool(record.bucket)\n",
        ("contract/test_store.py::test_records_of_another_bucket_stay",),
    ),
    "hopeless-parts-stay": Mutant(
        "pipeline/aws/multipart.py",
        "            except _HOPELESS:\n                self._abort(noted)\n                raise\n",
        "            except _HOPELESS:\n                raise\n",
        (
            "contract/test_store.py::test_a_key_taken_while_its_parts_travel_stays",
            "contract/test_store.py::test_cancelled_between_parts",
        ),
    ),
    "aborted-in-vain-is-forgotten": Mutant(
        "pipeline/aws/multipart.py",
        '            log.warning("a multipart upload stays for now: %s", problem)\n            return False\n',
        '            log.warning("a multipart upload stays for now: %s", problem)\n',
        ("contract/test_store.py::test_an_abort_that_does_not_get_through_is_not_forgotten",),
    ),
    "an-upload-that-is-gone-goes-on": Mutant(
        "pipeline/aws/multipart.py",
        "                if code_of(error.__cause__) == _GONE:\n                    noted.forget()",
        "                if not error:\n                    noted.forget()",
        ("contract/test_store.py::test_an_upload_that_is_gone_is_begun_anew",),
    ),
    "memory-without-bound": Mutant(
        "pipeline/aws/window.py",
        "            return self._queue[0] is ticket and (not self._used or self._used + size <= self._size)\n",
        "            return self._queue[0] is ticket\n",
        ("unit/test_aws_window.py::test_a_wait_for_the_budget_ends_when_it_is_cancelled",),
    ),
    "left-while-others-write": Mutant(
        "pipeline/aws/window.py",
        "        wait(self._futures)\n",
        "        pass\n",
        ("unit/test_aws_window.py::test_an_error_ends_it_and_it_is_left_only_when_all_have_ended",),
    ),
    "objects-of-another-size": Mutant(
        "pipeline/aws/downloads.py",
        "    if size is not None and length != size:\n",
        "    if length < 0:\n",
        ("contract/test_store.py::test_a_small_download_is_of_the_size_that_was_said",),
    ),
    "a-store-may-send-without-end": Mutant(
        "pipeline/aws/downloads.py",
        "            if offset + len(data) > get.end + 1:\n",
        "            if not data:\n",
        ("contract/test_store.py::test_a_store_that_sends_without_end",),
    ),
    "half-a-range-is-whole": Mutant(
        "pipeline/aws/downloads.py",
        "            if arrived != wanted:\n",
        "            if arrived > wanted:\n",
        ("unit/test_aws_store.py::test_half_a_range_is_none",),
    ),
    "ranges-of-two-objects": Mutant(
        "pipeline/aws/downloads.py",
        '                    get = Get(key, start, end, version_id or "", first.etag)\n',
        '                    get = Get(key, start, end, version_id or "")\n',
        ("unit/test_aws_store.py::test_ranges_are_of_one_object",),
    ),
    "comes-before-it-is-admitted": Mutant(
        "pipeline/aws/downloads.py",
        "        admit(size)\n        first = self._get_first(",
        "        first = self._get_first(",
        ("contract/test_store.py::test_nothing_comes_before_it_is_admitted",),
    ),
    "room-at-anybodys-word": Mutant(
        "pipeline/aws/downloads.py",
        "        if not size or size > PART_SIZE:\n",
        "        if not size:\n",
        ("contract/test_store.py::test_room_is_held_for_what_is_there",),
    ),
    "content-is-decoded": Mutant(
        "pipeline/aws/classic.py",
        "            for chunk in body.iter_chunks(_CHUNK):\n",
        "            for chunk in cast(Any, body)._raw_stream.stream(_CHUNK, decode_content=True):\n",
        ("contract/test_store.py::test_what_an_object_says_of_its_content_changes_nothing",),
    ),
    "another-version": Mutant(
        "pipeline/aws/store.py",
        '        version: Any = {"VersionId": version_id} if version_id else {}\n'
        '        with translated(self._what("HEAD", key)):\n',
        '        version: Any = {}\n        with translated(self._what("HEAD", key)):\n',
        ("contract/test_store.py::test_a_version_that_is_not_there_is_missing",),
    ),
    "any-certificate": Mutant(
        "pipeline/aws/crt.py",
        "    options = crt_io.TlsContextOptions()\n",
        "    options = crt_io.TlsContextOptions()\n    options.verify_peer = False\n",
        ("contract/test_crt.py::test_who_is_not_known_gets_nothing",),
    ),
    "a-transfer-that-hangs-is-waited-for": Mutant(
        "pipeline/aws/crt.py",
        "                request.cancel()\n",
        "                pass\n",
        ("contract/test_crt.py::test_a_transfer_that_hangs_can_be_cancelled",),
    ),
    "credentials-asked-for-once": Mutant(
        "pipeline/aws/crt.py",
        "    if type(credentials) is Credentials:\n",
        "    if credentials is not None:\n",
        ("contract/test_crt.py::test_credentials_are_asked_for_at_every_request",),
    ),
    "one-refused-object-refuses-all": Mutant(
        "pipeline/aws/evidence.py",
        "    if alone and isinstance(cause, ClientError):\n",
        "    if not error:\n",
        (
            "unit/test_aws_evidence.py::test_it_is_this_object_where_another_can_be_read",
            "contract/test_denied.py::test_one_object_that_may_not_be_read",
        ),
    ),
    "refused-is-always-one-object": Mutant(
        "pipeline/aws/evidence.py",
        "        readable = answer.exception() is None\n",
        "        readable = True\n",
        (
            "unit/test_aws_evidence.py::test_it_may_be_all_where_the_other_cannot_be_read",
            "contract/test_denied.py::test_no_object_may_be_read",
        ),
    ),
    "a-request-for-each-refusal": Mutant(
        "pipeline/aws/evidence.py",
        "_FRESH_SECONDS = 1.0\n",
        "_FRESH_SECONDS = 0.0\n",
        ("unit/test_aws_evidence.py::test_a_flood_of_refusals_costs_a_request_a_second",),
    ),
    "secrets-in-an-error": Mutant(
        "pipeline/aws/errors.py",
        "    for pattern, instead in _SECRETS:\n",
        "    for pattern, instead in _SECRETS[3:]:\n",
        ("contract/test_errors.py::test_no_secret_in_a_text",),
    ),
    "what-was-signed-in-an-error": Mutant(
        "pipeline/aws/errors.py",
        '    line = (message.strip().splitlines() or [""])[0]\n',
        '    line = " ".join(message.split())\n',
        ("contract/test_errors.py::test_no_secret_in_a_text",),
    ),
    "refusals-are-one-files": Mutant(
        "pipeline/aws/errors.py",
        "    **dict.fromkeys(_PAUSED, PausedError),\n",
        "",
        (
            "contract/test_errors.py::test_an_answer",
            "contract/test_errors.py::test_a_missing_bucket",
        ),
    ),
    "overlimit-is-a-refusal": Mutant(
        "pipeline/aws/errors.py",
        '    **dict.fromkeys(("RequestThrottled", "OverLimit", "InvalidObjectState"), LaterError),\n',
        '    **dict.fromkeys(("InvalidObjectState",), LaterError),\n',
        ("contract/test_errors.py::test_an_answer",),
    ),
    "no-endpoint-is-one-files": Mutant(
        "pipeline/aws/errors.py",
        "    if isinstance(error, _PAUSING_ERRORS):\n",
        "    if isinstance(error, ()):\n",
        ("contract/test_errors.py::test_no_answer",),
    ),
    "a-taken-key-is-a-failure": Mutant(
        "pipeline/aws/errors.py",
        '    **dict.fromkeys(("PreconditionFailed", "412"), TakenError),\n',
        "",
        ("contract/test_errors.py::test_an_answer",),
    ),
    "a-missing-object-is-a-refusal": Mutant(
        "pipeline/aws/errors.py",
        '    **dict.fromkeys(("NoSuchKey", "404", "NotFound", "NoSuchVersion"), MissingError),\n',
        "",
        ("contract/test_store.py::test_what_is_not_there_is_missing",),
    ),
    "overwrites-without-versions": Mutant(
        "aws_util.py",
        '        if status != "Enabled":\n',
        "        if not status:\n",
        ("integration/test_order.py::test_overwrite_needs_versions",),
    ),
}
