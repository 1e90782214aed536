// Node's own parser as http_echo.c shows ours: what it saw of each request, in the header X-Saw.
'use strict';
const http = require('http');

const hex = (text) => Buffer.from(text, 'latin1').toString('hex');
const pairs = (raw) => {
  const out = [];
  for (let i = 0; i < raw.length; i += 2) out.push([hex(raw[i]), hex(raw[i + 1])]);
  return out;
};

if (process.argv[2] === 'plain') {
  http.createServer((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 5 });
    response.end('hello');
  }).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
} else {
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('error', () => {});
    request.on('end', () => {
      const saw = {
        method: hex(request.method), target: hex(request.url), headers: pairs(request.rawHeaders),
        trailers: pairs(request.rawTrailers), body: Buffer.concat(parts).toString('hex'),
      };
      response.setHeader('X-Saw', Buffer.from(JSON.stringify(saw)).toString('hex'));
      response.end();
    });
  });
  server.listen(0, '127.0.0.1', function () { console.log(this.address().port); });
}
