"""SnapStart: hooks before the snapshot, `restore/next`, hooks after the restore.

What passes through here is either an ordinary process, whose `restore/next` is answered at once, or the template of a function,
which waits there to be copied (`template`).
"""

import sys

from irori_runtime import codec, errors, http

EXIT_BEFORE_SNAPSHOT = 64
EXIT_AFTER_RESTORE = 65


def pass_snapshot(loop, template=None):
    """Returns in the restored process; ends the process when a hook raises. template: a template.Function, or None in an ordinary
    process."""
    import snapshot_restore_py

    try:
        run_before_snapshot(snapshot_restore_py.get_before_snapshot())
        if template:
            template.settle()
        loop.api.send(loop.api.get("/restore/next"))
        status, headers, body = loop.api.read()
        if status != 200:
            raise http.ApiGone("restore/next answered %d" % status)
    except BaseException as error:
        loop.report_init(error, kind=errors.BEFORE_SNAPSHOT_ERROR)
        sys.exit(EXIT_BEFORE_SNAPSHOT)
    try:
        if template and headers.get("irori-wake") == "function":
            template.wake(codec.from_json(body))
        run_after_restore(snapshot_restore_py.get_after_restore())
    except BaseException as error:
        loop.report_init(error, path="/restore/error", kind=errors.AFTER_RESTORE_ERROR)
        sys.exit(EXIT_AFTER_RESTORE)


def run_before_snapshot(hooks):
    while hooks:
        func, args, kwargs = hooks.pop()
        func(*args, **kwargs)


def run_after_restore(hooks):
    for func, args, kwargs in hooks:
        func(*args, **kwargs)
