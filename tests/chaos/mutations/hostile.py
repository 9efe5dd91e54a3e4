"""Names, messages and objects of anybody: what is refused, and what arrives byte for byte."""

from tests.chaos.mutations.mutant import Mutant

MUTANTS = {
    "any-bucket": Mutant(
        "pipeline/acceptance.py",
        "        if notice.bucket != self._bucket:\n",
        "        if not notice.bucket:\n",
        ("unit/test_poller.py::test_a_hostile_message_makes_no_request",),
    ),
    "any-key": Mutant(
        "pipeline/acceptance.py",
        "            path_of_key(self._folder_of(notice.key), notice.key)\n",
        "            self._folder_of(notice.key)\n",
        (
            "unit/test_poller.py::test_a_hostile_message_makes_no_request",
            "unit/test_foreign.py::test_keys_outside_are_refused_unless_they_are_asked_for",
        ),
    ),
    "messages-of-other-soak-tests": Mutant(
        "pipeline/acceptance.py",
        "        if is_of_other_soak(self._folder, notice.key):\n            raise LaterError",
        "        if not notice.key:\n            raise LaterError",
        ("unit/test_poller.py::test_a_message_of_another_soak_test_goes_back",),
    ),
    "no-checksum-of-what-arrived": Mutant(
        "pipeline/acceptance.py",
        "        if size != stored.size or origin.crc64nvme not in (None, arrival.checksum):\n",
        "        if size != stored.size:\n",
        ("unit/test_poller.py::test_a_damaged_download_is_not_published",),
    ),
    "no-size-of-what-arrived": Mutant(
        "pipeline/acceptance.py",
        "        if size != stored.size or origin.crc64nvme not in (None, arrival.checksum):\n",
        "        if origin.crc64nvme not in (None, arrival.checksum):\n",
        ("unit/test_foreign.py::test_a_foreign_object_that_arrives_short_is_not_published",),
    ),
    "contradictions-believed": Mutant(
        "pipeline/acceptance.py",
        "        _refuse_contradiction(notice, origin, stored)\n        size",
        "        size",
        ("unit/test_poller.py::test_a_message_that_contradicts_the_object_is_buried",),
    ),
    "size-of-an-older-object-refused": Mutant(
        "pipeline/acceptance.py",
        '        ("size", notice.size if speaks_of_this else None, stored.size),\n',
        '        ("size", notice.size if notice or speaks_of_this else None, stored.size),\n',
        ("unit/test_foreign.py::test_a_foreign_object_that_was_replaced_arrives_as_it_is",),
    ),
    "paths-unchecked": Mutant(
        "pipeline/acceptance.py",
        "        path = checked_path(origin.path if is_below(self._folder, key) else key, _other_separators())\n",
        "        path = origin.path if is_below(self._folder, key) else key\n",
        (
            "unit/test_poller.py::test_hostile_metadata_writes_nothing",
            "unit/test_foreign.py::test_flat_paths_are_checked_whole",
        ),
    ),
    "objects-outside-choose-their-path": Mutant(
        "pipeline/acceptance.py",
        "checked_path(origin.path if is_below(self._folder, key) else key, _other_separators())",
        "checked_path(origin.path, _other_separators())",
        ("unit/test_foreign.py::test_keys_outside_are_called_as_they_are",),
    ),
    "time-restored-of-none": Mutant(
        "pipeline/acceptance.py",
        "            os.utime(arrival.fd, ns=(origin.mtime_ns, origin.mtime_ns))\n",
        "            os.utime(arrival.fd)\n",
        ("unit/test_poller.py::test_metadata_asks_for_nothing",),
    ),
    "any-drop-id": Mutant(
        "pipeline/drop.py",
        "    return _DROP_ID.fullmatch(text) is not None\n",
        "    return text != ''\n",
        (
            "unit/test_drop.py::test_an_id_that_is_none_is_refused",
            "unit/test_notice.py::test_hostile_attributes_are_unreadable",
        ),
    ),
    "an-id-speaks-for-any-key": Mutant(
        "pipeline/drop.py",
        '    return f"{drop_id}/{key}"\n',
        '    return f"{drop_id}/{key and 0}"\n',
        (
            "unit/test_poller.py::test_no_object_speaks_for_that_of_another_key",
            "unit/test_poller.py::test_a_copied_object_never_stands_for_another",
        ),
    ),
    "dropped-again-is-the-same-drop": Mutant(
        "pipeline/drop.py",
        "    return _digest(encode_path(path), seen.inode, seen.mtime_ns, seen.ctime_ns, seen.size, crc64nvme)\n",
        "    return _digest(encode_path(path), seen.inode, seen.mtime_ns, seen.size, crc64nvme)\n",
        ("unit/test_drop.py::test_another_drop_has_another_id",),
    ),
    "foreign-objects-by-their-etag": Mutant(
        "pipeline/drop.py",
        "    return _FOREIGN + _digest(bucket, stored.key, stored.etag, stored.modified or 0)\n",
        "    return _FOREIGN + _digest(bucket, stored.key, stored.etag)\n",
        ("unit/test_foreign.py::test_the_same_content_put_again_is_a_file_of_its_own",),
    ),
    "paths-of-any-length": Mutant(
        "pipeline/drop.py",
        "    if len(text) > _LONG_PATH_LIMIT:\n",
        "    if not text:\n",
        (
            "unit/test_keys.py::test_a_path_that_no_object_can_carry",
            "unit/test_storing.py::test_a_path_that_no_object_can_carry_goes_to_failed",
        ),
    ),
    "times-to-the-second": Mutant(
        "pipeline/drop.py",
        "    return ((moment - _EPOCH) // timedelta(seconds=1)) * 1_000_000_000 + nanos\n",
        "    return ((moment - _EPOCH) // timedelta(seconds=1)) * 1_000_000_000\n",
        ("unit/test_drop.py::test_times_are_kept_to_the_nanosecond",),
    ),
    "odd-times-raise": Mutant(
        "pipeline/drop.py",
        "    except ValueError:  # the 30th of February\n",
        "    except ChildProcessError:\n",
        ("unit/test_drop.py::test_time_table",),
    ),
    "bodies-of-any-size": Mutant(
        "pipeline/shapes.py",
        '    if len(body.encode("utf-8", "surrogatepass")) > BODY_LIMIT:\n',
        "    if body is None:\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "any-number-of-records": Mutant(
        "pipeline/shapes.py",
        "    if len(records) > _RECORDS_LIMIT:\n",
        "    if not records:\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "doubled-names": Mutant(
        "pipeline/shapes.py",
        "    if len(result) != len(pairs):\n",
        "    if not isinstance(pairs, list):\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "constants-that-are-not-json": Mutant(
        "pipeline/shapes.py",
        "json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)\n",
        "json.loads(text, object_pairs_hook=_unique)\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "depth-ends-the-poller": Mutant(
        "pipeline/shapes.py",
        "    except (ValueError, RecursionError) as error:\n",
        "    except ValueError as error:\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "digits-end-the-poller": Mutant(
        "pipeline/shapes.py",
        "    except (ValueError, RecursionError) as error:\n",
        "    except (json.JSONDecodeError, RecursionError) as error:\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "any-size": Mutant(
        "pipeline/shapes.py",
        "    if type(value) is not int or not 0 <= value <= _SIZE_LIMIT:\n",
        "    if not isinstance(value, int):\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "keys-of-any-length": Mutant(
        "pipeline/shapes.py",
        '    if len(quoted := _text(entity, "key")) > 3 * KEY_LIMIT:\n',
        '    if not (quoted := _text(entity, "key")):\n',
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "decoded-twice": Mutant(
        "pipeline/shapes.py",
        '        key = unquote_plus(quoted, errors="strict")\n',
        '        key = unquote_plus(unquote_plus(quoted, errors="strict"))\n',
        (
            "unit/test_notice.py::test_keys_of_foreign_events_are_decoded_once",
            "integration/test_names.py::test_e1_to_e9_names_and_contents",
        ),
    ),
    "half-characters-are-keys": Mutant(
        "pipeline/shapes.py",
        '        key = unquote_plus(quoted, errors="strict")\n',
        "        key = unquote_plus(quoted)\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "odd-attributes": Mutant(
        "pipeline/shapes.py",
        "    _refuse_odd(attributes)\n    if",
        "    if",
        ("unit/test_notice.py::test_hostile_attributes_are_unreadable",),
    ),
    "two-buckets-in-one-message": Mutant(
        "pipeline/shapes.py",
        '    if attributes.get("bucket", notice.bucket) != notice.bucket:\n',
        "    if not notice.bucket:\n",
        ("unit/test_notice.py::test_hostile_attributes_are_unreadable",),
    ),
    "events-of-any-version": Mutant(
        "pipeline/shapes.py",
        '    if not isinstance(version, str) or not version.startswith("2."):',
        "    if not version:",
        ("unit/test_shapes.py::test_another_version_of_events_is_not_guessed_at",),
    ),
    "events-of-any-service": Mutant(
        "pipeline/shapes.py",
        'record.get("eventSource") not in ("aws:s3", "minio:s3"):\n',
        "not record:\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "removals-are-files": Mutant(
        "pipeline/shapes.py",
        '    if not name.startswith("ObjectCreated:"):\n        return name\n',
        "",
        (
            "unit/test_shapes.py::test_events_without_a_file_are_named",
            "unit/test_poller.py::test_what_announces_no_file_is_acknowledged",
        ),
    ),
    "overtaken-records-count": Mutant(
        "pipeline/shapes.py",
        "    return Announced(newest(notices), others)\n",
        "    return Announced(notices, others)\n",
        ("unit/test_shapes.py::test_of_a_message_the_latest_record_is_read",),
    ),
    "version-ids-of-any-text": Mutant(
        "pipeline/shapes.py",
        '    if not _is_plain(text or "", _TOKEN_LIMIT):\n',
        "    if text == '':\n",
        ("unit/test_notice.py::test_hostile_bodies_are_unreadable",),
    ),
    "a-body-of-any-key": Mutant(
        "pipeline/notice.py",
        '    return not key.lstrip().startswith("{") and not _NOT_XML.search(key)\n',
        "    return key != ''\n",
        (
            "unit/test_notice.py::test_what_a_body_cannot_carry_goes_as_an_event",
            "integration/test_names.py::test_e1_to_e9_names_and_contents",
        ),
    ),
    "versions-in-many-groups": Mutant(
        "pipeline/notice.py",
        "    place = notice.key if notice.path is None else encode_path(notice.path)\n",
        "    place = notice.key\n",
        ("unit/test_notice.py::test_the_versions_of_a_name_have_one_group_whatever_their_keys",),
    ),
    "bytes-are-lost": Mutant(
        "pipeline/names.py",
        "    quoted = not _is_utf8(path)\n",
        '    path, quoted = _to_bytes(path).decode("utf-8", "replace"), False\n',
        (
            "unit/test_keys.py::test_odd_names_go_there_and_back",
            "integration/test_names.py::test_e1_to_e9_names_and_contents",
        ),
    ),
    "names-are-normalised": Mutant(
        "pipeline/names.py",
        '    text = quote(_to_bytes(path), safe="/") if quoted else path\n',
        '    import unicodedata\n\n    text = quote(_to_bytes(path), safe="/") if quoted else unicodedata.normalize("NFC", path)\n',
        (
            "unit/test_keys.py::test_normal_forms_are_two_files",
            "integration/test_names.py::test_e1_to_e9_names_and_contents",
        ),
    ),
    "longer-than-a-key": Mutant(
        "pipeline/names.py",
        "    if length > KEY_LIMIT:\n",
        "    if length < 0:\n",
        (
            "unit/test_names.py::test_a_key_may_have_1024_bytes_and_no_more",
            "unit/test_uploader.py::test_a_key_that_is_too_long_goes_to_failed",
        ),
    ),
    "any-prefix": Mutant(
        "pipeline/names.py",
        "    if not is_below(folder, key):\n        raise",
        "    if key is None:\n        raise",
        (
            "unit/test_names.py::test_keys_that_are_never_asked_for",
            "unit/test_poller.py::test_a_hostile_message_makes_no_request",
        ),
    ),
    "keys-with-nul": Mutant(
        "pipeline/names.py",
        '    if not _is_utf8(key) or "\\0" in key or len(key.encode()) > KEY_LIMIT:\n',
        "    if not _is_utf8(key) or len(key.encode()) > KEY_LIMIT:\n",
        ("unit/test_names.py::test_keys_that_are_never_asked_for",),
    ),
    "keys-with-dots": Mutant(
        "pipeline/names.py",
        '    if any(part in ("", ".", "..") for part in path.split("/")):\n',
        "    if not path:\n",
        (
            "unit/test_names.py::test_keys_that_are_never_asked_for",
            "unit/test_poller.py::test_a_hostile_message_makes_no_request",
        ),
    ),
    "paths-with-nul": Mutant(
        "pipeline/names.py",
        '    if "\\0" in path or any(mark in path for mark in separators):\n',
        "    if any(mark in path for mark in separators):\n",
        ("unit/test_names.py::test_paths_that_are_never_written",),
    ),
    "paths-with-other-separators": Mutant(
        "pipeline/names.py",
        '    if "\\0" in path or any(mark in path for mark in separators):\n',
        '    if "\\0" in path:\n',
        ("unit/test_names.py::test_paths_that_are_never_written",),
    ),
    "paths-with-dots": Mutant(
        "pipeline/names.py",
        '        if part in ("", ".", ".."):\n',
        "        if part is None:\n",
        (
            "unit/test_names.py::test_paths_that_are_never_written",
            "unit/test_poller.py::test_hostile_metadata_writes_nothing",
        ),
    ),
    "parts-of-any-length": Mutant(
        "pipeline/names.py",
        "        if len(_to_bytes(part)) > NAME_LIMIT:\n",
        "        if not part:\n",
        ("unit/test_names.py::test_paths_that_are_never_written",),
    ),
    "own-folder-is-anybodys": Mutant(
        "pipeline/names.py",
        '    if is_own(parts[0]):\n        raise NameRefusedError(f"the name',
        '    if not parts:\n        raise NameRefusedError(f"the name',
        (
            "unit/test_names.py::test_the_programs_own_names_are_refused",
            "unit/test_poller.py::test_hostile_metadata_writes_nothing",
        ),
    ),
    "own-folder-in-capitals": Mutant(
        "pipeline/names.py",
        "    return name.casefold() in (RESERVED, SOAK)\n",
        "    return name in (RESERVED, SOAK)\n",
        ("unit/test_names.py::test_the_programs_own_names_are_refused",),
    ),
    "control-characters-in-the-log": Mutant(
        "pipeline/names.py",
        "    if text.isprintable():\n        return text\n",
        "    if text:\n        return text\n",
        (
            "unit/test_names.py::test_printable_is_one_harmless_line",
            "unit/test_app_logger.py::test_a_message_is_one_line",
            "integration/test_names.py::test_e1_to_e9_names_and_contents",
        ),
    ),
    "a-cut-within-a-character": Mutant(
        "pipeline/names.py",
        "    return raw[: ends[0] if ends else room].decode",
        "    return raw[:room].decode",
        ("unit/test_names.py::test_a_cut_never_splits_a_character",),
    ),
    "versions-longer-than-a-name": Mutant(
        "pipeline/names.py",
        "        candidate = _cut(stem, room) + mark + suffix\n",
        "        candidate = (stem if room else stem) + mark + suffix\n",
        (
            "unit/test_names.py::test_next_version_table",
            "integration/test_watch_faults.py::test_d23_a_name_without_room",
        ),
    ),
    "versions-are-nested": Mutant(
        "pipeline/names.py",
        "    if found and found.start() > 0:\n",
        "    if found and found.start() < 0:\n",
        (
            "unit/test_names.py::test_a_name_taken_apart",
            "unit/test_spool.py::test_a_version_moved_back_is_counted_on",
        ),
    ),
    "own-keys-are-files": Mutant(
        "pipeline/names.py",
        "        return is_of_soak(folder, key) or _below(folder, key) == STORE_PROBE\n",
        "        return is_of_soak(folder, key)\n",
        ("unit/test_foreign.py::test_the_programs_own_keys_bring_no_file",),
    ),
    "paths-of-our-own": Mutant(
        "pipeline/keys.py",
        "    if is_own(parts[0]):\n",
        "    if not parts:\n",
        ("unit/test_keys.py::test_paths_without_a_key",),
    ),
    "templates-that-share-a-key": Mutant(
        "pipeline/keys.py",
        "        if not _TELLING & self.fields:\n",
        "        if not self.text:\n",
        ("unit/test_keys.py::test_templates_that_are_refused",),
    ),
    "template-decides-where-it-arrives": Mutant(
        "pipeline/keys.py",
        "        facts = Facts(_checked(path), mtime_ns, drop_id, self.host)",
        "        facts = Facts(path, mtime_ns, drop_id, self.host)",
        ("unit/test_keys.py::test_paths_without_a_key",),
    ),
    "line-ends-in-the-log": Mutant(
        "app_logger.py",
        "            return printable(super().format(record))\n",
        "            return super().format(record)\n",
        ("unit/test_app_logger.py::test_a_message_is_one_line",),
    ),
    "line-ends-in-a-traceback": Mutant(
        "app_logger.py",
        '        return "\\n    ".join(printable(line) for line in lines)\n',
        '        return "\\n    ".join(lines)\n',
        ("unit/test_app_logger.py::test_a_traceback_keeps_its_lines_and_the_message_has_none",),
    ),
    "secrets-in-the-log": Mutant(
        "app_logger.py",
        "        logger.setLevel(max(logging.INFO, logger.getEffectiveLevel()))\n",
        "        logger.setLevel(logger.getEffectiveLevel())\n",
        ("unit/test_app_logger.py::test_the_libraries_that_know_secrets_tell_no_details",),
    ),
    "secrets-are-shown": Mutant(
        "app_properties.py",
        "repr=not secret)\n",
        "repr=True)\n",
        ("unit/test_app_properties.py::test_secrets_are_not_shown",),
    ),
    "unknown-keys-pass": Mutant(
        "app_properties.py",
        "    _refuse_unknown(parser, complaint)\n    given",
        "    given",
        ("unit/test_app_properties.py::test_a_complaint_says_where_and_what",),
    ),
    "half-credentials-pass": Mutant(
        "app_properties.py",
        "    _refuse_half_credentials(given, complaint)\n    if",
        "    if",
        ("unit/test_app_properties.py::test_a_complaint_says_where_and_what",),
    ),
}
