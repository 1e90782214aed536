"""Does what the event asks; one deployed function serves many tests."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

COUNT = 0
TICKS = 0
BORN = f"{random.getrandbits(64):x}"
LOADED_AT = time.time()


def echo(event, _context):
    return event["value"]


def same_event(event, _context):
    return event.get("request", event) if isinstance(event, dict) else event


def nothing(_event, _context):
    return None


def count(_event, _context):
    global COUNT
    COUNT += 1
    return {"count": COUNT, "born": BORN, "loadedAt": LOADED_AT}


def env(_event, _context):
    return dict(os.environ)


def context_of(_event, context):
    names = ("function_name", "function_version", "invoked_function_arn", "memory_limit_in_mb", "aws_request_id",
             "log_group_name", "log_stream_name")
    client = context.client_context
    return {
        **{name: getattr(context, name) for name in names},
        "remaining": context.get_remaining_time_in_millis(),
        "custom": client.custom if client else None,
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
    }


def put(event, _context):
    with open(f"/tmp/{event['name']}", "w", encoding="utf-8") as file:
        file.write(event["text"])


def get(event, _context):
    try:
        with open(f"/tmp/{event['name']}", encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def sleep(event, _context):
    time.sleep(event["ms"] / 1000)
    return {"born": BORN, "at": time.time()}


def throw(event, _context):
    raise {"ValueError": ValueError, "Exception": Exception}[event.get("name", "Exception")](event["message"])


def never(_event, _context):
    while True:
        time.sleep(1)


def leave(event, _context):
    os._exit(event["code"])


def sys_exit(event, _context):
    sys.exit(event["code"])


def send_signal(event, _context):
    os.kill(os.getpid(), getattr(signal, event["signal"]))
    time.sleep(5)


def memory(event, _context):
    kept = [bytearray(b"\1" * (1 << 20)) for _ in range(event["mb"])]
    return len(kept)


def big(event, _context):
    return "x" * event["bytes"]


def log(event, _context):
    for line in event["lines"]:
        print(line)
    if event.get("raw"):
        sys.stdout.write(event["raw"])
        sys.stdout.flush()
    return len(event["lines"])


def tick(_event, _context):
    def run():
        global TICKS
        while True:
            time.sleep(0.005)
            TICKS += 1
    threading.Thread(target=run, daemon=True).start()
    return TICKS


def ticks(_event, _context):
    return TICKS


def unserialisable(_event, _context):
    return {"set": {1, 2}}


def respond(event, _context):
    return event["response"]


def connect(event, _context):
    """"open" when a TCP connection to host:port is made within two seconds, else the error's name."""
    try:
        with socket.create_connection((event["host"], event["port"]), 2):
            return "open"
    except OSError as error:
        return type(error).__name__


def resolve(event, _context):
    return sorted({item[4][0] for item in socket.getaddrinfo(event["host"], None)})


def run(event, _context):
    done = subprocess.run(event["command"], shell=True, capture_output=True, text=True, check=False)
    return {"status": done.returncode, "out": done.stdout, "err": done.stderr}


def execute(event, context):
    """Runs event["code"]; its variable `result` is the answer."""
    names = {"event": event, "context": context}
    exec(event["code"], names)
    return names.get("result")


ACTIONS = {
    "echo": echo, "event": same_event, "nothing": nothing, "count": count, "env": env, "context": context_of, "put": put,
    "get": get, "sleep": sleep, "throw": throw, "never": never, "exit": leave, "sys_exit": sys_exit,
    "signal": send_signal, "memory": memory, "big": big, "log": log, "tick": tick, "ticks": ticks,
    "unserialisable": unserialisable, "respond": respond, "connect": connect, "resolve": resolve, "run": run,
    "exec": execute,
}


def handler(event, context):
    wanted = event
    if isinstance(event, dict) and "requestContext" in event:
        wanted = {**json.loads(event["headers"].get("x-probe", '{"do":"event"}')), "request": event}
    name = wanted.get("do", "event") if isinstance(wanted, dict) else "event"
    return ACTIONS[name](wanted, context)
