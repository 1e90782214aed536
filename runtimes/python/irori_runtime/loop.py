"""The client's loop: wait in `next`, call the handler, send its result and the following `next` together, again.

All state is in the Loop: parked in `next` it can be copied with its process, and a second one with another address can run
beside it.
"""

import os
import sys
import time

from irori_runtime import codec, http, logs
from irori_runtime.context import LambdaContext

EXIT_INIT_ERROR = 1
EXIT_API_GONE = 1


class Loop:
    def __init__(self, api):
        """api: a http.Connection."""
        self.api = api
        self.next = api.get("/invocation/next")
        self.handler = None

    def initialise(self, name, template=None):
        """INIT; ends the process when it fails. template: a template.Function when this process is to be one."""
        from irori_runtime import handler

        try:
            self.handler = handler.load(name)
        except Exception as error:
            self.report_init(error)
            sys.exit(EXIT_INIT_ERROR)
        if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
            from irori_runtime import snapstart

            snapstart.pass_snapshot(self, template)

    def report_init(self, error, path="/init/error", kind=None):
        from irori_runtime import faults

        payload, _ = faults.report(error)
        faults.log(payload)
        kind = "".join(c if " " <= c <= "~" else "?" for c in kind or payload["errorType"])
        headers = "Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: %s\r\n" % kind
        self.api.send(self.api.post(path, headers, codec.to_bytes(codec.to_json(payload))))
        self.api.read()

    def serve(self):
        """Invocations until the Runtime API goes away; never returns otherwise."""
        reply = b""
        while True:
            self.api.reconnect_if_closing()
            self.api.send(reply + self.next)
            if reply:
                self.read_answer()
            status, headers, body = self.api.read()
            if status != 200 or "lambda-runtime-aws-request-id" not in headers:
                raise http.ApiGone("next answered %d" % status)
            reply = self.invoke(headers, body)

    def read_answer(self):
        """Accepted or not (413 for a result that is too large): the platform has recorded it, work goes on."""
        status, _, _ = self.api.read()
        if not 200 <= status < 300:
            message = "[ERROR] [%d] LAMBDA_RUNTIME Failed to post handler success response. Http response code: %d.\n"
            sys.stderr.write(message % (time.time() * 1000, status))
        if self.api.reconnect_if_closing():
            self.api.send(self.next)

    def invoke(self, headers, body):
        """Calls the handler; returns the request that reports what came of it."""
        request_id = logs.request_id = headers["lambda-runtime-aws-request-id"]
        logs.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        trace_id = headers.get("lambda-runtime-trace-id")
        if trace_id:
            os.environ["_X_AMZN_TRACE_ID"] = trace_id
        else:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        path = "/invocation/%s/" % request_id
        try:
            context = LambdaContext(headers)
            event = codec.read_event(body, headers.get("content-type", "application/json"))
            result, content_type = codec.write_result(self.handler(event, context))
            request = self.api.post(path + "response", "Content-Type: %s\r\n" % content_type, result)
        except Exception as error:
            request = self.error_request(path + "error", error, request_id)
        logs.flush()
        return request

    def error_request(self, path, error, request_id):
        from irori_runtime import faults

        payload, cause = faults.report(error, request_id)
        faults.log(payload)
        headers = "Content-Type: application/json\r\nLambda-Runtime-Function-XRay-Error-Cause: %s\r\n" % cause
        return self.api.post(path, headers, codec.to_bytes(codec.to_json(payload)))


def run(api, handler_name, template=None):
    loop = Loop(api)
    loop.initialise(handler_name, template)
    try:
        loop.serve()
    except (http.ApiGone, OSError) as error:
        give_up(api, error)


def give_up(api, error):
    sys.stderr.write("Runtime API %s: %s\n" % (api.address, error))
    sys.exit(EXIT_API_GONE)
