"""Files: where they are, how they are written, and how files from unknown sources are read within limits.

`write.py` writes, `temporaries.py` sweeps what killed processes left; `limits.py` states how large input may be, and
`bounded.py` reads within it. One file for each format reads that format; `sealed.py` and `sealed_arrays.py` verify what
bridge has written itself.
"""

from bridge.files.folders import cache_folder, expand_user, user_folder
from bridge.files.stamp import RACY_NS, stamp_of
from bridge.files.write import (
    need_free,
    sync_file,
    unless_read_only,
    write_bytes,
    write_file,
    write_json,
    write_new_folder,
    write_pieces,
    writing,
)

__all__ = [
    "RACY_NS",
    "cache_folder",
    "expand_user",
    "need_free",
    "stamp_of",
    "sync_file",
    "unless_read_only",
    "user_folder",
    "write_bytes",
    "write_file",
    "write_json",
    "write_new_folder",
    "write_pieces",
    "writing",
]
