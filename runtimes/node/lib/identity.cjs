'use strict';
/*
 * What clones of one template would have in common although it ought to be different: the process id that Node remembers, and
 * random numbers. OpenSSL itself notices the new process id; what was drawn from it ahead is in stocks here.
 *
 * Math.random: V8 takes its flag for the seed when a context's Math.random is called first, and only then; without the flag,
 * further contexts are seeded from a generator that all clones share. In the template of a runtime nobody has called it before
 * the wake-up. User code of a function's template may have: it is given one that a clone exchanges for that of an untouched
 * context.
 *
 * Left as they are: random generators of user code; numbers that libraries drew ahead during INIT; further contexts whose
 * Math.random was called then; performance.timeOrigin, because the times of marks and of performance.now() count from it.
 */
const crypto = require('crypto');
const fs = require('fs');
const Module = require('module');
const v8 = require('v8');
const vm = require('vm');

const SEED_MASK = 0x7fffffff; // V8's flag has 31 bits; 0 would mean none
const UUIDS_AHEAD = 128; // crypto.randomUUID() draws so many at once
const INTEGERS_AHEAD = 1024; // and crypto.randomInt()

/** seed: hexadecimal digits, of which 8 count. draw: a Math.random that was never called. Without the flag afterwards Workers
 * seed themselves. */
function seed_random(seed, draw) {
    v8.setFlagsFromString(`--random-seed=${parseInt(seed.slice(0, 8), 16) & SEED_MASK || 1}`);
    draw();
    v8.setFlagsFromString('--random-seed=0');
}

/** process.uptime() counts from the wake-up. */
function restart_uptime() {
    const { uptime } = process;
    const start = uptime();
    process.uptime = { uptime: () => uptime() - start }.uptime;
}

/** The pipe behind process.stdout is a new one; Node sets O_NONBLOCK when it makes the stream. */
function adopt_stdout() {
    process.stdout._handle?.setBlocking(false);
}

/** In a clone. draw as above. */
function renew(seed, draw) {
    Object.defineProperty(process, 'pid', { value: Number(fs.readlinkSync('/proc/self')) });
    seed_random(seed, draw);
    restart_uptime();
    adopt_stdout();
}

/** Replaces owner[name] by a function of the same name that calls before() first. */
function precede(owner, name, before) {
    const original = owner[name];
    owner[name] = {
        [name](...params) {
            before();
            return Reflect.apply(original, this, params);
        },
    }[name];
}

/** Numbers that node:crypto draws ahead. What is left from before the wake-up is the same in all clones; it is used up when a
 * clone draws first. */
class Stock {
    #size;
    #draw;
    #used = false;
    #awake = false;

    constructor(size, draw) {
        this.#size = size;
        this.#draw = draw;
    }

    wake() {
        this.#awake = true;
    }

    before_draw() {
        if (!this.#awake) this.#used = true;
        else if (this.#used) {
            this.#used = false;
            for (let count = 0; count < this.#size; count++) this.#draw();
        }
    }
}

function guard_stocks() {
    const { randomUUID, randomInt, webcrypto } = crypto;
    const uuids = new Stock(UUIDS_AHEAD, randomUUID);
    const integers = new Stock(INTEGERS_AHEAD, () => randomInt(1)); // one number each: none is out of range
    precede(crypto, 'randomUUID', () => uuids.before_draw());
    precede(Object.getPrototypeOf(webcrypto), 'randomUUID', () => uuids.before_draw());
    precede(crypto, 'randomInt', () => integers.before_draw());
    return [uuids, integers];
}

function guard_own_numbers() {
    const untouched = vm.runInContext('Math.random', vm.createContext());
    const stocks = guard_stocks();
    let draw = Math.random;
    Math.random = { random: () => draw() }.random;
    return () => {
        for (const stock of stocks) stock.wake();
        draw = untouched;
        return untouched;
    };
}

/** Seeds the contexts that user code makes: at once in a clone, else when the clone wakes up. */
class Contexts {
    #draw = new vm.Script('try { Math.random(); } catch {}'); // the context may have another Math, or none
    #waiting = [];
    #seed = null;
    #count = 0;

    add(context) {
        if (this.#seed === null) this.#waiting.push(context);
        else this.#give_seed(context);
    }

    wake(seed) {
        this.#seed = seed;
        for (const context of this.#waiting) this.#give_seed(context);
        this.#waiting = [];
    }

    #give_seed(context) {
        const hash = crypto.createHash('sha256').update(`${this.#seed} ${this.#count++}`);
        seed_random(hash.digest('hex'), () => this.#draw.runInContext(context));
    }
}

function guard_contexts() {
    const contexts = new Contexts();
    const native = { ...vm, run_script: vm.Script.prototype.runInNewContext };
    const is_context = (object) => typeof object === 'object' && object !== null && native.isContext(object);
    const make = (object, options) => {
        if (is_context(object)) return object;
        const context = native.createContext(object, options);
        contexts.add(context);
        return context;
    };
    const make_for_code = (object, { contextName, contextOrigin, contextCodeGeneration, microtaskMode } = {}) =>
        make(object, { name: contextName, origin: contextOrigin, codeGeneration: contextCodeGeneration, microtaskMode });
    vm.createContext = function createContext(object, options) {
        return make(object, options);
    };
    vm.runInNewContext = function runInNewContext(code, object, options) {
        return native.runInNewContext(code, make_for_code(object, options), options);
    };
    vm.Script.prototype.runInNewContext = function runInNewContext(object, options) {
        return native.run_script.call(this, make_for_code(object, options), options);
    };
    return contexts;
}

/** Before user code runs in a template of kind 'runtime' or 'function'. Returns what a clone calls with its seed before renew():
 * it makes the guarded sources those of the clone, and returns the draw() for renew(). */
function guard(kind) {
    const give_own = kind === 'function' ? guard_own_numbers() : () => Math.random;
    const contexts = guard_contexts();
    Module.syncBuiltinESMExports();
    return (seed) => {
        contexts.wake(seed);
        return give_own();
    };
}

module.exports = { guard, renew };
