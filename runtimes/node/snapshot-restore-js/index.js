'use strict';
/*
 * Hooks of functions with SnapStart or a clean state: require() or import 'snapshot-restore-js'. The shape is that of Lambda's
 * snapshot-restore-py. A hook may be async; one that throws ends the environment.
 */
const before_snapshot = [];
const after_restore = [];

function add(hooks, func, params) {
    if (typeof func !== 'function') throw new TypeError('A hook is a function');
    hooks.push({ func, params });
    return func;
}

/** func(...params) runs before the snapshot is taken, last registered first. */
const registerBeforeSnapshot = (func, ...params) => add(before_snapshot, func, params);

/** func(...params) runs in every restored environment before its first event, in order of registration. */
const registerAfterRestore = (func, ...params) => add(after_restore, func, params);

const getBeforeSnapshot = () => before_snapshot;
const getAfterRestore = () => after_restore;

module.exports = { registerBeforeSnapshot, registerAfterRestore, getBeforeSnapshot, getAfterRestore };
