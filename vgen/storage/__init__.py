"""The one seam to files and object stores.

``uris`` names objects, ``objects`` reads and writes them through ``local`` or ``remote``.
Credentials and endpoint come from the standard ``AWS_*`` environment or role only, and never reach
a message.
"""

from vgen.storage.facts import ObjectStat
from vgen.storage.faults import NO_ROOM
from vgen.storage.local import TEMPORARY_PREFIX
from vgen.storage.objects import (
    check_reachable,
    delete,
    delete_prefix,
    download,
    exists,
    is_folder,
    list_objects,
    name_fault,
    open_read,
    publish,
    read_bytes,
    stat,
    write_bytes,
)
from vgen.storage.uris import (
    contains,
    is_local,
    join,
    local_path,
    name_of,
    normalize_uri,
    parent_of,
    relative_to,
)

__all__ = [
    "NO_ROOM",
    "TEMPORARY_PREFIX",
    "ObjectStat",
    "check_reachable",
    "contains",
    "delete",
    "delete_prefix",
    "download",
    "exists",
    "is_folder",
    "is_local",
    "join",
    "list_objects",
    "local_path",
    "name_fault",
    "name_of",
    "normalize_uri",
    "open_read",
    "parent_of",
    "publish",
    "read_bytes",
    "relative_to",
    "stat",
    "write_bytes",
]
