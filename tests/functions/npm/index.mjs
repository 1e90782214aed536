// What people initialise before their handler: a web framework, a pool of database connections, an SDK client.
import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import express from 'express';
import pg from 'pg';

const app = express();
app.get('/:name', (request, response) => response.json({ hello: request.params.name }));
const server = app.listen(0);
await new Promise((done) => server.once('listening', done));
const port = server.address().port;
if (process.env.CLOSE_SERVER)
  await new Promise((done) => server.close(done));

const pool = new pg.Pool({ host: 'host.irori.internal', port: Number(process.env.PG_PORT), user: 'postgres', database: 'postgres', max: 2 });
pool.on('error', () => {}); // as its documentation asks
const early = (await pool.query('select pg_backend_pid() as pid')).rows[0].pid;
const client = new DynamoDBClient({ endpoint: 'http://127.0.0.1:1', maxAttempts: 1 });
let count = 0;

export const handler = async (event) => {
  await new Promise((done) => setTimeout(done, (event.hold ?? 0) * 1000));
  const backend = (await pool.query('select pg_backend_pid() as pid, $1::int + 1 as next', [event.n])).rows[0];
  const key = (await client.config.credentials()).accessKeyId;
  const refused = await client.send(new ListTablesCommand({})).catch((error) => error.code ?? error.name);
  return { count: ++count, early, backend: backend.pid, next: backend.next, key, refused, port, idle: pool.idleCount };
};
