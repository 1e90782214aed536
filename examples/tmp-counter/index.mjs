// Counts requests in a file: /tmp belongs to the environment and outlives a crash or a timeout of the function in it.
import { readFile, writeFile } from 'node:fs/promises';

const FILE = '/tmp/counter';

export const handler = async () => {
    const before = Number(await readFile(FILE, 'utf8').catch(() => '0'));
    const count = before + 1;
    await writeFile(FILE, String(count));
    return { statusCode: 200, headers: { 'Content-Type': 'text/plain' }, body: String(count) };
};
