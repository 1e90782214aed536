"""Events and results: JSON by the C accelerator of `json`, without the 3 ms that importing `json` takes.

Results follow the encoder of Lambda's Python client (simplejson): Decimal as its digits, named tuples as objects, bytes as
UTF-8 text, ", " and ": " between items. What the accelerator would encode otherwise goes to `plain_json`.
"""

import marshal
import os

from irori_runtime.errors import MARSHAL_ERROR, UNMARSHAL_ERROR, Fault

# From Python 3.12 on Lambda sends UTF-8, before it escapes; image functions have no such variable and escape.
escape = os.environ.get("AWS_EXECUTION_ENV") not in (
    "AWS_Lambda_python3.12",
    "AWS_Lambda_python3.13",
    "AWS_Lambda_python3.14",
)


def _refuse_constant(name):
    raise ValueError("Out of range float values are not JSON compliant: " + name)


class _ScannerOptions:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


def _default(value):
    if isinstance(value, bytes):
        return value.decode("utf-8")
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def _make_accelerated():
    """(scan, encode), or (None, None) when this Python's accelerator has another shape."""
    try:
        import _json

        string = _json.encode_basestring_ascii if escape else _json.encode_basestring
        scan = _json.make_scanner(_ScannerOptions)
        _json.make_encoder({}, _default, string, None, ": ", ", ", False, False, True)([{"a": 1.5}], 0)
        return scan, lambda value: _json.make_encoder({}, _default, string, None, ": ", ", ", False, False, True)(value, 0)
    except (ImportError, AttributeError, TypeError):
        return None, None


_scan, _encode = _make_accelerated()


def from_json(data):
    text = data.decode("utf-8")
    if _scan is not None:
        try:
            value, end = _scan(text, 0)
            if not text[end:].strip(" \t\r\n"):
                return value
        except (StopIteration, ValueError, SystemError):
            pass  # white space in front, or an error: json.loads words it (the scanner alone cannot before json is imported)
    import json

    return json.loads(text, parse_constant=_refuse_constant)


def to_json(value):
    if _encode is not None:
        try:
            # marshal takes exactly the plain types and refuses their subclasses (named tuples, enums), at C speed.
            marshal.dumps(value)
            return "".join(_encode(value))
        except (ValueError, TypeError):
            pass
    from irori_runtime import plain_json

    return plain_json.encode(value, escape)


def read_event(body, content_type):
    if content_type != "application/json":
        return body
    try:
        return from_json(body)
    except Exception as error:
        raise Fault(UNMARSHAL_ERROR, "Unable to unmarshal input: %s" % error)


def write_result(result):
    """(bytes, content type)"""
    if isinstance(result, bytes):
        return result, "application/unknown"
    try:
        return to_bytes(to_json(result)), "application/json"
    except Exception as error:
        raise Fault(MARSHAL_ERROR, "Unable to marshal response: %s" % error)


def to_bytes(text):
    """A lone surrogate becomes its own JSON escape."""
    return text.encode("utf-8", "backslashreplace")
