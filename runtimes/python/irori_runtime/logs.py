"""Where the runtime's and the function's messages go.

stdout gets whole lines in one write each. The platform may offer a descriptor for framed messages instead
(_LAMBDA_TELEMETRY_LOG_FD). The root logger is equipped when, and only if, somebody imports `logging`.
"""

import os
import sys

json_format = False
sink = None
request_id = None
tenant_id = None


class StdoutSink:
    """One message, one line: line feeds inside become carriage returns, which log viewers show as line breaks."""

    def log(self, message, frame_type=None):
        sys.stdout.write(message)

    def log_message(self, message, frame_type=None):
        text = message[:-1] if message.endswith("\n") else message
        sys.stdout.write(text.replace("\n", "\r") + "\n")

    def log_error(self, lines):
        sys.stdout.write("\r".join(lines) + "\n")


class LoggingHook:
    """Meta path finder that lets the real one find `logging` and sets up the root logger once it is loaded."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(cls)
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = LoggingLoader(spec.loader)
        return spec


class LoggingLoader:
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        set_up_logging(module)


def set_up_logging(module):
    if hasattr(module, "getLogger"):  # a module of the function may have this name
        from irori_runtime import root_logger

        root_logger.set_up(sink)


def start():
    """Before any user code."""
    global json_format, sink
    json_format = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    sys.stderr.reconfigure(encoding="utf-8", line_buffering=True)
    fd = os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)  # offered to the runtime, not to the function
    if fd is None:
        sink = StdoutSink()
    else:
        from irori_runtime.frames import FrameSink

        sink = FrameSink(int(fd))
    if "logging" in sys.modules:
        set_up_logging(sys.modules["logging"])
    else:
        sys.meta_path.insert(0, LoggingHook)


def flush():
    """What was printed without a line feed."""
    sys.stdout.flush()
    sys.stderr.flush()
