"""Framed messages: 4 bytes type and level, 4 bytes length, 8 bytes microseconds, message; all big-endian."""

import os
import time

TEXT = 0xA55A0003
JSON = 0xA55A0002
LEVELS = {0: 0, 10: 0x08, 20: 0x0C, 30: 0x10, 40: 0x14, 50: 0x18}


def frame_type(base, level_number):
    return base | LEVELS[min(50, max(0, level_number)) // 10 * 10]


class FrameSink:
    def __init__(self, fd):
        self.fd = fd

    def log(self, message, frame_type=None):
        data = message.encode("utf-8", "backslashreplace")
        head = (frame_type or TEXT).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        frame = memoryview(head + (time.time_ns() // 1000).to_bytes(8, "big") + data)
        while frame:
            frame = frame[os.write(self.fd, frame) :]

    log_message = log

    def log_error(self, lines):
        from irori_runtime import logs

        self.log("\n".join(lines), frame_type(JSON if logs.json_format else TEXT, 40))
