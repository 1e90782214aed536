"""From "dir/module.function" to the function: Lambda's resolution rules."""

import importlib
import sys

from irori_runtime import errors
from irori_runtime.errors import Fault


def load(name):
    """Raises Fault for what the runtime words itself; anything else that user code raises passes through."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise Fault(errors.MALFORMED_HANDLER_NAME, "Bad handler '%s': %s" % (name, error))
    if module_name.split(".")[0] in sys.builtin_module_names:
        message = "Cannot use built-in module %s as a handler module" % module_name
        raise Fault(errors.BUILT_IN_MODULE_CONFLICT, message)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault(errors.IMPORT_MODULE_ERROR, "Unable to import module '%s': %s" % (module_name, error))
    except SyntaxError as error:
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        message = "Syntax error in module '%s': %s" % (module_name, error)
        raise Fault(errors.USER_CODE_SYNTAX_ERROR, message, trace)
    try:
        return getattr(module, function_name)
    except AttributeError:
        message = "Handler '%s' missing on module '%s'" % (function_name, module_name)
        raise Fault(errors.HANDLER_NOT_FOUND, message)
