"""The folders of the ingest side, opened for a process."""

from app_properties import Settings
from pipeline.folders import Folder
from pipeline.spool import Spool


def open_spool(settings: Settings) -> Spool:
    """Watch, QueuedForUpload, UploadedToS3 and Failed."""
    paths = (settings.watch, settings.queued, settings.uploaded, settings.failed)
    return Spool(*(Folder(path, durable=settings.durable) for path in paths))
