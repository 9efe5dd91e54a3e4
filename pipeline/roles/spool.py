"""The folders of the ingest side, opened for a process."""

from app_properties import Settings
from pipeline import values
from pipeline.folders import Folder, probe_within
from pipeline.spool import Spool


def open_spool(settings: Settings) -> Spool:
    """Watch, QueuedForUpload, UploadedToS3 and Failed; what is missing is made."""
    paths = (settings.watch, settings.queued, settings.uploaded, settings.failed)
    for path in paths:  # there since the start, unless somebody removed one meanwhile
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
    facilities = probe_within(settings.queued)  # the others share its file system
    folders = (Folder(path, durable=settings.durable, facilities=facilities) for path in paths)
    return Spool(*folders, keeps_names=settings.on_name_conflict != values.VERSION)
