"""What people initialise before their handler: a web framework, a database connection, an SDK client, numpy."""
import os
import time

import boto3
import numpy
import psycopg
from fastapi import FastAPI
from mangum import Mangum

app = FastAPI()


@app.get("/{name}")
def hello(name: str):
    return {"hello": name}


web = Mangum(app, lifespan="off")
early_random = float(numpy.random.random())
table = numpy.arange(1000)
where = f"host=host.irori.internal port={os.environ['PG_PORT']} user=postgres dbname=postgres"
connection = psycopg.connect(where, autocommit=True)
early = connection.execute("select pg_backend_pid()").fetchone()[0]
client = boto3.client("dynamodb", endpoint_url="http://127.0.0.1:1")
count = 0


def query(n):
    """As its users do: a connection that broke is opened anew."""
    global connection
    try:
        return connection.execute("select pg_backend_pid(), %s::int + 1", [n]).fetchone()
    except psycopg.OperationalError:
        connection = psycopg.connect(where, autocommit=True)
        return connection.execute("select pg_backend_pid(), %s::int + 1", [n]).fetchone()


def handler(event, context):
    global count
    if "rawPath" in event:
        return web(event, context)
    count += 1
    time.sleep(event.get("hold", 0))
    backend, following = query(event["n"])
    return {"count": count, "early": early, "backend": backend, "next": following, "key": client._request_signer._credentials.get_frozen_credentials().access_key,
            "sum": int(table.sum()), "early_random": early_random, "random": float(numpy.random.random()),
            "generator": float(numpy.random.default_rng().random())}
