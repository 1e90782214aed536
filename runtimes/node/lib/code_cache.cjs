'use strict';
/*
 * V8's code of a function's CommonJS modules, made by one environment and used by later ones of the same code.
 *
 *   IRORI_CODE_CACHE=make      the modules are compiled so that their code can be kept; after the first answer, while nobody
 *                              waits, it is sent to the Runtime API
 *   IRORI_CODE_CACHE=<file>    such a cache: modules come out of it, sources and resolved names, too
 *
 * Only what lies below LAMBDA_TASK_ROOT is kept: it never changes under one digest of the code. What V8 does not like, what is damaged,
 * or what is compiled from another text than the file's (by hooks such as those of ts-node and pirates) is left to Node.
 * ES modules are, too: Node has no hook for their compilation. JSON is read as ever.
 *
 * A file, numbers little endian: "IRORICC1", u32 length and u32 CRC-32 of an index in JSON, the index, then for each of its files the
 * source and V8's data, each filled up to a multiple of 8 bytes. The index:
 *
 *   {"stamp": "v20.20.2 x64 3277340191", "files": [["node_modules/a/index.js", 1 (Latin-1) or 0 (UTF-8), bytes of the source, bytes of
 *    the data, CRC-32 of both], ...], "resolved": [["node_modules/a", 6 (length of module.paths), "./b", 1 (file), ...], ...]}
 */
const fs = require('fs');
const Module = require('module');
const path = require('path');
const v8 = require('v8');
const vm = require('vm');
const zlib = require('zlib');

