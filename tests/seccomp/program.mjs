// What Node's parts need of the kernel. Prints "ok" when all of it worked.
import assert from 'node:assert/strict';
import { execFileSync, spawn, fork } from 'node:child_process';
import cluster from 'node:cluster';
import crypto from 'node:crypto';
import dgram from 'node:dgram';
import dns from 'node:dns/promises';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import zlib from 'node:zlib';

const self = fileURLToPath(import.meta.url);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'node-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));

async function workers() {
  const shared = new SharedArrayBuffer(8);
  const cells = new Int32Array(shared);
  const all = [1, 2, 3, 4].map((n) => new Worker(self, { workerData: { shared, n } }));
  await Promise.all(all.map((worker) => once(worker, 'exit')));
  assert.equal(cells[0], 10);
}

async function children() {
  assert.equal(execFileSync('/bin/sh', ['-c', 'echo $((6*7))']).toString(), '42\n');
  const child = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end('through a pipe');
  const [[output], [code]] = await Promise.all([once(child.stdout, 'data'), once(child, 'exit')]);
  assert.equal(String(output), 'through a pipe');
  assert.equal(code, 0);
  const forked = fork(self, ['as-child']);
  const [message] = await once(forked, 'message');
  assert.equal(message, 'hello');
  forked.kill('SIGTERM');
  assert.equal((await once(forked, 'exit'))[1], 'SIGTERM');
}

async function cryptography() {
  const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  assert.ok(crypto.verify('sha256', Buffer.from('x'), publicKey, crypto.sign('sha256', Buffer.from('x'), privateKey)));
  assert.equal(crypto.scryptSync('password', 'salt', 32).length, 32);
  await new Promise((done, fail) => crypto.pbkdf2('p', 's', 1000, 32, 'sha256', (error) => (error ? fail(error) : done())));
  assert.notEqual(crypto.randomUUID(), crypto.randomUUID());
}

async function files() {
  const file = path.join(folder, 'watched');
  fs.writeFileSync(file, 'one');
  const watcher = fs.watch(folder);
  const changed = once(watcher, 'change');
  fs.appendFileSync(file, 'two');
  await changed;
  watcher.close();
  fs.copyFileSync(file, file + '.copy', fs.constants.COPYFILE_FICLONE);
  fs.symlinkSync('watched', file + '.link');
  fs.utimesSync(file, 1, 2);
  assert.equal((await fs.promises.stat(file)).mtimeMs, 2000);
  assert.equal((await fs.promises.readdir(folder)).length, 3);
  const compressed = zlib.brotliCompressSync(await fs.promises.readFile(file));
  assert.equal(zlib.brotliDecompressSync(compressed).toString(), 'onetwo');
  await fs.promises.rm(file);
}

async function sockets() {
  const server = http.createServer((request, response) => request.pipe(response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/`, { method: 'POST', body: 'echo' });
  assert.equal(await answer.text(), 'echo');
  server.closeAllConnections();
  server.close();

  const local = net.createServer((socket) => socket.pipe(socket)).listen(path.join(folder, 'socket'));
  await once(local, 'listening');
  const client = net.connect(path.join(folder, 'socket'));
  client.write('local');
  assert.equal(String((await once(client, 'data'))[0]), 'local');
  client.destroy();
  local.close();

  const udp = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await once(udp, 'listening');
  udp.send('datagram', udp.address().port, '127.0.0.1');
  assert.equal(String((await once(udp, 'message'))[0]), 'datagram');
  udp.close();
  assert.equal((await dns.lookup('localhost', { family: 4 })).address, '127.0.0.1');
}

async function webassembly() {
  const add = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97,
    100, 100, 0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11]);
  assert.equal((await WebAssembly.instantiate(add)).instance.exports.add(40, 2), 42);
  new WebAssembly.Memory({ initial: 1, maximum: 10, shared: true }).grow(2);
}

async function machine() {
  assert.ok(os.cpus().length > 0 && os.networkInterfaces() && os.hostname() && os.userInfo().uid >= 0);
  assert.ok(process.memoryUsage().rss > 0 && process.resourceUsage().maxRSS > 0);
  os.setPriority(0, 5);
  process.title = 'renamed';
  const signal = once(process, 'SIGUSR2');
  process.kill(process.pid, 'SIGUSR2');
  const alive = setTimeout(() => {}, 10000); // a signal alone does not keep the loop going
  await signal;
  clearTimeout(alive);
  const before = process.hrtime.bigint();
  await new Promise((done) => setTimeout(done, 5));
  assert.ok(process.hrtime.bigint() > before);
}

async function clusters() {
  cluster.setupPrimary({ exec: self, args: ['as-worker'] });
  const worker = cluster.fork();
  const [, address] = await once(cluster, 'listening');
  assert.ok(address.port > 0);
  worker.kill();
  await once(worker, 'exit');
}

if (!isMainThread) {
  let x = 0;
  for (let i = 0; i < 1e6; i++) x += Math.sqrt(i); // long enough for the optimising compiler
  Atomics.add(new Int32Array(workerData.shared), 0, workerData.n);
  parentPort.postMessage(x);
} else if (process.argv[2] === 'as-child') {
  process.send('hello');
  setInterval(() => {}, 1000);
} else if (process.argv[2] === 'as-worker') {
  http.createServer().listen(0, '127.0.0.1');
} else {
  for (const part of [workers, children, cryptography, files, sockets, webassembly, machine, clusters]) {
    await part().catch((error) => {
      console.error(`${part.name}: ${error.stack}`);
      process.exit(1);
    });
  }
  console.log('ok');
}
