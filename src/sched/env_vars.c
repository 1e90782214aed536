#include "sched/env_vars.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "model/function.h"
#include "wire/wire.h"

#define RUNTIME_API "127.0.0.1:9001"
/* src/preload; runtimes/node/bootstrap.cjs takes it away again. */
#define NODE_PRELOAD "/var/runtime/lib/dense-heap.so"

enum { V8_THREADS = 4, V8_THREADS_SHARED = 2 };
enum { VARS_MAX = WIRE_MAX_ENV, ARGS_MAX = 8, VALUE_MAX_BYTES = 8192, WAKE_MAX_BYTES = 1 << 20 };

static void add(struct env_vars *vars, bool *failed, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void add(struct env_vars *vars, bool *failed, const char *name, const char *format, ...)
{
    struct buf text = BUF_INIT(VALUE_MAX_BYTES);
    size_t len = strlen(name);
    char *line;
    va_list args;

    (void)buf_printf(&text, "%s=", name);
    va_start(args, format);
    (void)buf_vprintf(&text, format, args);
    va_end(args);
    line = buf_take(&text, NULL);
    if (!line || vars->count == VARS_MAX) {
        free(line);
        *failed = true;
        return;
    }
    for (size_t i = 0; i < vars->count; i++) {
        if (strncmp(vars->env[i], line, len + 1) == 0) {
            free(vars->env[i]);
            vars->env[i] = line;
            return;
        }
    }
    vars->env[vars->count++] = line;
}

static const char *customer(const struct fn_version *version, const char *name)
{
    for (size_t i = 0; i < version->var_count; i++) {
        if (strcmp(version->vars[i].name, name) == 0)
            return version->vars[i].value;
    }
    return NULL;
}

/* What the customer may override stands first; what he may not, after his own. */
static void add_overridable(struct env_vars *vars, bool *failed, const char *runtime)
{
    bool al2 = strcmp(runtime, "provided.al2") == 0;

    add(vars, failed, "AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
    add(vars, failed, "AWS_XRAY_DAEMON_ADDRESS", "169.254.100.1:2000");
    add(vars, failed, "TZ", ":UTC");
    add(vars, failed, "LANG", "en_US.UTF-8");
    add(vars, failed, "PATH", "%s/usr/local/bin:/usr/bin/:/bin:/opt/bin", al2 ? "" : "/var/lang/bin:");
    add(vars, failed, "LD_LIBRARY_PATH",
        "%s/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        al2 ? "" : "/var/lang/lib:");
    if (text_starts(runtime, "nodejs")) {
        const char *major = runtime + strlen("nodejs");

        add(vars, failed, "NODE_PATH",
            "/opt/nodejs/node%.*s/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/"
            "runtime:/var/task",
            (int)strcspn(major, "."), major);
    } else if (text_starts(runtime, "python")) {
        add(vars, failed, "PYTHONPATH", "/var/runtime");
        /* Two digits that sort as text: python3.9 is the only supported one with less. */
        if (strlen(runtime) == strlen("python3.12") && strcmp(runtime, "python3.12") >= 0)
            add(vars, failed, "LC_CTYPE", "C.UTF-8");
    }
}

/* The same for every function of a runtime. */
static void add_of_runtime(struct env_vars *vars, bool *failed, const char *runtime, const char *region)
{
    add(vars, failed, "LAMBDA_TASK_ROOT", "/var/task");
    add(vars, failed, "LAMBDA_RUNTIME_DIR", "/var/runtime");
    if (!text_starts(runtime, "provided")) {
        add(vars, failed, "AWS_EXECUTION_ENV", "AWS_Lambda_%s", runtime);
        add(vars, failed, "PWD", "/var/task");
        add(vars, failed, "SHLVL", "0");
    }
    add(vars, failed, "AWS_REGION", "%s", region);
    add(vars, failed, "AWS_DEFAULT_REGION", "%s", region);
    add(vars, failed, "AWS_LAMBDA_RUNTIME_API", RUNTIME_API);
    add(vars, failed, "_AWS_XRAY_DAEMON_ADDRESS", "169.254.100.1");
    add(vars, failed, "_AWS_XRAY_DAEMON_PORT", "2000");
}

static void add_platform(struct env_vars *vars, bool *failed, const struct env_vars_input *in)
{
    const struct fn_version *version = in->version;

    add(vars, failed, "_HANDLER", "%s", version->handler);
    add_of_runtime(vars, failed, version->runtime, in->region);
    if (fn_version_has_template(version)) {
        /* Keys that stand in a template would be those of all its clones. */
        add(vars, failed, "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://" RUNTIME_API "/2021-04-23/credentials");
        add(vars, failed, "AWS_CONTAINER_AUTHORIZATION_TOKEN", "%s", in->credentials_token);
    } else {
        add(vars, failed, "AWS_ACCESS_KEY_ID", "%s", in->access_key);
        add(vars, failed, "AWS_SECRET_ACCESS_KEY", "%s", in->secret);
        add(vars, failed, "AWS_SESSION_TOKEN", "%s", in->token);
    }
    add(vars, failed, "AWS_LAMBDA_FUNCTION_NAME", "%s", version->function_name);
    add(vars, failed, "AWS_LAMBDA_FUNCTION_VERSION", "%s", version->version);
    add(vars, failed, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "%u", version->memory_mb);
    add(vars, failed, "AWS_LAMBDA_LOG_GROUP_NAME", "%s", version->log_group);
    add(vars, failed, "AWS_LAMBDA_LOG_STREAM_NAME", "%s", in->log_stream);
    add(vars, failed, "AWS_LAMBDA_INITIALIZATION_TYPE", "%s",
        fn_version_has_template(version) ? "snap-start" : "on-demand");
    if (in->is_template) {
        add(vars, failed, "UV_USE_IO_URING", "0"); /* a ring cannot be cloned */
        if (!text_starts(version->runtime, "provided"))
            add(vars, failed, "IRORI_TEMPLATE", "function");
        if (text_starts(version->runtime, "nodejs") && !customer(version, "LD_PRELOAD"))
            add(vars, failed, "LD_PRELOAD", NODE_PRELOAD);
    }
    if (in->code_cache)
        add(vars, failed, "IRORI_CODE_CACHE", "%s", in->code_cache);
    if (version->log_format == LOG_FORMAT_JSON) {
        add(vars, failed, "AWS_LAMBDA_LOG_FORMAT", "JSON");
        add(vars, failed, "AWS_LAMBDA_LOG_LEVEL", "%s",
            version->application_log_level && *version->application_log_level ? version->application_log_level
                                                                              : "INFO");
    }
}

static bool reserved(const char *name)
{
    static const char *const names[] = {
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "IRORI_CODE_CACHE",
    };

    if (name[0] == '_')
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* V8 starts four threads for its own work wherever it runs, and each is made again in every clone. One for
 * each processor that the function has is enough; a runtime's template does not know how many. */
static unsigned v8_threads(unsigned memory_mb)
{
    unsigned processors = (memory_mb + FN_VCPU_MB - 1) / FN_VCPU_MB;

    return processors < V8_THREADS ? processors : V8_THREADS;
}

/* wrapper: NULL or "" for none; threads: of V8's own in a template, 0 = as many as it likes. */
static int add_arguments(struct env_vars *vars, const char *runtime, const char *interpreter,
                         const char *wrapper, unsigned threads)
{
    const char *args[ARGS_MAX];
    char pool[32];
    size_t count = 0;

    if (text_starts(runtime, "provided")) {
        args[count++] = "/var/task/bootstrap";
    } else {
        vars->has_wrapper = wrapper && *wrapper;
        if (vars->has_wrapper)
            args[count++] = wrapper;
        args[count++] = interpreter;
        if (text_starts(runtime, "nodejs")) {
            (void)snprintf(pool, sizeof pool, "--v8-pool-size=%u", threads);
            if (threads > 0)
                args[count++] = pool; /* bootstrap.cjs hides it */
            args[count++] = "/var/runtime/bootstrap.cjs";
        } else {
            args[count++] = "-S";
            args[count++] = "/var/runtime/bootstrap.py";
        }
    }
    vars->argv = calloc(ARGS_MAX, sizeof *vars->argv);
    for (size_t i = 0; vars->argv && i < count; i++) {
        vars->argv[vars->argc] = strdup(args[i]);
        if (!vars->argv[vars->argc++])
            return -ENOMEM;
    }
    return vars->argv ? 0 : -ENOMEM;
}

int env_vars_build(const struct env_vars_input *in, struct env_vars *ret_vars)
{
    struct env_vars vars = { .env = calloc(VARS_MAX, sizeof *vars.env) };
    bool failed = !vars.env;

    if (!failed) {
        add_overridable(&vars, &failed, in->version->runtime);
        for (size_t i = 0; i < in->version->var_count; i++) {
            if (!reserved(in->version->vars[i].name))
                add(&vars, &failed, in->version->vars[i].name, "%s", in->version->vars[i].value);
        }
        add_platform(&vars, &failed, in);
        failed = failed || add_arguments(&vars, in->version->runtime, in->interpreter,
                                         customer(in->version, "AWS_LAMBDA_EXEC_WRAPPER"),
                                         in->is_template ? v8_threads(in->version->memory_mb) : 0) < 0;
    }
    if (failed) {
        env_vars_done(&vars);
        return -ENOMEM;
    }
    *ret_vars = vars;
    return 0;
}

int env_vars_build_template(const char *runtime, const char *region, const char *interpreter,
                            struct env_vars *ret_vars)
{
    struct env_vars vars = { .env = calloc(VARS_MAX, sizeof *vars.env) };
    bool failed = !vars.env;

    if (!failed) {
        add_overridable(&vars, &failed, runtime);
        add_of_runtime(&vars, &failed, runtime, region);
        add(&vars, &failed, "UV_USE_IO_URING", "0"); /* a ring cannot be cloned */
        add(&vars, &failed, "IRORI_TEMPLATE", "runtime");
        if (text_starts(runtime, "nodejs"))
            add(&vars, &failed, "LD_PRELOAD", NODE_PRELOAD);
        failed = failed || add_arguments(&vars, runtime, interpreter, NULL, V8_THREADS_SHARED) < 0;
    }
    if (failed) {
        env_vars_done(&vars);
        return -ENOMEM;
    }
    *ret_vars = vars;
    return 0;
}

char *env_vars_wake(const struct env_vars *vars, const char *handler,
                    const unsigned char seed[static ENV_VARS_SEED_BYTES])
{
    struct buf json = BUF_INIT(WAKE_MAX_BYTES);
    char hex[2 * ENV_VARS_SEED_BYTES + 1];

    text_hex(seed, ENV_VARS_SEED_BYTES, hex);
    (void)buf_printf(&json, "{\"seed\":\"%s\",\"env\":{", hex);
    for (size_t i = 0; i < vars->count; i++) {
        const char *name = vars->env[i], *equals = strchr(name, '=');

        (void)buf_puts(&json, i > 0 ? "," : "");
        (void)buf_json_string(&json, name, (size_t)(equals - name));
        (void)buf_putc(&json, ':');
        (void)buf_json_string(&json, equals + 1, strlen(equals + 1));
    }
    (void)buf_puts(&json, "},\"handler\":");
    (void)buf_json_string(&json, handler, strlen(handler));
    (void)buf_puts(&json, ",\"root\":\"/var/task\"}");
    return buf_take(&json, NULL);
}

char *env_vars_restore(const char *log_stream, const unsigned char seed[static ENV_VARS_SEED_BYTES])
{
    struct buf json = BUF_INIT(WAKE_MAX_BYTES);
    char hex[2 * ENV_VARS_SEED_BYTES + 1];

    text_hex(seed, ENV_VARS_SEED_BYTES, hex);
    (void)buf_printf(&json, "{\"seed\":\"%s\",\"env\":{\"AWS_LAMBDA_LOG_STREAM_NAME\":", hex);
    (void)buf_json_string(&json, log_stream, strlen(log_stream));
    (void)buf_puts(&json, "}}");
    return buf_take(&json, NULL);
}

/* Read by the interpreter or the C library before anybody could have told a clone. */
static bool read_at_start(const char *name)
{
    static const char *const prefixes[] = { "NODE_",    "LD_", "PYTHON", "MALLOC_", "GLIBC_",
                                            "OPENSSL_", "UV_", "SSL_",   "LC_" };

    if (strcmp(name, "NODE_ENV") == 0) /* nobody but packages reads it */
        return false;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (text_starts(name, prefixes[i]))
            return true;
    }
    return strcmp(name, "LANG") == 0 || strcmp(name, "TZ") == 0;
}

/* Whether the runtime has the variable with that value anyway; false without memory. */
static bool is_default(const char *runtime, const struct env_var *var)
{
    struct env_vars defaults = { .env = calloc(VARS_MAX, sizeof *defaults.env) };
    bool failed = !defaults.env, same = false;
    size_t len = strlen(var->name);

    if (!failed)
        add_overridable(&defaults, &failed, runtime);
    for (size_t i = 0; i < defaults.count && !same; i++)
        same = strncmp(defaults.env[i], var->name, len) == 0 && defaults.env[i][len] == '=' &&
               strcmp(defaults.env[i] + len + 1, var->value) == 0;
    env_vars_done(&defaults);
    return same;
}

const char *env_vars_against_clone(const struct fn_version *version)
{
    for (size_t i = 0; i < version->var_count; i++) {
        const struct env_var *var = &version->vars[i];

        if (strcmp(var->name, "AWS_LAMBDA_EXEC_WRAPPER") == 0 && *var->value)
            return var->name;
        if (read_at_start(var->name) && !is_default(version->runtime, var))
            return var->name;
    }
    return NULL;
}

void env_vars_done(struct env_vars *vars)
{
    for (size_t i = 0; i < vars->count; i++)
        free(vars->env[i]);
    for (size_t i = 0; i < vars->argc; i++)
        free(vars->argv[i]);
    free(vars->env);
    free(vars->argv);
    *vars = (struct env_vars){ 0 };
}
