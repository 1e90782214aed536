"""Remembers the query parameter `message` of the previous request: a global lives as long as its environment."""

previous = None


def handler(event, context):
    global previous
    last = previous
    query = (event.get("queryStringParameters") if isinstance(event, dict) else None) or {}
    previous = query.get("message", "")
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "text/plain"},
        "body": "coldstart" if last is None else f"warmstart, message={last}",
    }
