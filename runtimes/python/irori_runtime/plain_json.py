"""JSON in plain Python with simplejson's answers for what the accelerator does otherwise.

Decimal becomes its digits (NaN for any NaN), an object with _asdict (a named tuple) an object, bytes text.
"""

import decimal
import json.encoder

NO_KEY = object()


def _number(value):
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return float.__repr__(value)


def _key(key):
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.decode("utf-8")
    if isinstance(key, float):
        return _number(key)
    if key is True or key is False or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    if isinstance(key, int):
        return int.__repr__(key)
    raise TypeError("keys must be str, int, float, bool or None, not " + type(key).__name__)


class _Encoder:
    def __init__(self, escape):
        self.string = json.encoder.encode_basestring_ascii if escape else json.encoder.encode_basestring
        self.open = set()  # containers being written

    def scalar(self, value):
        """Text of a value that is no container, or None."""
        if isinstance(value, str):
            return self.string(value)
        if isinstance(value, bytes):
            return self.string(value.decode("utf-8"))
        if value is None:
            return "null"
        if value is True:
            return "true"
        if value is False:
            return "false"
        if isinstance(value, int):
            return int.__repr__(value)
        if isinstance(value, float):
            return _number(value)
        return None

    def write(self, value, out):
        text = self.scalar(value)
        if text is not None:
            out.append(text)
            return
        if id(value) in self.open:
            raise ValueError("Circular reference detected")
        self.open.add(id(value))
        as_dict = getattr(value, "_asdict", None)
        if isinstance(value, list):
            self.write_array(value, out)
        elif callable(as_dict):
            self.write_object(as_dict(), out)
        elif isinstance(value, tuple):
            self.write_array(value, out)
        elif isinstance(value, dict):
            self.write_object(value, out)
        elif isinstance(value, decimal.Decimal):
            out.append("NaN" if value.is_nan() else str(value))
        else:
            raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)
        self.open.discard(id(value))

    def write_array(self, values, out):
        out.append("[")
        for number, value in enumerate(values):
            if number:
                out.append(", ")
            self.write(value, out)
        out.append("]")

    def write_object(self, pairs, out):
        out.append("{")
        for number, (key, value) in enumerate(pairs.items()):
            if number:
                out.append(", ")
            out.append(self.string(_key(key)))
            out.append(": ")
            self.write(value, out)
        out.append("}")


def encode(value, escape):
    out = []
    _Encoder(escape).write(value, out)
    return "".join(out)
