"""The folders of the ingest side, opened for a process."""

from app_properties import Settings
from pipeline.folders import Folder, probe_within
from pipeline.spool import Spool


def open_spool(settings: Settings) -> Spool:
    """Watch, QueuedForUpload, UploadedToS3 and Failed."""
    facilities = probe_within(settings.queued)  # the others share its file system
    paths = (settings.watch, settings.queued, settings.uploaded, settings.failed)
    return Spool(*(Folder(path, durable=settings.durable, facilities=facilities) for path in paths))