const MAGIC = 'IRORICC1';
const HEAD_BYTES = 16;
// Read at once: what is needed next lies behind, because files are in the order of their loading. One piece of memory for all: touching
// new one is what costs a clone most.
const WINDOW_BYTES = 128 * 1024;
const MAX_BYTES = 16 * 1024 * 1024; // the Runtime API takes no more
const MIN_SOURCE_BYTES = 32 * 1024; // below that nothing is gained
const PAUSE_MS = 20; // while an answer leaves, or an invocation runs
// With columnOffset the first line counts its columns as if nothing stood before it.
const PREFIX = '(function (exports, require, module, __filename, __dirname) { ';
const SUFFIX = '\n})';
// A script that comes out of V8's cache has forgotten who answers its import(). Of a module with such a call only the source is kept.
const DYNAMIC_IMPORT = /\bimport\s*[(/.]/;
const PARAMETERS = ['exports', 'require', 'module', '__filename', '__dirname'];
const EXTENSIONS = Object.keys(Module._extensions).join();
const LOADER = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER; // Node 20.12 and later
const CAN = LOADER !== undefined && typeof zlib.crc32 === 'function'; // Node 20.15 and later

const native = {
    compile: Module.prototype._compile,
    load: Module._extensions['.js'],
    resolve: Module._resolveFilename,
    find: Module._findPath,
    lookup: Module._resolveLookupPaths,
    paths: Module._nodeModulePaths,
};
const { setImmediate: later, setTimeout: delay } = globalThis; // before user code replaces them

const padded = (count) => (count + 7) & ~7;
// Not at load time: flags change it, and a template has some of its own until it is woken.
const stamp = () => `${process.version} ${process.arch} ${v8.cachedDataVersionTag()}`;

/** As Node makes it for each module. */
function make_require(module) {
    const require = function require(path) {
        return module.require(path);
    };
    require.resolve = function resolve(request, options) {
        return Module._resolveFilename(request, module, false, options);
    };
    require.resolve.paths = function paths(request) {
        return Module._resolveLookupPaths(request, module);
    };
    require.main = process.mainModule;
    require.extensions = Module._extensions;
    require.cache = Module._cache;
    return require;
}

function make_script(content, filename, cachedData) {
    return new vm.Script(PREFIX + content + SUFFIX, {
        filename,
        columnOffset: -PREFIX.length,
        cachedData,
        importModuleDynamically: LOADER,
    });
}

/** Module.prototype._compile with scripts of script(content, filename, format), where there are some. One frame of a stack, as Node's. */
function make_compile(script_of) {
    return function _compile(content, filename, ...rest) {
        const script = script_of(content, filename, ...rest);
        if (!script) return Reflect.apply(native.compile, this, [content, filename, ...rest]);
        const { exports } = this;
        return Reflect.apply(script.runInThisContext(), exports, [exports, make_require(this), this, filename, path.dirname(filename)]);
    };
}

/** Whether names are looked up as Node does it by itself. */
const resolves_natively = () =>
    Module._findPath === native.find &&
    Module._resolveLookupPaths === native.lookup &&
    Module._nodeModulePaths === native.paths &&
    Object.keys(Module._extensions).join() === EXTENSIONS;

/** Puts hooks in the places of Node's functions; returns what takes them out again, where nobody has put others over them. */
function install({ compile, load, resolve }) {
    Module.prototype._compile = compile;
    Module._extensions['.js'] = load;
    Module._resolveFilename = resolve;
    return () => {
        if (Module.prototype._compile === compile) Module.prototype._compile = native.compile;
        if (Module._extensions['.js'] === load) Module._extensions['.js'] = native.load;
        if (Module._resolveFilename === resolve) Module._resolveFilename = native.resolve;
    };
}

// -- use

/** What the file holds, read piece by piece. Throws when it is none for this process. */
class Store {
    #file;
    #memory = null;
    #window = Buffer.alloc(0); // what of it was read
    #window_at = 0;
    #reads = 0;
    #entries = new Map(); // by path
    #resolved = new Map(); // by folder: {depth, names: Map}
    used = 0;
    refused = 0;

    constructor(file, root) {
        this.#file = file;
        const head = this.#read(0, HEAD_BYTES);
        if (head.latin1Slice(0, 8) !== MAGIC) throw new Error('not a code cache');
        const length = head.readUInt32LE(8);
        const crc = head.readUInt32LE(12);
        const text = this.#read(HEAD_BYTES, length);
        if (zlib.crc32(text) !== crc) throw new Error('damaged index');
        const index = JSON.parse(text.utf8Slice());
        if (index.stamp !== stamp()) throw new Error('made by another Node');
        let at = HEAD_BYTES + padded(length);
        const files = index.files.map(([name, latin1, source_bytes, data_bytes, sum]) => {
            const filename = `${root}/${name}`;
            this.#entries.set(filename, { latin1, at, source_bytes, data_bytes, sum, content: null, data: null, read: 0 });
            at += padded(source_bytes) + padded(data_bytes);
            return filename;
        });
        for (const [folder, depth, ...pairs] of index.resolved) {
            const names = new Map();
            for (let i = 0; i < pairs.length; i += 2) names.set(pairs[i], files[pairs[i + 1]]);
            this.#resolved.set(folder === '' ? root : `${root}/${folder}`, { depth, names });
        }
    }

    #read(at, length) {
        const end = this.#window_at + this.#window.length;
        if (at < this.#window_at || at + length > end) {
            // Kept open it would be one descriptor more than the function expects.
            const fd = fs.openSync(this.#file, 'r');
            try {
                if (!(this.#memory?.length >= length)) this.#memory = Buffer.allocUnsafeSlow(Math.max(length, WINDOW_BYTES));
                this.#reads++;
                const count = fs.readSync(fd, this.#memory, 0, this.#memory.length, at);
                this.#window = this.#memory.subarray(0, count);
                this.#window_at = at;
            } finally {
                fs.closeSync(fd);
            }
            if (this.#window.length < length) throw new Error('too short');
        }
        return this.#window.subarray(at - this.#window_at, at - this.#window_at + length);
    }

    #forget(filename) {
        this.refused++;
        this.#entries.delete(filename);
    }

    /** {content, data} with the data valid until the next call; undefined when there is none. */
    open(filename) {
        const entry = this.#entries.get(filename);
        if (!entry) return undefined;
        try {
            const whole = this.#read(entry.at, padded(entry.source_bytes) + entry.data_bytes);
            if (zlib.crc32(whole) !== entry.sum) throw new Error('damaged');
            if (entry.content === null) {
                const source = whole.subarray(0, entry.source_bytes);
                entry.content = entry.latin1 ? source.latin1Slice() : source.utf8Slice();
            }
            entry.data = whole.subarray(padded(entry.source_bytes));
            entry.read = this.#reads;
            return entry;
        } catch {
            this.#forget(filename);
            return undefined;
        }
    }

    /** The script for a module, when its text is the file's; undefined: Node compiles it. */
    script(content, filename) {
        const entry = this.#entries.get(filename);
        // A hook may have had others read in between.
        if (!entry?.data?.length || entry.read !== this.#reads || entry.content !== content || process.sourceMapsEnabled) return undefined;
        const script = make_script(content, filename, entry.data);
        entry.content = entry.data = null;
        if (script.cachedDataRejected) {
            this.#forget(filename);
            return undefined;
        }
        this.used++;
        return script;
    }

    resolve(request, parent) {
        const folder = this.#resolved.get(parent.path);
        const found = folder?.names.get(request);
        if (found === undefined || parent.paths?.length !== folder.depth) return undefined;
        return resolves_natively() ? found : undefined;
    }

    clear() {
        this.#entries.clear();
        this.#resolved.clear();
        this.#window = Buffer.alloc(0);
        this.#memory = null;
    }
}

const is_plain = (module, options) => options === undefined && typeof module?.path === 'string' && Array.isArray(module.paths);

function use(file, root) {
    let store;
    try {
        store = new Store(file, root);
    } catch {
        return { note: 'unusable', after_reply: () => {} };
    }
    const remove = install({
        compile: make_compile((content, filename) => store.script(content, filename)),
        load(module, filename) {
            const entry = store.open(filename);
            if (!entry) return native.load(module, filename);
            return module._compile(entry.content, filename, 'commonjs');
        },
        resolve(request, parent, is_main, options) {
            const found = is_plain(parent, options) ? store.resolve(request, parent) : undefined;
            return found ?? native.resolve(request, parent, is_main, options);
        },
    });
    return {
        get note() {
            return store.refused > 0 ? 'unusable' : `used ${store.used}`;
        },
        after_reply() {
            store.clear();
            remove();
        },
    };
}

// -- make

class Maker {
    #root;
    #modules = new Map(); // path: {content, script}
    #resolved = new Map(); // folder: {depth, names: Map}
    #min_bytes;

    constructor(root, min_bytes) {
        this.#root = `${root}/`;
        this.#min_bytes = min_bytes;
    }

    /** A script whose code can be kept; undefined: Node compiles the module. */
    script(content, filename, format) {
        if (!filename.startsWith(this.#root) || filename.endsWith('.mjs')) return undefined;
        if (process.sourceMapsEnabled || typeof content !== 'string') return undefined;
        if (format !== undefined && format !== null && format !== 'commonjs') return undefined;
        let script;
        try {
            vm.compileFunction(content, PARAMETERS, { filename }); // refuses what would end the function around it
            if (!DYNAMIC_IMPORT.test(content)) script = make_script(content, filename);
        } catch {
            return undefined; // Node says what is wrong, or knows better
        }
        this.#modules.set(filename, { content, script });
        return script;
    }

    note_resolved(request, parent, found) {
        if (typeof found !== 'string' || !`${parent.path}/`.startsWith(this.#root) || !found.startsWith(this.#root)) return;
        if (!resolves_natively()) return;
        let folder = this.#resolved.get(parent.path);
        if (!folder) this.#resolved.set(parent.path, (folder = { depth: parent.paths.length, names: new Map() }));
        if (folder.depth === parent.paths.length) folder.names.set(request, found);
    }

    /** One file's part of the cache; null when it cannot be kept. */
    #pack(filename, { content, script }) {
        if (fs.readFileSync(filename, 'utf8') !== content) return null; // a hook has changed it
        const latin1 = /[^\0-\xff]/.test(content) ? 0 : 1;
        const source = Buffer.from(content, latin1 ? 'latin1' : 'utf8');
        const data = script ? script.createCachedData() : Buffer.alloc(0);
        const part = Buffer.alloc(padded(source.length) + padded(data.length));
        source.copy(part);
        data.copy(part, padded(source.length));
        const sum = zlib.crc32(part.subarray(0, padded(source.length) + data.length));
        return { part, row: [filename.slice(this.#root.length), latin1, source.length, data.length, sum] };
    }

    #index(rows) {
        const numbers = new Map(rows.map(([name], i) => [this.#root + name, i]));
        const resolved = [];
        for (const [folder, { depth, names }] of this.#resolved) {
            const row = [folder.slice(this.#root.length), depth];
            for (const [request, found] of names) {
                if (numbers.has(found)) row.push(request, numbers.get(found));
            }
            if (row.length > 2) resolved.push(row);
        }
        return Buffer.from(JSON.stringify({ stamp: stamp(), files: rows, resolved }));
    }

    /** The cache as a list of Buffers, empty when it is not worth it. pause() is awaited between files. */
    async build(pause) {
        const rows = [];
        const parts = [];
        let bytes = 0;
        let source_bytes = 0;
        for (const [filename, module] of this.#modules) {
            await pause();
            const packed = this.#pack(filename, module);
            module.script = module.content = null;
            if (!packed || bytes + packed.part.length > MAX_BYTES / 2 + MAX_BYTES / 4) continue;
            bytes += packed.part.length;
            source_bytes += packed.row[2];
            rows.push(packed.row);
            parts.push(packed.part);
        }
        if (source_bytes < this.#min_bytes) return [];
        const index = this.#index(rows);
        const head = Buffer.alloc(HEAD_BYTES + padded(index.length));
        head.write(MAGIC, 'latin1');
        head.writeUInt32LE(index.length, 8);
        head.writeUInt32LE(zlib.crc32(index), 12);
        index.copy(head, HEAD_BYTES);
        return head.length + bytes > MAX_BYTES ? [] : [head, ...parts];
    }

    clear() {
        this.#modules.clear();
        this.#resolved.clear();
    }
}

function make(loop, root, min_bytes = MIN_SOURCE_BYTES) {
    const maker = new Maker(root, min_bytes);
    const remove = install({
        compile: make_compile((content, filename, format) => maker.script(content, filename, format)),
        load: native.load,
        resolve(request, parent, is_main, options) {
            const found = native.resolve(request, parent, is_main, options);
            if (is_plain(parent, options)) maker.note_resolved(request, parent, found);
            return found;
        },
    });
    async function pause() {
        do {
            await new Promise((resolve) => (loop.is_waiting ? later(resolve) : delay(resolve, PAUSE_MS)));
        } while (!loop.is_waiting);
    }
    async function finish() {
        try {
            remove();
            await new Promise((resolve) => delay(resolve, PAUSE_MS)); // the answer leaves first
            const parts = await maker.build(pause);
            await pause();
            loop.send_code_cache(parts);
        } catch {
            // The next environment will try it again.
        }
        maker.clear();
    }
    return { note: '', after_reply: finish };
}

/** Begins what the variable says, before the function's first module is loaded. Returns {note: what the Runtime API is told with the
 * first `next`, "" for nothing; after_reply: to be called after the first answer}, or null. */
function begin(wanted, root, loop) {
    if (!CAN || Module.prototype._compile !== native.compile) return null;
    return wanted === 'make' ? make(loop, root) : use(wanted, root);
}

/** For a template: makes a cache of some modules in an empty folder and uses it, so that clones find all this compiled. */
async function rehearse(folder) {
    if (!CAN) return;
    const index = path.join(folder, 'index.js');
    const file = path.join(folder, 'modules');
    const load = Module.createRequire(index);
    const forget = () => ['index.js', 'a.js', 'b.js'].forEach((name) => delete Module._cache[path.join(folder, name)]);
    fs.mkdirSync(folder);
    fs.writeFileSync(path.join(folder, 'package.json'), '{}');
    fs.writeFileSync(index, "const a = require('./a'); exports.b = require('./b'); exports.path = require('path').join(a.name, 'x');");
    fs.writeFileSync(path.join(folder, 'a.js'), "exports.name = 'ü';");
    fs.writeFileSync(path.join(folder, 'b.js'), "exports.name = '\u4e2d'; exports.get = () => import('fs');");
    const loop = { is_waiting: true, send_code_cache: (parts) => fs.writeFileSync(file, Buffer.concat(parts)) };
    const made = make(loop, folder, 0);
    load(index);
    await made.after_reply();
    for (let round = 0; round < 3; round++) {
        forget();
        const used = use(file, folder);
        load(index);
        void used.note;
        used.after_reply();
    }
    forget();
}

module.exports = { begin, rehearse };
