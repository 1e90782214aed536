'use strict';
/*
 * SnapStart, after INIT: hooks before the snapshot, `restore/next`, hooks after the restore. What passes through here is either
 * an ordinary process, whose `restore/next` is answered at once, or the template of a function, which waits there to be copied.
 */
const log = require('./log.cjs');
const { getAfterRestore, getBeforeSnapshot } = require('../snapshot-restore-js');

const BEFORE_SNAPSHOT_ERROR = 'Runtime.BeforeSnapshotError';
const EXIT_BEFORE_SNAPSHOT = 64;
const EXIT_AFTER_RESTORE = 65;
// Two whole turns after the rest of the one that brought the answer: sockets that died with the snapshot have told their owners,
// and these have acted on it.
const TURNS = 3;

async function run_before_snapshot() {
    const hooks = getBeforeSnapshot();
    while (hooks.length > 0) {
        const { func, params } = hooks.pop();
        await func(...params);
    }
}

async function run_after_restore() {
    for (const { func, params } of getAfterRestore()) await func(...params);
}

async function turn_loop() {
    for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function resume(loop, handler, template, response) {
    try {
        if (template?.wake(response)) await turn_loop();
        await run_after_restore();
    } catch (error) {
        log.error('After Restore Error', error);
        loop.die(error, EXIT_AFTER_RESTORE);
        return;
    }
    loop.start(handler);
}

/** Ends in loop.start(handler) or with the process. template: see serve() in lib/template.cjs; null in an ordinary process. */
async function pass(loop, handler, template) {
    try {
        await run_before_snapshot();
    } catch (error) {
        log.error('Before Snapshot Error', error);
        loop.die(error, EXIT_BEFORE_SNAPSHOT, BEFORE_SNAPSHOT_ERROR);
        return;
    }
    await template?.settle();
    loop.park_for_restore((response) => {
        if (response.status === 200) resume(loop, handler, template, response);
        else loop.give_up(`restore/next answered ${response.status}`, EXIT_BEFORE_SNAPSHOT);
    });
}

module.exports = { pass };
