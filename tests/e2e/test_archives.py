"""Corrupt, hostile and huge packages: the right error, and nothing left in the data folder."""

import io
import os
import struct
import zipfile
from pathlib import Path

import pytest
from harness.archives import pack
from harness.aws import ROLE, refused

UNZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."


def archive(*entries, compression=zipfile.ZIP_DEFLATED):
    """entries: (name, content, mode with type bits)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as made:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, compression
            made.writestr(info, content)
    return out.getvalue()


REGULAR, LINK, FIFO, CHAR = 0o100644, 0o120777, 0o010644, 0o020644
GOOD = ("index.mjs", b"export const handler = async () => 1;", REGULAR)


def bad_crc():
    data = bytearray(pack({"index.mjs": b"export const handler = async () => 1;" + b"x" * 500}))
    central = data.index(b"PK\x01\x02")
    for place in (14, central + 16):
        data[place:place + 4] = struct.pack("<I", 0x12345678)
    return bytes(data)


def encrypted():
    data = bytearray(archive(GOOD))
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1
    return bytes(data)


def rename(data, old, new):
    assert len(old) == len(new)
    return data.replace(old, new)


HOSTILE = {
    "traversal": lambda: archive(GOOD, ("../../../../etc/irori-was-here", b"x", REGULAR)),
    "traversal inside": lambda: archive(GOOD, ("a/../../x", b"x", REGULAR)),
    "absolute": lambda: archive(GOOD, ("/etc/irori-was-here", b"x", REGULAR)),
    "link out, absolute": lambda: archive(GOOD, ("out", b"/etc", LINK)),
    "link out, relative": lambda: archive(GOOD, ("out", b"../../..", LINK)),
    "file through a link": lambda: archive(GOOD, ("out", b"/tmp", LINK), ("out/irori-was-here", b"x", REGULAR)),
    "link replaced by a file": lambda: archive(GOOD, ("x", b"/etc/irori-was-here", LINK), ("x", b"data", REGULAR)),
    "fifo": lambda: archive(GOOD, ("pipe", b"", FIFO)),
    "device": lambda: archive(GOOD, ("device", b"", CHAR)),
    "NUL in name": lambda: rename(archive(GOOD, ("aXb", b"x", REGULAR)), b"aXb", b"a\0b"),
    "backslashes": lambda: archive(GOOD, ("..\\..\\x", b"x", REGULAR)),
    "bad CRC": bad_crc,
    "encrypted": encrypted,
    "truncated": lambda: pack({"index.mjs": "x" * 5000, "b": bytes(range(256)) * 40})[:-2000],
    "half": lambda: (lambda whole: whole[:len(whole) // 2])(pack({"index.mjs": "y", "b": bytes(range(256)) * 40})),
    "no directory": lambda: pack({"index.mjs": "x"}).split(b"PK\x05\x06")[0],
    "not a zip": lambda: b"just some text, long enough to be looked at " * 50,
    "empty file": lambda: b"",
    "tar": lambda: b"index.mjs".ljust(257, b"\0") + b"ustar\0" + b"\0" * 2000,
    "lying directory": lambda: (lambda whole: whole[:-12] + b"\xff\xff\xff\x7f" + whole[-8:])(pack({"index.mjs": "x"})),
    "deep path": lambda: archive(GOOD, ("/".join(["d"] * 3000), b"x", REGULAR)),
    "long component": lambda: archive(GOOD, ("n" * 300, b"x", REGULAR)),
}


def code_folder(server):
    folder = server.data / "code"
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()


@pytest.fixture(autouse=True)
def nothing_left(server):
    before = code_folder(server)
    yield
    more = code_folder(server) - before
    assert not more, sorted(more)[:5]


def create(server, package):
    return server.lam.create_function(FunctionName=server.name("hostile"), Role=ROLE, Runtime="nodejs20.x",
                                      Handler="index.handler", Code={"ZipFile": package})


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_packages_are_refused(server, name):
    error = refused(lambda: create(server, HOSTILE[name]()), "InvalidParameterValueException", None, 400)
    assert error.response["Error"]["Message"]
    if name in ("bad CRC", "truncated", "half", "no directory", "not a zip", "encrypted", "tar", "lying directory"):
        assert UNZIP in str(error)
    assert not list(server.data.glob("**/irori-was-here"))
    assert not Path("/etc/irori-was-here").exists() and not Path("/tmp/irori-was-here").exists()


def test_bomb(server):
    """300 MB of zeros in 300 kB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        with made.open("zeros", "w", force_zip64=True) as file:
            for _ in range(300):
                file.write(bytes(1 << 20))
    refused(lambda: create(server, out.getvalue()), "InvalidParameterValueException",
            "Unzipped size must be smaller than 262144000 bytes", 400)


def test_bomb_that_lies_about_its_size(server):
    """The directory says ten bytes; what is written counts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        made.writestr("zeros", bytes(280 << 20))
    data = bytearray(out.getvalue())
    central = data.index(b"PK\x01\x02")
    for place in (22, central + 24):
        data[place:place + 4] = struct.pack("<I", 10)
    refused(lambda: create(server, bytes(data)), "InvalidParameterValueException", None, 400)


def test_too_many_files(server):
    """More than 100,000 entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
        for number in range(100050):
            made.writestr(f"d{number % 50}/f{number}", b"")
    refused(lambda: create(server, out.getvalue()), "InvalidParameterValueException", None, 400)


def test_zipped_size_limit(server):
    """More than 52,428,800 bytes: 413."""
    package = archive(GOOD, ("noise", os.urandom(52428800), REGULAR), compression=zipfile.ZIP_STORED)
    error = refused(lambda: create(server, package), "RequestEntityTooLargeException", None, 413)
    assert ("Zipped size must be smaller than 52428800 bytes" in str(error)
            or "Request must be smaller than 70167211 bytes for the CreateFunction operation" in str(error))


def test_failed_update_keeps_the_old_code(own_server):
    server = own_server()
    function = server.deploy(pack({"index.mjs": "export const handler = async () => 'old';"}))
    before = code_folder(server)
    refused(lambda: server.lam.update_function_code(FunctionName=function.name, ZipFile=HOSTILE["bad CRC"]()),
            "InvalidParameterValueException", UNZIP, 400)
    assert function.call() == "old" and code_folder(server) == before


def test_links_inside_the_package_work(own_server):
    server = own_server()
    package = archive(("index.mjs", b"export { handler } from './link.mjs';", REGULAR), ("real.mjs",
                      b"export const handler = async () => 'through a link';", REGULAR), ("link.mjs", b"real.mjs", LINK))
    try:
        assert server.deploy(package).call() == "through a link"
    except server.lam.exceptions.InvalidParameterValueException as error:
        assert "link" in str(error).lower()
