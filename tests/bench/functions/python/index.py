"""Twenty lines as people write them."""
import hashlib
import os

TABLE = os.environ.get("TABLE", "orders")
seen = {}


def key(event):
    path = event.get("rawPath", "/")
    return hashlib.sha256(f"{TABLE}:{path}".encode()).hexdigest()[:12]


def handler(event, context):
    number = key(event)
    seen[number] = seen.get(number, 0) + 1
    return {
        "statusCode": 200,
        "headers": {"content-type": "text/plain", "x-request-id": context.aws_request_id},
        "body": f"hello world, {number} was seen {seen[number]} times\n",
    }
