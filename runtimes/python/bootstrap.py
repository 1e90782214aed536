"""Entry of the Python runtime client: `python -S /var/runtime/bootstrap.py`, working directory /var/task.

-S keeps the host's site packages away and saves their scan; what functions expect of `site` is done here. Nothing is
imported before it is needed: this file is on the way of every cold start. Python 3.9 and later.

With IRORI_TEMPLATE=runtime the process becomes a template first, and what follows happens in each of its clones; with
IRORI_TEMPLATE=function it becomes one after INIT.
"""

import os
import sys


def arrange_path(runtime_dir):
    """sys.path as on Lambda: code, layers, PYTHONPATH, SDK, standard library."""
    version = "python%d.%d" % sys.version_info[:2]
    given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    standard = [entry for entry in sys.path if entry and entry != runtime_dir and entry not in given]
    if runtime_dir not in given:
        given.append(runtime_dir)
    sys.path[:] = [
        os.environ["LAMBDA_TASK_ROOT"],
        "/opt/python/lib/" + version + "/site-packages",
        "/opt/python",
        *given,
        runtime_dir + "/sdk",
        *standard,
    ]
    return given


def do_as_site_would(given):
    """The parts of `site` that programs notice: exit(), quit(), help(), and a sitecustomize on PYTHONPATH."""
    import _sitebuiltins
    import builtins

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    if any(os.path.exists(entry + "/sitecustomize.py") for entry in given):
        import sitecustomize  # noqa: F401


def main():
    runtime_dir = os.path.dirname(os.path.abspath(__file__))
    api = function = None
    kind = os.environ.get("IRORI_TEMPLATE")
    if kind in ("runtime", "function"):
        from irori_runtime import template

        if kind == "runtime":
            api = template.wait()
        else:
            function = template.prepare()
    given = arrange_path(runtime_dir)
    from irori_runtime import http, logs, loop

    logs.start()
    do_as_site_would(given)
    loop.run(api or http.Connection(os.environ["AWS_LAMBDA_RUNTIME_API"]), os.environ["_HANDLER"], function)


if __name__ == "__main__":
    main()
