"""Deployment packages made in memory."""

import io
import zipfile
from pathlib import Path

EXECUTABLE = 0o755
PLAIN = 0o644


def _entry(name, mode):
    entry = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
    entry.external_attr = (0o100000 | mode) << 16
    entry.create_system = 3
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def pack(files):
    """files: name -> text or bytes, or (text or bytes, mode). `bootstrap` is executable unless a mode is given."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            mode = EXECUTABLE if name == "bootstrap" else PLAIN
            if isinstance(content, tuple):
                content, mode = content
            if isinstance(content, str):
                content = content.encode()
            archive.writestr(_entry(name, mode), content)
    return out.getvalue()


def pack_folder(folder, extra=None):
    """A folder with everything below it; the modes are those of the files. extra: more files as for pack()."""
    folder = Path(folder)
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[str(path.relative_to(folder))] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return pack({**files, **(extra or {})})
