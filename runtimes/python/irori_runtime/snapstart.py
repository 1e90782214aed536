"""SnapStart: hooks before the snapshot, `restore/next`, hooks after the restore."""

import sys

from irori_runtime import errors, http

EXIT_BEFORE_SNAPSHOT = 64
EXIT_AFTER_RESTORE = 65


def pass_snapshot(loop):
    """Returns in the restored process; ends the process when a hook raises."""
    import snapshot_restore_py

    try:
        snapshot_restore_py.run_before_snapshot()
        loop.api.send(loop.api.get("/restore/next"))
        status, _, _ = loop.api.read()
        if status != 200:
            raise http.ApiGone("restore/next answered %d" % status)
    except BaseException as error:
        loop.report_init(error, kind=errors.BEFORE_SNAPSHOT_ERROR)
        sys.exit(EXIT_BEFORE_SNAPSHOT)
    try:
        snapshot_restore_py.run_after_restore()
    except BaseException as error:
        loop.report_init(error, path="/restore/error", kind=errors.AFTER_RESTORE_ERROR)
        sys.exit(EXIT_AFTER_RESTORE)
