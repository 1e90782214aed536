// The least that Node needs to say something on a socket: the time to compare a cold start with.
require('node:net').connect(Number(process.argv[2]), '127.0.0.1', function () {
  this.end('x');
});
