'use strict';
/*
 * From "dir/file.nested.method" to the function: Lambda's resolution rules.
 *
 * Order: the path as it is, .js (CommonJS, or ES module by the nearest package.json), .mjs, .cjs, then Node's own search.
 * CommonJS is loaded without a turn of the event loop; an ES module may await at its top level.
 */
const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');

const errors = require('./errors.cjs');
const { STREAMING } = require('./globals.cjs');

// The name that "Require stack" shows on AWS; no file of that name is needed.
const user_require = createRequire(path.join(path.dirname(__dirname), 'index.mjs'));

/** {folder, module, method} of a handler string; throws MalformedHandlerName. */
function parse_name(name) {
    if (name.includes('..')) {
        throw new errors.MalformedHandlerName(
            `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
        );
    }
    const file = path.basename(name);
    const match = /^([^.]*)\.(.*)$/.exec(file);
    if (!match) throw new errors.MalformedHandlerName('Bad handler');
    return { folder: name.slice(0, name.indexOf(file)), module: match[1], method: match[2] };
}

/** Whether the nearest package.json above a .js file says "type": "module". */
function in_module_package(folder) {
    if (folder.endsWith('/node_modules')) return false;
    const file = path.join(folder, 'package.json');
    if (fs.existsSync(file)) {
        try {
            return JSON.parse(fs.readFileSync(file, 'utf8'))?.type === 'module';
        } catch (error) {
            console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
            return false;
        }
    }
    return folder !== '/' && in_module_package(path.dirname(folder));
}

const import_file = (file) => import(require('url').pathToFileURL(file).href);

/** The module, or a promise of it. */
function load_module(root, { folder, module }) {
    const base = path.resolve(root, folder, module);
    if (fs.existsSync(base)) return user_require(base);
    if (fs.existsSync(`${base}.js`)) {
        return in_module_package(path.dirname(base)) ? import_file(`${base}.js`) : user_require(`${base}.js`);
    }
    if (fs.existsSync(`${base}.mjs`)) return import_file(`${base}.mjs`);
    if (fs.existsSync(`${base}.cjs`)) return user_require(`${base}.cjs`);
    return user_require(user_require.resolve(module, { paths: [root, path.join(root, folder)] }));
}

function find_method(module, name, method) {
    const walk = (from) => method.split('.').reduce((at, key) => at && at[key], from);
    const handler = walk(module) ?? walk(module?.default);
    if (!handler) throw new errors.HandlerNotFound(`${name} is undefined or not exported`);
    if (typeof handler !== 'function') throw new errors.HandlerNotFound(`${name} is not a function`);
    if (handler[STREAMING] && handler[STREAMING] !== 'response') {
        throw new errors.MalformedStreamingHandler('Only response streaming is supported.');
    }
    return handler;
}

/** What a failed load is reported as. */
function name_failure(error) {
    if (error instanceof SyntaxError) return new errors.UserCodeSyntaxError(error);
    if (error?.code === 'MODULE_NOT_FOUND') return new errors.ImportModuleError(error);
    return error;
}

/** Calls back once with (null, handler) or (error): at once for CommonJS, later for an ES module. A callback and not a
 * promise, so that the error of a synchronous load is not reported as a rejection. */
function load(root, name, callback) {
    const finish = (module) => {
        let handler;
        try {
            handler = find_method(module, name, parse_name(name).method);
        } catch (error) {
            return callback(error);
        }
        return callback(null, handler);
    };
    let module;
    try {
        const parsed = parse_name(name);
        try {
            module = load_module(root, parsed);
        } catch (error) {
            throw name_failure(error);
        }
    } catch (error) {
        return callback(error);
    }
    if (typeof module?.then !== 'function') return finish(module);
    return module.then(finish, (error) => callback(name_failure(error)));
}

module.exports = { load };
