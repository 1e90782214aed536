"""The root logger's handler, formats and level, as in Lambda's Python runtimes."""

import logging
import os
import time
import traceback

from irori_runtime import frames, logs

TEXT_FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
JSON_TIME = "%Y-%m-%dT%H:%M:%SZ"
OWN_FIELDS = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created msecs "
    "relativeCreated thread threadName processName process taskName aws_request_id tenant_id _frame_type".split()
)


class LambdaLoggerHandler(logging.Handler):
    def __init__(self, log_sink):
        super().__init__()
        self.log_sink = log_sink

    def emit(self, record):
        message = self.format(record)
        kind = frames.frame_type(frames.JSON if logs.json_format else frames.TEXT, record.levelno)
        self.log_sink.log_message(message, kind)


class LambdaLoggerFilter(logging.Filter):
    """Lends every record the running invocation."""

    def filter(self, record):
        record.aws_request_id = logs.request_id or ""
        record.tenant_id = logs.tenant_id
        return True


class JsonFormatter(logging.Formatter):
    """{"timestamp","level","message","logger","stackTrace"?,"errorType"?,"errorMessage"?,"requestId","location"?,...extra}"""

    def __init__(self):
        super().__init__(datefmt=JSON_TIME)

    def format(self, record):
        import json

        level = min(50, max(0, record.levelno)) // 10 * 10
        line = {
            "timestamp": self.formatTime(record, self.datefmt),
            "level": logging.getLevelName(level),
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            kind, error, trace = record.exc_info
            line["stackTrace"] = traceback.format_tb(trace)
            line["errorType"] = kind.__name__ if kind else None
            line["errorMessage"] = str(error) if kind else None
        line["requestId"] = record.aws_request_id
        if record.exc_info:
            line["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        if record.tenant_id is not None:
            line["tenantId"] = record.tenant_id
        for key, value in record.__dict__.items():
            if key not in OWN_FIELDS and key not in line:
                line[key] = value
        line = {key: value for key, value in line.items() if value is not None}
        return json.dumps(line, ensure_ascii=False, default=str) + "\n"


def set_up(sink):
    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler(sink)
    if logs.json_format:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter(TEXT_FORMAT, "%Y-%m-%dT%H:%M:%S"))
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = {"TRACE": "DEBUG", "WARN": "WARNING"}.get(level, level)
    if level in ("DEBUG", "INFO", "WARNING", "ERROR", "FATAL", "CRITICAL"):
        root.setLevel(level)
