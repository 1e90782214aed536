"""Error reports: their JSON, their X-Ray cause and their log line. Loaded with the first error.

{"errorMessage": .., "errorType": .., "requestId": .., "stackTrace": [..]}
"""

import json
import os
import time
import traceback

from irori_runtime import codec, logs
from irori_runtime.errors import Fault

MAX_CAUSE = 64 * 1024  # Lambda crops the X-Ray cause there
NO_BREAK_SPACE = "\u00a0"
RUNTIME_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def user_frames(trace):
    """Frames from the first that is not the runtime's own; all when there is none."""
    frames = list(traceback.extract_tb(trace))
    for number, frame in enumerate(frames):
        own = frame.filename.startswith(RUNTIME_DIR) and not frame.filename.startswith(RUNTIME_DIR + "sdk" + os.sep)
        if not own:
            return frames[number:]
    return frames


def format_frames(frames):
    # Tuples, as Lambda's client passes them: without the markers under the line that newer Pythons add.
    return traceback.format_list([(frame.filename, frame.lineno, frame.name, frame.line) for frame in frames])


def report(error, request_id=None):
    """(payload, X-Ray cause) of an exception. request_id: None during INIT."""
    if isinstance(error, Fault):
        payload = make_payload(error.message, error.kind, error.trace, request_id)
        return payload, make_cause("LambdaValidationError", error.message, [])
    frames = user_frames(error.__traceback__)
    kind = type(error).__name__
    return make_payload(str(error), kind, format_frames(frames), request_id), make_cause(kind, str(error), frames)


def make_payload(message, kind, trace, request_id):
    return {
        "errorMessage": message or "",
        "errorType": kind or "",
        "requestId": request_id if request_id is not None else "",
        "stackTrace": trace or [],
    }


def make_cause(kind, message, frames):
    stack = [{"label": frame.name, "path": frame.filename, "line": frame.lineno} for frame in frames]
    cause = json.dumps(
        {
            "working_directory": os.getcwd(),
            "exceptions": [{"message": message, "type": kind, "stack": stack}],
            "paths": list({frame.filename: None for frame in frames}),
        }
    )
    return cause if len(cause) <= MAX_CAUSE else ""


def indent_visibly(line):
    """Log viewers drop blanks at the start of a line."""
    text = line.lstrip(" ")
    return NO_BREAK_SPACE * (len(line) - len(text)) + text


def log(payload):
    if logs.json_format:
        head = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "log_level": "ERROR"}
        logs.sink.log_error([codec.to_json({**head, **payload})])
        return
    title = "[ERROR]"
    if payload["errorType"]:
        title += " " + payload["errorType"]
    if payload["errorMessage"]:
        title += (": " if payload["errorType"] else " ") + payload["errorMessage"]
    lines = [title, "Traceback (most recent call last):"]
    for entry in payload["stackTrace"]:
        lines += [indent_visibly(line) for line in entry.splitlines()] if entry else [""]
    logs.sink.log_error([line.replace("\n", "\r") for line in lines])
