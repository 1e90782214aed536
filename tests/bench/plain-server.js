// What the ratios are taken against: a plain node:http server that answers the same.
require('node:http')
  .createServer((request, response) => {
    response.setHeader('content-type', 'text/plain');
    response.end('hello world');
  })
  .listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening'));
